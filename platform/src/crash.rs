//! Named points at which a test can kill the process.

use std::sync::atomic::{AtomicU64, Ordering};

static PASSED: AtomicU64 = AtomicU64::new(0);

/// In debug builds: aborts when `POSTRIDER_CRASH_POINT` is `name`, or at the N-th passage when it is `name:N`. In release builds: nothing.
pub fn crash_point(name: &str) {
    if !cfg!(debug_assertions) {
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting")]
    let Ok(wanted) = std::env::var("POSTRIDER_CRASH_POINT") else { return };
    let (point, passage) = wanted.rsplit_once(':').and_then(|(p, n)| Some((p, n.parse().ok()?))).unwrap_or((wanted.as_str(), 1));
    if point == name && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == passage {
        std::process::abort();
    }
}
