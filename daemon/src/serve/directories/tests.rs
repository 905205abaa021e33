use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use linkspan_config::{Place, Sources, load};

use super::prepare;

/// The modes of both directories after a start, `entries` and mode 0755 before it.
fn check(entries: &[&str], expected: [u32; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let config = load(&sources(dir.path())).unwrap().config;
    for own in [&config.root_dir, &config.run_dir] {
        fs::create_dir_all(own).unwrap();
        fs::set_permissions(own, Permissions::from_mode(0o755)).unwrap();
    }
    for entry in entries {
        fs::create_dir_all(dir.path().join(entry)).unwrap();
    }
    prepare(&config).unwrap();
    assert_eq!([mode(&config.root_dir), mode(&config.run_dir)], expected, "{entries:?}");
}

fn sources(dir: &Path) -> Sources {
    Sources { place: Place::below(dir.to_owned()), ..Sources::default() }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn directories_of_the_daemon_alone_are_closed_and_shared_ones_are_left() {
    check(&[], [0o700, 0o711]);
    let all = ["images", "state", "volumes", "checkpoints", "linkspan.lock", "lost+found"];
    let all: Vec<String> = all.iter().map(|name| format!("var/lib/linkspan/{name}")).collect();
    check(&all.iter().map(String::as_str).collect::<Vec<_>>(), [0o700, 0o711]);
    check(&["run/linkspan/pods", "run/linkspan/runtimes", "run/linkspan/linkspan.sock.new"], [0o700, 0o711]);
    check(&["run/linkspan/network"], [0o700, 0o711]);
    check(&["var/lib/linkspan/images", "var/lib/linkspan/photographs"], [0o755, 0o711]);
    check(&["run/linkspan/pods", "run/linkspan/sshd.pid"], [0o700, 0o755]);
}

#[test]
fn what_is_missing_is_made_and_those_above_it_stay_passable() {
    let dir = tempfile::tempdir().unwrap();
    let config = load(&sources(dir.path())).unwrap().config;
    prepare(&config).unwrap();
    assert_eq!([mode(&config.root_dir), mode(&config.run_dir)], [0o700, 0o711]);
    assert_ne!(mode(&dir.path().join("run")) & 0o001, 0);
}
