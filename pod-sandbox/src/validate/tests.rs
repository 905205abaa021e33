use linkspan_runtime_oci::Resources;
use proptest::prelude::{any, proptest};

use super::{name, path, relative_path, resources};
use crate::error::Error;

/// The field that `result` complains about.
fn field(result: Result<(), Error>) -> Option<String> {
    match result {
        Ok(()) => None,
        Err(Error::BadConfig { field, .. }) => Some(field),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn limits_out_of_range_are_named() {
    let check = |change: fn(&mut Resources), expected: Option<&str>| {
        let mut limits = Resources::default();
        change(&mut limits);
        let expected = expected.map(|name| format!("linux.resources.{name}"));
        assert_eq!(field(resources("linux.resources", &limits)), expected);
    };
    check(|_| {}, None);
    check(|limits| limits.cpu_quota = -1, None);
    check(|limits| limits.memory_swap_limit_bytes = -1, None);
    check(|limits| limits.cpuset_cpus = "0-1,3".to_owned(), None);
    check(|limits| limits.cpu_period = -5, Some("cpu_period"));
    check(|limits| limits.cpu_quota = -2, Some("cpu_quota"));
    check(|limits| limits.cpu_shares = -1, Some("cpu_shares"));
    check(|limits| limits.memory_limit_bytes = -1, Some("memory_limit_in_bytes"));
    check(|limits| limits.memory_limit_bytes = 1024, Some("memory_limit_in_bytes"));
    check(|limits| limits.oom_score_adj = 1001, Some("oom_score_adj"));
    check(|limits| limits.cpuset_cpus = "all".to_owned(), Some("cpuset_cpus"));
    check(|limits| limits.cpuset_mems = "0-".to_owned(), Some("cpuset_mems"));
    let swap_below_memory = |limits: &mut Resources| {
        limits.memory_limit_bytes = 1 << 30;
        limits.memory_swap_limit_bytes = 1 << 20;
    };
    check(swap_below_memory, Some("memory_swap_limit_in_bytes"));
    check(|limits| drop(limits.unified.insert("../x".to_owned(), "1".to_owned())), Some("unified"));
}

#[test]
fn names_and_paths_of_bad_form_are_refused() {
    for bad in ["", "a/b", "a\nb", "a\0b", &"x".repeat(2000)] {
        assert!(name("n", bad).is_err(), "{bad:.20}");
    }
    for bad in ["", "a", "./a", "/a/../b", "/a\0", &format!("/{}", "x".repeat(5000))] {
        assert!(path("p", bad).is_err(), "{bad:.20}");
    }
    for bad in ["/a", "../a", "a/../../b"] {
        assert!(relative_path("p", bad).is_err(), "{bad}");
    }
    assert!(path("p", "/a/b.c").is_ok());
    assert!(relative_path("p", "a/b.c").is_ok());
}

proptest! {
    #[test]
    fn no_input_makes_a_check_panic(text in any::<String>(), cpu in any::<i64>(), memory in any::<i64>()) {
        let limits = Resources {
            cpu_period: cpu, cpu_quota: cpu, memory_limit_bytes: memory, memory_swap_limit_bytes: cpu,
            cpuset_cpus: text.clone(), ..Resources::default()
        };
        let _ = resources("r", &limits);
        let _ = (name("n", &text), path("p", &text), relative_path("p", &text));
    }
}
