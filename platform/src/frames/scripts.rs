//! The scripts: each runs as one, and Redis keeps all of what it wrote or nothing.

use std::sync::LazyLock;

use ::redis::Script;

macro_rules! script {
    ($name:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("lua/common.lua"), include_str!(concat!("lua/", $name)))))
    };
}

pub(super) static STEP: LazyLock<Script> = script!("step.lua");
pub(super) static BEGIN: LazyLock<Script> = script!("begin.lua");
pub(super) static BLOCKED: LazyLock<Script> = script!("blocked.lua");
pub(super) static AFTER: LazyLock<Script> = script!("after.lua");
pub(super) static HOLD: LazyLock<Script> = script!("hold.lua");
pub(super) static NOTE: LazyLock<Script> = script!("note.lua");
pub(super) static HIDDEN: LazyLock<Script> = script!("hidden.lua");

/// ARGV: the pusher's lease, its life in ms. Answers whether it still stood.
pub(super) static RENEW: LazyLock<Script> = LazyLock::new(|| {
    Script::new("local stood = redis.call('EXISTS', ARGV[1]); redis.call('SET', ARGV[1], 1, 'PX', ARGV[2]); return stood")
});
