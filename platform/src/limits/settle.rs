//! Settles what was spent, with all other processes: many buckets in one script call.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use ::redis::Script;
use tokio::sync::mpsc;

use super::bucket::Bucket;
use crate::redis::Redis;

/// Redis runs nothing else meanwhile: below a millisecond.
const BATCH: usize = 128;

/// KEYS: one per bucket. ARGV: of each, tokens per second, burst, and what was spent. Answers what each holds, in thousandths.
///
/// A key holds what there was at a moment, and goes when the bucket would be full. A debt is at most a burst.
static SETTLE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local levels = {}
        for i, key in ipairs(KEYS) do
          local rate, burst, spent = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
          local level = burst
          local kept = redis.call('GET', key)
          if kept then
            local had, at = string.match(kept, '^(%S+) (%S+)$')
            level = math.min(burst, tonumber(had) + math.max(0, now - tonumber(at)) * rate / 1000)
          end
          level = math.max(level - spent, -burst)
          local full = math.ceil((burst - level) / rate * 1000)
          if full > 0 then
            redis.call('SET', key, string.format('%.6f %.0f', level, now), 'PX', string.format('%.0f', full))
          end
          levels[i] = math.floor(level * 1000)
        end
        return levels",
    )
});

/// Runs until the last [`super::Limits`] is gone.
pub(super) async fn settle(mut queue: mpsc::Receiver<Arc<Bucket>>, redis: Redis) {
    let mut buckets = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut buckets, BATCH).await > 0 {
        let spent: Vec<u32> = buckets.iter().map(|bucket| bucket.spent()).collect();
        let keys: Vec<String> = buckets.iter().map(|bucket| bucket.name.clone()).collect();
        let args: Vec<String> = buckets
            .iter()
            .zip(&spent)
            .flat_map(|(bucket, spent)| [bucket.rate.per_second.to_string(), bucket.rate.burst.to_string(), spent.to_string()])
            .collect();
        match redis.script::<Vec<i64>>(&SETTLE, &keys, &args).await {
            Ok(levels) if levels.len() == buckets.len() => {
                let now = Instant::now();
                for (bucket, level) in buckets.drain(..).zip(levels) {
                    #[expect(clippy::cast_precision_loss, reason = "thousandths of a burst")]
                    bucket.has(level as f64 / 1000.0, now);
                    bucket.end_waiting();
                }
            }
            // Counted once more at worst, should the script have run.
            _ => {
                for (bucket, spent) in buckets.drain(..).zip(spent) {
                    bucket.still_owes(spent);
                    bucket.end_waiting();
                }
            }
        }
    }
}
