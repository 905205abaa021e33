use serde_json::{Value, json};

use super::BaseSpec;
use crate::cgroup::CgroupMode;
use crate::spec::{DeviceInput, MountInput, Rlimit, Spec, SpecInput, build};

fn input() -> SpecInput {
    SpecInput {
        oci_version: "1.0.2".to_owned(),
        args: vec!["/bin/serve".to_owned()],
        env: vec!["PATH=/bin".to_owned(), "MODE=prod".to_owned()],
        rootfs: "/run/c/rootfs".into(),
        cgroups_path: "/pods/c".to_owned(),
        cgroup: CgroupMode::V2,
        rlimits: vec![Rlimit { kind: "RLIMIT_NOFILE".to_owned(), soft: 1, hard: 2 }],
        mounts: vec![MountInput {
            container_path: "/data".into(),
            host_path: "/srv".into(),
            ..MountInput::default()
        }],
        devices: vec![DeviceInput {
            path: "/dev/fuse".into(),
            major: 10,
            minor: 229,
            ..DeviceInput::default()
        }],
        ..SpecInput::default()
    }
}

fn over(base: Value, input: &SpecInput) -> Value {
    let base = BaseSpec::parse(&base.to_string()).unwrap();
    let spec: Spec = base.under(&build(input).unwrap(), input.all_devices).unwrap();
    serde_json::to_value(spec).unwrap()
}

#[test]
fn an_empty_base_changes_nothing() {
    let plain = serde_json::to_value(build(&input()).unwrap()).unwrap();
    let merged = over(json!({}), &input());
    for part in ["mounts", "root", "annotations", "hooks"] {
        assert_eq!(merged[part], plain[part], "{part}");
    }
    assert_eq!(merged["linux"], plain["linux"]);
    assert_eq!(merged["process"]["env"], plain["process"]["env"]);
}

#[test]
fn ours_go_before_the_base_and_what_only_the_base_has_stays() {
    let merged = over(
        json!({
            "ociVersion": "1.1.0",
            "process": {
                "args": ["sh"], "cwd": "/elsewhere", "user": { "uid": 7, "gid": 7 }, "noNewPrivileges": true,
                "env": ["MODE=dev", "PROXY=p"],
                "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 9, "hard": 9 }, { "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }],
            },
            "root": { "path": "other" }, "hostname": "other",
            "mounts": [
                { "destination": "/data", "type": "tmpfs", "source": "tmpfs" },
                { "destination": "/opt/agent", "type": "bind", "source": "/opt/agent", "options": ["rbind", "ro"] },
            ],
            "hooks": { "poststop": [{ "path": "/bin/true" }] },
            "annotations": { "base": "1" },
            "linux": {
                "seccomp": { "defaultAction": "SCMP_ACT_ERRNO" },
                "sysctl": { "net.core.somaxconn": "1024" },
                "resources": { "pids": { "limit": 100 }, "unified": { "memory.high": "max" } },
            },
        }),
        &input(),
    );
    assert_eq!(merged["ociVersion"], "1.0.2");
    let process = &merged["process"];
    assert_eq!(process["args"], json!(["/bin/serve"]));
    assert_eq!((&process["cwd"], &process["user"]["uid"]), (&json!("/"), &json!(0)));
    assert_eq!(process.get("noNewPrivileges"), None, "not wanted");
    assert_eq!(process["env"], json!(["PROXY=p", "PATH=/bin", "MODE=prod"]));
    let kinds: Vec<_> =
        process["rlimits"].as_array().unwrap().iter().map(|l| (&l["type"], &l["soft"])).collect();
    assert_eq!(kinds, [(&json!("RLIMIT_CORE"), &json!(0)), (&json!("RLIMIT_NOFILE"), &json!(1))]);
    assert_eq!(merged["root"]["path"], "/run/c/rootfs");
    assert_eq!((merged.get("hostname"), merged["linux"].get("seccomp")), (None, None));
    let mounts = merged["mounts"].as_array().unwrap();
    let source = |path: &str| mounts.iter().find(|m| m["destination"] == path).unwrap()["source"].clone();
    assert_eq!((source("/data"), source("/opt/agent")), (json!("/srv"), json!("/opt/agent")));
    assert_eq!(merged["hooks"]["poststop"][0]["path"], "/bin/true");
    assert_eq!(merged["linux"]["sysctl"]["net.core.somaxconn"], "1024");
    assert_eq!(merged["linux"]["resources"]["pids"]["limit"], 100);
}

#[test]
fn device_rules_of_the_base_come_between_our_denial_and_our_leaves() {
    let base = json!({ "linux": { "resources": { "devices": [
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw" },
    ] } } });
    let rules = over(base.clone(), &input())["linux"]["resources"]["devices"].as_array().unwrap().clone();
    assert_eq!(rules[0], json!({ "allow": false, "access": "rwm" }));
    assert_eq!(rules[1]["minor"], 200);
    assert_eq!(rules.last().unwrap()["minor"], 229);
    assert_eq!(rules.iter().filter(|rule| rule["allow"] == false).count(), 1);
    let all = SpecInput { privileged: true, all_devices: true, ..input() };
    let rules = over(base, &all)["linux"]["resources"]["devices"].as_array().unwrap().clone();
    assert_eq!(rules, [json!({ "allow": true, "access": "rwm" })]);
}

#[test]
fn masked_paths_of_the_base_are_added_only_where_something_is_masked() {
    let base = json!({ "linux": { "maskedPaths": ["/proc/keys"] } });
    assert_eq!(over(base.clone(), &input())["linux"].get("maskedPaths"), None);
    let masked = SpecInput { masked_paths: vec!["/proc/kcore".to_owned()], ..input() };
    assert_eq!(over(base, &masked)["linux"]["maskedPaths"], json!(["/proc/keys", "/proc/kcore"]));
}

#[test]
fn a_file_that_is_no_oci_spec_is_refused() {
    let refused = |text: &str| BaseSpec::parse(text).unwrap_err();
    assert!(refused("{").contains("EOF"));
    assert_eq!(refused("[]"), "is not a JSON object");
    assert_eq!(refused(r#"{ "proces": {} , "x": 1 }"#), "x is not a field of the OCI runtime-spec");
    assert!(refused(r#"{ "process": { "rlimit": [1] } }"#).starts_with("process.rlimit is not a field"));
    assert!(
        refused(r#"{ "mounts": [{ "destination": "/a", "option": ["ro"] }] }"#)
            .starts_with("mounts[0].option")
    );
    assert!(refused(r#"{ "linux": { "resources": { "memory": { "limit": "many" } } } }"#).contains("many"));
}
