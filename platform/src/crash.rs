//! Places where a fault test lets the process die.

/// Aborts the process when the environment says `POSTRIDER_CRASH_POINT=<name>`, or at the N-th passage with `<name>:<N>`.
///
/// Does nothing, and reads nothing, in builds without debug assertions.
pub fn crash_point(name: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Point {
        name: String,
        remaining: AtomicU64,
    }

    fn parse(text: &str) -> Point {
        let (name, passages) = match text.rsplit_once(':') {
            Some((name, count)) => (name, count.parse().unwrap_or(1)),
            None => (text, 1),
        };
        Point { name: name.to_owned(), remaining: AtomicU64::new(passages) }
    }

    pub(super) fn pass(name: &str) {
        static POINT: OnceLock<Option<Point>> = OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "no setting: only fault tests know it, and release builds have no trace of it")]
        let point = POINT.get_or_init(|| std::env::var("POSTRIDER_CRASH_POINT").ok().map(|text| parse(&text)));
        let Some(point) = point.as_ref().filter(|point| point.name == name) else { return };
        if point.remaining.fetch_sub(1, Ordering::Relaxed) == 1 {
            std::process::abort();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::{Ordering, parse};

        #[test]
        fn a_point_may_name_the_passage_at_which_it_strikes() {
            let (first, third) = (parse("ledger.after_commit"), parse("ledger.after_commit:3"));
            assert_eq!((first.name.as_str(), first.remaining.load(Ordering::Relaxed)), ("ledger.after_commit", 1));
            assert_eq!((third.name.as_str(), third.remaining.load(Ordering::Relaxed)), ("ledger.after_commit", 3));
        }
    }
}
