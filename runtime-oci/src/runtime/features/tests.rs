use super::*;

fn check(max: &str, expected: &str) {
    let json = format!(r#"{{"ociVersionMin":"1.0.0","ociVersionMax":"{max}","future":1}}"#);
    assert_eq!(parse(json.as_bytes()).unwrap().oci_version, expected);
}

#[test]
fn the_version_is_what_the_runtime_takes_and_we_follow() {
    check("1.0.2-dev", "1.0.2");
    check("1.1.0", "1.1.0");
    check("1.1.0+dev", "1.1.0");
    check("1.10.1", "1.3.0");
    check("2.0.0", "1.3.0");
    check("nonsense", "1.0.2");
}

#[test]
fn a_runtime_without_the_command_can_do_the_common() {
    assert_eq!(parse(b"No help topic for 'features'"), None);
    assert!(!Features::default().recursive_read_only() && !Features::default().user_namespaces());
}

#[test]
fn abilities_are_read_from_the_answer() {
    let features = parse(
        br#"{"ociVersionMax":"1.2.0","mountOptions":["ro","rro"],"linux":{"namespaces":["user","pid"],
        "seccomp":{"enabled":true},"selinux":null,"mountExtensions":{"idmap":{"enabled":true}}}}"#,
    )
    .unwrap();
    assert!(features.recursive_read_only() && features.user_namespaces() && features.seccomp);
    assert!(!features.selinux && !features.apparmor && !features.checkpoint);
}

#[test]
fn what_is_not_said_of_seccomp_is_assumed_and_of_checkpoints_is_not() {
    let check = |rest: &str, seccomp, checkpoint| {
        let features = parse(format!(r#"{{"ociVersionMax":"1.1.0",{rest}}}"#).as_bytes()).unwrap();
        assert_eq!((features.seccomp, features.checkpoint), (seccomp, checkpoint), "{rest}");
    };
    check(r#""linux":{"seccomp":null}"#, true, false);
    check(r#""linux":{"seccomp":{"enabled":false}}"#, false, false);
    check(r#""annotations":{"org.opencontainers.runc.checkpoint.enabled":"true"}"#, true, true);
    check(r#""annotations":{"org.opencontainers.runc.checkpoint.enabled":"false"}"#, true, false);
}

#[test]
fn a_runtime_is_steered_by_what_it_says_and_by_what_is_known_of_others() {
    let check = |said: &str, annotation: &str, expected: bool| {
        let json = format!(r#"{{"ociVersionMax":"1.2.0","potentiallyUnsafeConfigAnnotations":{said}}}"#);
        assert_eq!(
            parse(json.as_bytes()).unwrap().steered_by(annotation),
            expected,
            "{annotation} of {said}"
        );
    };
    let runc = r#"["bundle","org.systemd.property.","org.criu.config"]"#;
    let of_its_own = r#"["com.example.","com.example"]"#;
    for said in [runc, of_its_own, "null", "[]"] {
        for annotation in [
            "bundle",
            "dev.gvisor.flag.network",
            "io.katacontainers.config.hypervisor.path",
            "io.katacontainers.config_path",
            "io.kubernetes.cri-o.ContainerType",
            "io.kubernetes.cri.container-type",
            "krun.libkrun.path",
            "module.wasm.image/variant",
            "org.criu.config",
            "org.systemd.property.CollectMode",
            "run.oci.handler",
        ] {
            check(said, annotation, true);
        }
        for annotation in [
            "",
            "bundle.js",
            "example.com/note",
            "io.kubernetes.crimson",
            "org.criu.configuration",
            "run.ocix",
        ] {
            check(said, annotation, false);
        }
    }
    check(of_its_own, "com.example.trace", true);
    check(of_its_own, "com.example", true);
    check(of_its_own, "com.examples", false);
    check("[]", "com.example.trace", false);
    assert!(Features::default().steered_by("org.criu.config"), "one without the command");
}
