//! Places where a fault test lets the process die, and rules that it may break on purpose.

/// The environment variables that arm them: known to builds with debug assertions, and settings that do not exist to all others.
pub(crate) const VARIABLES: &[&str] = if cfg!(debug_assertions) { &[CRASH, SABOTAGE] } else { &[] };
const CRASH: &str = "POSTRIDER_CRASH_POINT";
const SABOTAGE: &str = "POSTRIDER_SABOTAGE";

/// Aborts the process when the environment says `POSTRIDER_CRASH_POINT=<name>`, or at the N-th passage with `<name>:<N>`.
///
/// Does nothing, and reads nothing, in builds without debug assertions.
pub fn crash_point(name: &str) {
    #[cfg(debug_assertions)]
    if armed::CRASH.passes(name) == Some(armed::Passage::Nth) {
        std::process::abort();
    }
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// Whether a rule is to be broken here: what shows that the fault tests would notice. True when the environment says `POSTRIDER_SABOTAGE=<name>`, and with
/// `<name>:<N>` at every N-th passage.
///
/// Never, and reads nothing, in builds without debug assertions.
#[must_use]
pub fn sabotaged(name: &str) -> bool {
    #[cfg(debug_assertions)]
    return armed::SABOTAGE.passes(name).is_some_and(|passage| passage != armed::Passage::Between);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        false
    }
}

/// Whether this rule is to be broken at some passage: what is quicker without passing there is then not to be taken.
#[must_use]
pub(crate) fn is_armed(name: &str) -> bool {
    #[cfg(debug_assertions)]
    return armed::SABOTAGE.is(name);
    #[cfg(not(debug_assertions))]
    {
        let _ = name;
        false
    }
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    pub(super) static CRASH: LazyLock<Point> = LazyLock::new(|| Point::from_environment(super::CRASH));
    pub(super) static SABOTAGE: LazyLock<Point> = LazyLock::new(|| Point::from_environment(super::SABOTAGE));

    /// Which passage of a point this is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Passage {
        /// Not one that counts.
        Between,
        /// The N-th, for the first time.
        Nth,
        /// The N-th again.
        NthAgain,
    }

    pub(super) struct Point {
        /// `None`: nothing is armed.
        name: Option<String>,
        every: u64,
        passed: AtomicU64,
    }

    impl Point {
        fn from_environment(variable: &str) -> Self {
            #[expect(clippy::disallowed_methods, reason = "no setting: only fault tests know it, and release builds have no trace of it")]
            let text = std::env::var(variable).ok();
            text.map_or(Self { name: None, every: 1, passed: AtomicU64::new(0) }, |text| Self::parse(&text))
        }

        fn parse(text: &str) -> Self {
            let (name, every) = match text.rsplit_once(':') {
                Some((name, count)) => (name, count.parse().unwrap_or(1).max(1)),
                None => (text, 1),
            };
            Self { name: Some(name.to_owned()), every, passed: AtomicU64::new(0) }
        }

        pub(super) fn is(&self, name: &str) -> bool {
            self.name.as_deref() == Some(name)
        }

        /// `None`: this is another point.
        pub(super) fn passes(&self, name: &str) -> Option<Passage> {
            if self.name.as_deref() != Some(name) {
                return None;
            }
            let passed = self.passed.fetch_add(1, Ordering::Relaxed) + 1;
            Some(match passed {
                first if first == self.every => Passage::Nth,
                later if later.is_multiple_of(self.every) => Passage::NthAgain,
                _ => Passage::Between,
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::{Passage, Point};

        #[test]
        fn a_point_may_name_the_passage_at_which_it_strikes() {
            let at = |text: &str| {
                let point = Point::parse(text);
                [(); 6].map(|()| point.passes("ledger.after_commit"))
            };
            use Passage::{Between, Nth, NthAgain};
            assert_eq!(at("ledger.after_commit")[..2], [Some(Nth), Some(NthAgain)]);
            assert_eq!(at("ledger.after_commit:3"), [Between, Between, Nth, Between, Between, NthAgain].map(Some));
            assert_eq!(at("publisher.after_ack:3"), [None; 6]);
        }
    }
}
