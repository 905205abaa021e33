use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Process, Spec};
use proptest::prelude::*;

use super::document::parse;
use super::{DeviceName, Edits, Registry, check, from_annotation};

const GPU: &str = r#"
cdiVersion: "0.7.0"
kind: vendor.com/gpu
annotations: { vendor.com/note: "all of it" }
devices:
  - name: "0"
    containerEdits:
      env: [ GPU=0 ]
      deviceNodes:
        - { path: /dev/gpu0, hostPath: /dev/zero, permissions: rw, fileMode: 0o660 }
        - { path: /dev/gpuctl, type: c, major: 195, minor: 255, uid: 0, gid: 44 }
  - name: all
    containerEdits:
      env: [ GPU=all ]
      deviceNodes: [ { path: /dev/null, permissions: none } ]
      intelRdt: { closID: gpu }
containerEdits:
  env: [ VENDOR=yes ]
  mounts:
    - { hostPath: /usr/lib/gpu, containerPath: /usr/lib/gpu, options: [ ro, nosuid, rbind ] }
    - { hostPath: /tmp, containerPath: /run/gpu }
    - { hostPath: tmpfs, containerPath: /dev/shm, type: tmpfs, options: [ size=1m ] }
  hooks:
    - { hookName: createContainer, path: /bin/gpu-hook, args: [ gpu-hook, ldcache ], timeout: 5 }
    - { hookName: poststop, path: /bin/gpu-hook }
  additionalGids: [ 0, 44 ]
"#;

fn name(text: &str) -> DeviceName {
    text.parse().unwrap()
}

/// A directory with `files`.
fn dir(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn env_file(kind: &str, device: &str, value: &str) -> String {
    format!(
        r#"{{ "cdiVersion": "0.5.0", "kind": "{kind}", "devices": [
             {{ "name": "{device}", "containerEdits": {{ "env": ["FROM={value}"] }} }} ] }}"#
    )
}

fn spec() -> Spec {
    let mut process = Process::default();
    process.set_env(Some(vec!["PATH=/bin".to_owned(), "GPU=none".to_owned()]));
    process.user_mut().set_uid(1000).set_gid(1001).set_additional_gids(Some(vec![44, 1001]));
    let mut spec = Spec::default();
    spec.set_version("1.0.2".to_owned()).set_process(Some(process));
    spec
}

/// The variables that the edits of `names` set, from `dirs`; or why there are none.
fn resolved(dirs: &[&Path], names: &[&str]) -> Result<Vec<String>, String> {
    let dirs: Vec<PathBuf> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    let names: Vec<DeviceName> = names.iter().map(|text| name(text)).collect();
    let edits = Registry::read(&dirs).resolve(&names)?;
    let mut spec = Spec::default();
    spec.set_process(Some(Process::default()));
    spec.process_mut().as_mut().unwrap().set_env(None);
    edits.apply(&mut spec).map_err(|error| error.to_string())?;
    Ok(spec.process().as_ref().unwrap().env().clone().unwrap_or_default())
}

/// Whether a file with `body` in place of the devices' edits is accepted; or a part of the reason why not.
fn check_file(version: &str, kind: &str, edits: &str, expected: Result<(), &str>) {
    let text = format!(
        r#"{{ "cdiVersion": "{version}", "kind": "{kind}", "devices": [ {{ "name": "d", "containerEdits": {edits} }} ] }}"#
    );
    let outcome = parse(&text, false).and_then(|document| check::document(&document));
    match (&outcome, expected) {
        (Ok(()), Ok(())) => {}
        (Err(reason), Err(part)) if reason.contains(part) => {}
        _ => panic!("{version} {kind} {edits}: {outcome:?}, expected {expected:?}"),
    }
}

#[test]
fn all_edits_of_two_devices_reach_the_spec() {
    let files = dir(&[("gpu.yaml", GPU)]);
    let registry = Registry::read(&[files.path().to_owned()]);
    let mut edits = registry.resolve(&[name("vendor.com/gpu=0"), name("vendor.com/gpu=all")]).unwrap();
    edits.fill_from_host().unwrap();
    let mut spec = spec();
    edits.apply(&mut spec).unwrap();
    let mut value = serde_json::to_value(&spec).unwrap();
    // The crate's default capabilities are in no order.
    value["process"].as_object_mut().unwrap().remove("capabilities");
    for mount in value["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/run/gpu" {
            assert_eq!(mount["options"], serde_json::json!(["rbind"]), "a host path without a type is bound");
        }
    }
    let text = serde_json::to_string_pretty(&value).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cdi/golden/gpu.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, fs::read_to_string(&path).unwrap_or_default(), "UPDATE_GOLDEN=1 accepts it");
}

#[test]
fn a_device_that_is_asked_for_twice_is_given_once() {
    let files = dir(&[("a.json", &env_file("v.com/c", "x", "a"))]);
    assert_eq!(resolved(&[files.path()], &["v.com/c=x", "v.com/c=x"]).unwrap(), ["FROM=a"]);
}

#[test]
fn a_later_directory_goes_before_an_earlier_one() {
    let early = dir(&[
        ("a.json", &env_file("v.com/c", "x", "early")),
        ("b.json", &env_file("v.com/c", "y", "early")),
    ]);
    let late = dir(&[("a.json", &env_file("v.com/c", "x", "late"))]);
    let dirs = [early.path(), late.path()];
    assert_eq!(resolved(&dirs, &["v.com/c=x"]).unwrap(), ["FROM=late"]);
    assert_eq!(resolved(&dirs, &["v.com/c=y"]).unwrap(), ["FROM=early"]);
}

#[test]
fn two_files_of_one_directory_are_in_conflict_unless_a_later_directory_decides() {
    let both = dir(&[("a.json", &env_file("v.com/c", "x", "a")), ("b.json", &env_file("v.com/c", "x", "b"))]);
    let late = dir(&[("c.json", &env_file("v.com/c", "x", "c"))]);
    let error = resolved(&[both.path()], &["v.com/c=x"]).unwrap_err();
    assert!(
        error.contains("in conflict") && error.contains("a.json and ") && error.contains("b.json"),
        "{error}"
    );
    assert_eq!(resolved(&[both.path(), late.path()], &["v.com/c=x"]).unwrap(), ["FROM=c"]);
}

#[test]
fn an_unknown_device_tells_where_was_looked_and_what_was_found() {
    let files = dir(&[
        ("good.json", &env_file("v.com/c", "x", "a")),
        ("bad.yaml", "cdiVersion: 0.5.0\nkind: nonsense\ndevices: []\n"),
        ("left.txt", "not ours"),
    ]);
    let missing = files.path().join("later");
    let error = resolved(&[files.path(), &missing], &["v.com/c=z"]).unwrap_err();
    for part in [
        "no CDI device v.com/c=z",
        "(2 files)",
        "later (not there)",
        "of v.com/c there are x",
        "bad.yaml was not used: kind \"nonsense\" has no slash",
    ] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
}

#[test]
fn numbers_come_from_the_host_and_must_agree_with_the_file() {
    let with_node = |node: &str| {
        let text = format!(
            r#"{{ "cdiVersion": "0.5.0", "kind": "v.com/c", "devices": [
                 {{ "name": "x", "containerEdits": {{ "deviceNodes": [{node}] }} }} ] }}"#
        );
        let files = dir(&[("a.json", &text)]);
        let mut edits = Registry::read(&[files.path().to_owned()]).resolve(&[name("v.com/c=x")]).unwrap();
        edits.fill_from_host().map(|()| edits)
    };
    let edits = with_node(r#"{ "path": "/dev/zero" }"#).unwrap();
    let mut spec = spec();
    edits.apply(&mut spec).unwrap();
    let linux = spec.linux().as_ref().unwrap();
    let device = &linux.devices().as_ref().unwrap()[0];
    assert_eq!((device.major(), device.minor(), device.uid(), device.gid()), (1, 5, Some(1000), Some(1001)));
    let rule = linux.resources().as_ref().unwrap().devices().as_ref().unwrap().last().unwrap().clone();
    assert_eq!((rule.allow(), rule.access().as_deref(), rule.minor()), (true, Some("rwm"), Some(5)));
    assert!(
        with_node(r#"{ "path": "/dev/zero", "type": "b" }"#).unwrap_err().contains("is of type c, not b")
    );
    assert!(with_node(r#"{ "path": "/dev/x", "hostPath": "/nowhere" }"#).unwrap_err().contains("/nowhere"));
    assert!(with_node(r#"{ "path": "/tmp" }"#).unwrap_err().contains("is not a device"));
}

#[test]
fn in_a_user_namespace_a_node_with_another_name_is_bound_from_the_hosts() {
    let text = r#"{ "cdiVersion": "0.5.0", "kind": "v.com/c", "devices": [ { "name": "x", "containerEdits": {
        "deviceNodes": [ { "path": "/dev/null", "hostPath": "/dev/zero", "permissions": "rw" },
                         { "path": "/dev/full", "hostPath": "/dev/full" } ] } } ] }"#;
    let files = dir(&[("a.json", text)]);
    let mut spec = spec();
    let mut user = LinuxNamespace::default();
    user.set_typ(LinuxNamespaceType::User);
    let linux = spec.linux_mut().as_mut().unwrap();
    linux.set_namespaces(Some(vec![user])).set_resources(None).set_devices(None);
    let edits = Registry::read(&[files.path().to_owned()]).resolve_on_host(&[name("v.com/c=x")]).unwrap();
    edits.apply(&mut spec).unwrap();
    let value = serde_json::to_value(&spec).unwrap();
    let at = |list: &serde_json::Value, key: &str, path: &str| {
        list.as_array().unwrap().iter().find(|entry| entry[key] == path).cloned()
    };
    let bound = at(&value["mounts"], "destination", "/dev/null").unwrap();
    assert_eq!((&bound["type"], &bound["source"]), (&"bind".into(), &"/dev/zero".into()));
    assert_eq!(at(&value["mounts"], "destination", "/dev/full"), None);
    assert_eq!(
        at(&value["linux"]["devices"], "path", "/dev/null"),
        None,
        "runtimes would bind the host's null"
    );
    assert!(at(&value["linux"]["devices"], "path", "/dev/full").is_some());
    let rules = value["linux"]["resources"]["devices"].as_array().unwrap();
    let minors: Vec<_> = rules.iter().map(|rule| (&rule["minor"], &rule["access"])).collect();
    assert_eq!(minors, [(&5.into(), &"rw".into()), (&7.into(), &"rwm".into())]);
}

#[test]
fn a_file_keeps_to_the_version_that_it_claims() {
    let env = r#"{ "env": ["A=1"] }"#;
    check_file("0.3.0", "v.com/c", env, Ok(()));
    check_file("v1.0.0", "v.com/c", env, Ok(()));
    check_file("0.2.0", "v.com/c", env, Err("cdiVersion \"0.2.0\" is none of"));
    check_file("2.0.0", "v.com/c", env, Err("is none of"));
    check_file("0.5.0", "v.com/c.d", env, Err("a dot in a class needs at least 0.6.0"));
    check_file(
        "0.3.0",
        "v.com/c",
        r#"{ "mounts": [{ "hostPath": "/a", "containerPath": "/a", "type": "bind" }] }"#,
        Err("at least 0.4.0"),
    );
    check_file(
        "0.4.0",
        "v.com/c",
        r#"{ "deviceNodes": [{ "path": "/dev/a", "hostPath": "/dev/b" }] }"#,
        Err("at least 0.5.0"),
    );
    check_file(
        "0.6.0",
        "v.com/c",
        r#"{ "additionalGids": [1] }"#,
        Err("additionalGids needs at least 0.7.0"),
    );
    check_file(
        "0.6.0",
        "v.com/c",
        r#"{ "intelRdt": { "closID": "x" } }"#,
        Err("intelRdt needs at least 0.7.0"),
    );
    check_file(
        "1.0.0",
        "v.com/c",
        r#"{ "netDevices": [{ "hostInterfaceName": "a", "name": "b" }] }"#,
        Err("at least 1.1.0"),
    );
    check_file("1.1.0", "v.com/c", r#"{ "intelRdt": { "enableCMT": true } }"#, Err("are no more in 1.1.0"));
    check_file(
        "1.1.0",
        "v.com/c",
        r#"{ "netDevices": [{ "hostInterfaceName": "a", "name": "b" }] }"#,
        Ok(()),
    );
}

#[test]
fn what_the_specification_forbids_is_refused_with_its_place() {
    let edits = |edits: &str, part: &str| check_file("1.1.0", "v.com/c", edits, Err(part));
    edits("{}", "has no containerEdits");
    edits(r#"{ "env": ["=x"] }"#, "device \"d\": env \"=x\"");
    edits(r#"{ "deviceNodes": [{ "path": "dev/a" }] }"#, "path is not absolute");
    edits(r#"{ "deviceNodes": [{ "path": "/dev/a", "type": "x" }] }"#, "none of b, c, u, p");
    edits(r#"{ "deviceNodes": [{ "path": "/dev/a", "major": -1 }] }"#, "is negative");
    edits(r#"{ "deviceNodes": [{ "path": "/dev/a", "permissions": "rx" }] }"#, "permissions \"rx\"");
    edits(r#"{ "mounts": [{ "hostPath": "", "containerPath": "/a" }] }"#, "hostPath is empty");
    edits(r#"{ "mounts": [{ "hostPath": "/a", "containerPath": "/a/../b" }] }"#, "no clean absolute path");
    edits(r#"{ "hooks": [{ "hookName": "later", "path": "/a" }] }"#, "hookName \"later\"");
    edits(r#"{ "hooks": [{ "hookName": "poststop", "path": "a" }] }"#, "path is not absolute");
    edits(r#"{ "hooks": [{ "hookName": "poststop", "path": "/a", "timeout": 0 }] }"#, "not above zero");
    edits(r#"{ "intelRdt": { "closID": "a/b" } }"#, "closID");
    edits(r#"{ "netDevices": [{ "hostInterfaceName": "", "name": "b" }] }"#, "is empty");
    edits(r#"{ "later": 1 }"#, "later");
    let twice = r#"{ "cdiVersion": "0.5.0", "kind": "v.com/c", "devices": [
        { "name": "d", "containerEdits": { "env": ["A=1"] } }, { "name": "d", "containerEdits": { "env": ["A=1"] } } ] }"#;
    let document = parse(twice, false).unwrap();
    assert!(check::document(&document).unwrap_err().contains("is there twice"));
    let empty = parse(r#"{ "cdiVersion": "0.5.0", "kind": "v.com/c", "devices": null }"#, false).unwrap();
    assert_eq!(check::document(&empty).unwrap_err(), "it has no devices");
}

#[test]
fn network_devices_need_a_runtime_that_knows_them() {
    let text = r#"{ "cdiVersion": "1.1.0", "kind": "v.com/nic", "devices": [ { "name": "x", "containerEdits": {
        "netDevices": [{ "hostInterfaceName": "ens4", "name": "net1" }] } } ] }"#;
    let files = dir(&[("a.json", text)]);
    let edits = Registry::read(&[files.path().to_owned()]).resolve(&[name("v.com/nic=x")]).unwrap();
    let mut spec = spec();
    let error = edits.apply(&mut spec).unwrap_err().to_string();
    assert!(error.contains("need OCI runtime-spec 1.3.0, and the runtime takes 1.0.2"), "{error}");
    spec.set_version("1.3.0".to_owned());
    edits.apply(&mut spec).unwrap();
    let value = serde_json::to_value(&spec).unwrap();
    assert_eq!(value["linux"]["netDevices"], serde_json::json!({ "ens4": { "name": "net1" } }));
}

#[test]
fn annotations_name_devices_by_commas() {
    let asked = |key: &str, value: &str| from_annotation(key, value);
    assert_eq!(asked("example.com/x", "v.com/c=a"), None);
    assert_eq!(
        asked("cdi.k8s.io/plugin", "v.com/c=a,v.com/c=b"),
        Some(Ok(vec![name("v.com/c=a"), name("v.com/c=b")]))
    );
    assert!(asked("cdi.k8s.io/plugin", "gpu0").unwrap().is_err());
}

#[test]
fn nothing_asked_for_changes_nothing() {
    let mut changed = spec();
    Edits::default().apply(&mut changed).unwrap();
    assert_eq!(changed, spec());
}

proptest! {
    #[test]
    fn a_name_is_read_back_as_it_is_written(
        vendor in "[a-zA-Z]([a-zA-Z0-9_.-]{0,8}[a-zA-Z0-9])?",
        class in "[a-zA-Z]([a-zA-Z0-9_.-]{0,8}[a-zA-Z0-9])?",
        device in "[a-zA-Z0-9]([a-zA-Z0-9_.:-]{0,8}[a-zA-Z0-9])?",
    ) {
        let text = format!("{vendor}/{class}={device}");
        prop_assert_eq!(name(&text).to_string(), text);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC{0,200}") {
        let _ = text.parse::<DeviceName>();
        for is_yaml in [true, false] {
            if let Ok(document) = parse(&text, is_yaml) {
                let _ = check::document(&document);
            }
        }
    }

    /// Cut anywhere, a file is refused or whole; nothing in between is taken for good.
    #[test]
    fn a_file_that_is_cut_off_is_no_file_with_fewer_devices(at in 0..GPU.len()) {
        if let Ok(document) = parse(&GPU[..at], true)
            && check::document(&document).is_ok()
        {
            prop_assert_eq!(document.kind, "vendor.com/gpu");
            prop_assert!(!document.devices.is_empty());
        }
    }
}
