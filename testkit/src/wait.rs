//! Waiting for a condition, with a bound: never for a duration.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Asks every 10 ms until the answer is `Some`, and returns it.
///
/// # Panics
/// After `bound`, saying what was awaited.
pub async fn wait_until<T>(what: impl Debug, bound: Duration, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = condition().await {
            return answer;
        }
        assert!(begin.elapsed() < bound, "waited {bound:?} in vain for: {what:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
