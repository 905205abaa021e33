use std::fs;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};

use super::OciHooks;

/// `when` and `stages` of a file, the rest filled in; `program` tells files apart.
fn file(program: &str, when: &str, stages: &str) -> String {
    format!(
        r#"{{ "version": "1.0.0", "hook": {{ "path": "{program}" }}, "when": {when}, "stages": {stages} }}"#
    )
}

fn dir(files: &[(&str, String)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn spec() -> Spec {
    let mut process = Process::default();
    process.set_args(Some(vec!["/usr/bin/serve".to_owned(), "--all".to_owned()]));
    let mut spec = Spec::default();
    spec.set_process(Some(process))
        .set_annotations(Some([("example.com/hook".to_owned(), "on".to_owned())].into()));
    spec
}

/// The programs that run before the container's own, from `dirs`.
fn create_runtime(dirs: &[&Path], has_bind_mounts: bool) -> Vec<String> {
    let dirs: Vec<PathBuf> = dirs.iter().map(|dir| dir.to_path_buf()).collect();
    let mut spec = spec();
    OciHooks::read(&dirs).unwrap().apply(&mut spec, has_bind_mounts);
    let hooks = spec.hooks().clone().unwrap_or_default();
    hooks.create_runtime().iter().flatten().map(|hook| hook.path().display().to_string()).collect()
}

fn is_met(when: &str, has_bind_mounts: bool) -> bool {
    let files = dir(&[("a.json", file("/bin/true", when, r#"["createRuntime"]"#))]);
    !create_runtime(&[files.path()], has_bind_mounts).is_empty()
}

#[test]
fn a_hook_runs_when_all_its_conditions_are_met() {
    assert!(is_met(r#"{ "always": true }"#, false));
    assert!(!is_met(r#"{ "always": false }"#, false));
    assert!(!is_met("{}", true));
    assert!(is_met(r#"{ "annotations": { "^example\\.com/": "^on$" } }"#, false));
    assert!(!is_met(r#"{ "annotations": { "^example\\.com/": "^off$" } }"#, false));
    assert!(is_met(r#"{ "commands": ["/never$", "/serve$"] }"#, false));
    assert!(!is_met(r#"{ "commands": ["--all"] }"#, false));
    assert!(is_met(r#"{ "hasBindMounts": true }"#, true));
    assert!(!is_met(r#"{ "hasBindMounts": true }"#, false));
    assert!(!is_met(r#"{ "hasBindMounts": false }"#, false));
    assert!(!is_met(r#"{ "always": true, "commands": ["/never$"] }"#, true));
}

#[test]
fn files_run_in_the_order_of_their_names_and_a_later_directory_replaces_its_namesake() {
    let stage = || r#"["createRuntime", "poststop"]"#;
    let always = r#"{ "always": true }"#;
    let early = dir(&[
        ("20-b.json", file("/bin/sh", always, stage())),
        ("10-a.json", file("/bin/true", always, stage())),
        ("README.txt", "no hook".to_owned()),
    ]);
    let late = dir(&[("20-b.json", file("/bin/false", always, stage()))]);
    assert_eq!(create_runtime(&[early.path()], false), ["/bin/true", "/bin/sh"]);
    let missing = early.path().join("later");
    assert_eq!(create_runtime(&[early.path(), &missing, late.path()], false), ["/bin/true", "/bin/false"]);
}

#[test]
fn a_bad_file_is_refused_by_its_name() {
    let check = |text: String, part: &str| {
        let files = dir(&[("bad.json", text)]);
        let error = OciHooks::read(&[files.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("bad.json") && error.contains(part), "{part:?} in {error}");
    };
    let always = r#"{ "always": true }"#;
    check("{".to_owned(), "EOF");
    check(file("/bin/true", always, "[]"), "stages is empty");
    check(file("/bin/true", always, r#"["precreate"]"#), "stage \"precreate\"");
    check(file("bin/true", always, r#"["poststop"]"#), "not absolute");
    check(file("/nowhere/at/all", always, r#"["poststop"]"#), "/nowhere/at/all");
    check(file("/tmp", always, r#"["poststop"]"#), "not a file");
    check(file("/bin/true", r#"{ "commands": ["("] }"#, r#"["poststop"]"#), "when: ");
    check(file("/bin/true", r#"{ "sometimes": true }"#, r#"["poststop"]"#), "sometimes");
    check(file("/bin/true", always, r#"["poststop"]"#).replace("1.0.0", "0.1.0"), "only 1.0.0 is known");
}
