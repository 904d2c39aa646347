//! What happens in Redis, each in one step.
//!
//! Whoever becomes online or offline is put among the [`NEWS`], from which each is taken by one asker. A lease that has ended stays where it is until it is swept
//! up ([`CHANGED`]): so nobody goes unnoticed, whoever held it.

use std::sync::LazyLock;

use ::redis::Script;

/// User → end of the longest of their leases, in ms since 1970 by the clock of Redis.
pub(super) const ONLINE: &str = "presence:online";
/// User → when they last came, renewed or left, in the same time.
pub(super) const SEEN: &str = "presence:seen";
/// Who came, left or is shown otherwise since somebody asked: a user, or a user and to whom they were shown.
pub(super) const NEWS: &str = "presence:news";

/// How many news are kept when nobody asks.
pub(super) const NEWS_KEPT: usize = 100_000;

/// What every script begins with.
const NOW: &str = r"
    local time = redis.call('TIME')
    local now = time[1] * 1000 + math.floor(time[2] / 1000)
    local function score(key, member) return tonumber(redis.call('ZSCORE', key, member) or 0) end";

fn script(body: &str) -> Script {
    Script::new(&format!("{NOW}\n{body}"))
}

/// Takes or renews leases. KEYS: [`ONLINE`], [`SEEN`], [`NEWS`], each user's holders. ARGV: holder, lease in ms, whether it is a renewal, [`NEWS_KEPT`], each user.
/// The answer: how many became online.
///
/// A renewal of one of whom nothing at all is known is no news: Redis has lost its data, and nobody has been told that they left.
pub(super) static COME: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
        local lease, came = tonumber(ARGV[2]), 0
        local ends = now + lease
        for n = 5, #ARGV do
            local user, holders = ARGV[n], KEYS[n - 1]
            if score(KEYS[1], user) <= now and (ARGV[3] == '0' or redis.call('ZSCORE', KEYS[2], user)) then
                redis.call('RPUSH', KEYS[3], user)
                came = came + 1
            end
            redis.call('ZADD', holders, ends, ARGV[1])
            redis.call('ZREMRANGEBYSCORE', holders, '-inf', now)
            if redis.call('PTTL', holders) < lease then redis.call('PEXPIRE', holders, lease) end
            redis.call('ZADD', KEYS[1], 'GT', ends, user)
            redis.call('ZADD', KEYS[2], now, user)
        end
        if came > 0 then redis.call('LTRIM', KEYS[3], -tonumber(ARGV[4]), -1) end
        return came",
    )
});

/// Lets leases end soon. KEYS: [`ONLINE`], [`SEEN`], [`NEWS`], each user's holders. ARGV: holder, in how many ms (0: now), [`NEWS_KEPT`], each user. The answer: how
/// many are offline by that.
pub(super) static GO: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
        local left, grace = 0, tonumber(ARGV[2])
        for n = 4, #ARGV do
            local user, holders = ARGV[n], KEYS[n]
            local was = score(KEYS[1], user)
            if redis.call('ZREM', holders, ARGV[1]) == 1 and grace > 0 then redis.call('ZADD', holders, now + grace, ARGV[1]) end
            redis.call('ZREMRANGEBYSCORE', holders, '-inf', now)
            local last = redis.call('ZRANGE', holders, -1, -1, 'WITHSCORES')
            if last[2] then
                redis.call('ZADD', KEYS[1], last[2], user)
            elseif was > now then
                redis.call('ZREM', KEYS[1], user)
                redis.call('RPUSH', KEYS[3], user)
                left = left + 1
            end
            redis.call('ZADD', KEYS[2], now, user)
        end
        if left > 0 then redis.call('LTRIM', KEYS[3], -tonumber(ARGV[3]), -1) end
        return left",
    )
});

/// Somebody is shown to others than before. KEYS: [`ONLINE`], [`SEEN`], [`NEWS`]. ARGV: user, lease in ms, [`NEWS_KEPT`], the news. The answer: whether there is anything to tell. Who has left
/// within a lease counts as being here: nobody may have been told yet.
pub(super) static SHOWN: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
        if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and score(KEYS[2], ARGV[1]) < now - tonumber(ARGV[2]) then return 0 end
        redis.call('RPUSH', KEYS[3], ARGV[4])
        redis.call('LTRIM', KEYS[3], -tonumber(ARGV[3]), -1)
        return 1",
    )
});

/// Takes news, and sweeps up what has ended. KEYS: [`ONLINE`], [`NEWS`]. ARGV: how many of each at most. The answer: users.
pub(super) static CHANGED: LazyLock<Script> = LazyLock::new(|| {
    script(
        r"
        local changed = redis.call('LPOP', KEYS[2], ARGV[1]) or {}
        local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
        if #ended > 0 then redis.call('ZREM', KEYS[1], unpack(ended)) end
        for _, user in ipairs(ended) do table.insert(changed, user) end
        return changed",
    )
});
