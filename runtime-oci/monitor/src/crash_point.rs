//! Named instants at which a test ends this process as `kill -9` would, at that very instant. Only with the feature
//! `crash-points`; without it the calls compile to nothing.
//!
//! `LINKSPAN_CRASH_POINT=NAME:N` ends the process that comes to the point NAME for the N-th time, `NAME` for the first.
//! All names are in `crash_points.txt`, in the order in which a pod's life comes to them.

#[cfg(feature = "crash-points")]
pub use armed::{VARIABLE, crash_point};

/// Here a test may end the process.
#[cfg(not(feature = "crash-points"))]
#[inline(always)]
pub fn crash_point(_name: &'static str) {}

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    pub const VARIABLE: &str = "LINKSPAN_CRASH_POINT";

    /// Where this process is to end.
    #[derive(Debug)]
    struct Armed {
        name: String,
        /// So many times until then.
        left: AtomicU32,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| parse(&std::env::var(VARIABLE).ok()?));

    /// Here a test may end the process.
    pub fn crash_point(name: &'static str) {
        if ARMED.as_ref().is_some_and(|armed| armed.ends_at(name)) {
            // Nothing of this process runs on after it.
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    fn parse(text: &str) -> Option<Armed> {
        let (name, nth) = text.split_once(':').unwrap_or((text, "1"));
        Some(Armed { name: name.to_owned(), left: AtomicU32::new(nth.parse().ok().filter(|nth| *nth > 0)?) })
    }

    impl Armed {
        fn ends_at(&self, name: &str) -> bool {
            self.name == name && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        }
    }

    #[cfg(test)]
    mod tests {
        use super::parse;

        #[test]
        fn the_nth_time_counts_and_no_other_name() {
            let first = parse("here").expect("a name");
            assert!(!first.ends_at("there") && first.ends_at("here") && !first.ends_at("here"));
            let third = parse("here:3").expect("a name and a number");
            assert_eq!([1, 2, 3, 4].map(|_| third.ends_at("here")), [false, false, true, false]);
            assert!(parse("here:0").is_none() && parse("here:x").is_none());
        }
    }
}
