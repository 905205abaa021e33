use super::*;
use oci_spec::runtime::{Arch, LinuxSeccompAction};

fn facts(capabilities: &[&str]) -> Facts {
    Facts {
        arch: "amd64".to_owned(),
        capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
        kernel: (6, 1),
    }
}

/// Names of all rules with `action`, from a profile in JSON.
fn names(profile: &LinuxSeccomp, action: LinuxSeccompAction) -> Vec<String> {
    let rules = profile.syscalls().iter().flatten().filter(|rule| rule.action() == action);
    rules.flat_map(|rule| rule.names().clone()).collect()
}

fn allowed(json: &str, facts: &Facts) -> Vec<String> {
    names(&resolve(json.as_bytes(), facts).unwrap(), LinuxSeccompAction::ScmpActAllow)
}

#[test]
fn the_default_profile_lets_only_sys_admin_make_namespaces() {
    let plain = default_profile(&facts(&[])).unwrap();
    let admin = default_profile(&facts(&["CAP_SYS_ADMIN"])).unwrap();
    let allow = LinuxSeccompAction::ScmpActAllow;
    let has = |profile: &LinuxSeccomp, name: &str| names(profile, allow).contains(&name.to_owned());
    assert!(has(&plain, "read") && !has(&plain, "unshare") && !has(&plain, "clone3"));
    assert!(has(&admin, "unshare") && has(&admin, "clone3"));
    let clones: Vec<_> =
        plain.syscalls().iter().flatten().filter(|rule| rule.names() == &["clone"]).collect();
    assert_eq!(clones.len(), 1);
    assert_eq!(clones[0].args().as_ref().unwrap()[0].index(), 0);
}

#[test]
fn the_default_profile_answers_unknown_calls_with_enosys() {
    let profile = default_profile(&facts(&[])).unwrap();
    assert_eq!(profile.default_action(), LinuxSeccompAction::ScmpActErrno);
    assert_eq!(profile.default_errno_ret(), Some(38));
    let arches = [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32];
    assert_eq!(profile.architectures().as_deref(), Some(&arches[..]));
}

#[test]
fn the_default_profile_differs_by_architecture() {
    let mut arm = facts(&[]);
    arm.arch = "arm64".to_owned();
    let allow = LinuxSeccompAction::ScmpActAllow;
    let has =
        |facts: &Facts, name: &str| names(&default_profile(facts).unwrap(), allow).contains(&name.to_owned());
    assert!(has(&facts(&[]), "arch_prctl") && !has(&arm, "arch_prctl"));
    assert!(has(&arm, "cacheflush") && !has(&facts(&[]), "cacheflush"));
}

const CONDITIONS: &str = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[
    {"names":["always"],"action":"SCMP_ACT_ALLOW","args":null,"includes":{},"excludes":{}},
    {"name":"old_form","action":"SCMP_ACT_ALLOW"},
    {"names":["needs_two"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_A","CAP_B"]}},
    {"names":["not_with_a"],"action":"SCMP_ACT_ALLOW","excludes":{"caps":["CAP_A","CAP_Z"]}},
    {"names":["arm"],"action":"SCMP_ACT_ALLOW","includes":{"arches":["arm64"]}},
    {"names":["new_kernel"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}},
    {"names":["old_kernel"],"action":"SCMP_ACT_ALLOW","excludes":{"minKernel":"6.2"}}]}"#;

#[test]
fn includes_need_all_capabilities_and_excludes_any() {
    assert_eq!(allowed(CONDITIONS, &facts(&[])), ["always", "old_form", "not_with_a", "old_kernel"]);
    assert_eq!(allowed(CONDITIONS, &facts(&["CAP_A"])), ["always", "old_form", "old_kernel"]);
    assert_eq!(
        allowed(CONDITIONS, &facts(&["CAP_A", "CAP_B"])),
        ["always", "old_form", "needs_two", "old_kernel"]
    );
}

#[test]
fn a_kernel_version_is_compared_by_number() {
    let mut new = facts(&[]);
    new.kernel = (6, 18);
    assert_eq!(allowed(CONDITIONS, &new), ["always", "old_form", "not_with_a", "new_kernel"]);
}

#[test]
fn an_errno_may_be_a_number_or_a_name() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"syscalls":[
        {"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":22},
        {"names":["b"],"action":"SCMP_ACT_ERRNO","errno":"ENOSYS"}]}"#;
    let profile = resolve(json.as_bytes(), &facts(&[])).unwrap();
    let errnos: Vec<_> = profile.syscalls().iter().flatten().map(|rule| rule.errno_ret()).collect();
    assert_eq!((profile.default_errno_ret(), errnos), (Some(1), vec![Some(22), Some(38)]));
}

#[test]
fn a_plain_oci_profile_is_taken_as_it_is() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64"],
        "flags":["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls":[{"names":["chmod"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":2,"op":"SCMP_CMP_EQ"}]}]}"#;
    let plain: LinuxSeccomp = serde_json::from_str(json).unwrap();
    assert_eq!(resolve(json.as_bytes(), &facts(&[])).unwrap(), plain);
}

#[test]
fn nonsense_is_refused_with_its_reason() {
    let reason = |json: &str| resolve(json.as_bytes(), &facts(&[])).unwrap_err().to_string();
    assert!(reason("{").starts_with("seccomp profile: EOF"));
    assert!(reason(r#"{"defaultAction":"SCMP_ACT_SHRUG"}"#).contains("SCMP_ACT_SHRUG"));
    assert!(
        reason(
            r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_ARM"],
        "archMap":[{"architecture":"SCMP_ARCH_ARM"}]}"#
        )
        .contains("one of them decides")
    );
}

#[test]
fn localhost_profiles_are_read_and_errors_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deny.json");
    fs::write(&path, r#"{"defaultAction":"SCMP_ACT_KILL"}"#).unwrap();
    let load = |profile: &Profile, default: Option<&Path>| load(profile, &facts(&[]), default);
    let loaded = load(&Profile::Localhost(path.clone()), None).unwrap().unwrap();
    assert_eq!(loaded.default_action(), LinuxSeccompAction::ScmpActKill);
    assert_eq!(load(&Profile::RuntimeDefault, Some(&path)).unwrap(), Some(loaded));
    assert_eq!(load(&Profile::Unconfined, Some(&path)).unwrap(), None);

    let missing = load(&Profile::Localhost(dir.path().join("none.json")), None).unwrap_err();
    assert!(missing.to_string().contains("none.json"), "{missing}");
    fs::write(&path, "no").unwrap();
    let broken = load(&Profile::Localhost(path), None).unwrap_err();
    assert!(broken.to_string().contains("deny.json"), "{broken}");
}
