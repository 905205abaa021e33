use super::*;

#[test]
fn the_bounding_set_is_named_as_the_kernel_numbers_it() {
    assert_eq!(names(0b1), ["CAP_CHOWN"]);
    assert_eq!(
        names(1 << 21 | 1 << 24 | 1 << 40),
        ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_CHECKPOINT_RESTORE"]
    );
    assert!(bounding_set().unwrap().len() <= CAPABILITIES.len());
}

#[test]
fn a_device_node_is_described_and_a_file_is_refused() {
    let found = device(Path::new("/dev/null"), Path::new("/dev/nothing"), "rw").unwrap();
    assert_eq!(found.len(), 1);
    let null = &found[0];
    assert_eq!(
        (null.path.as_str(), null.kind, null.major, null.minor),
        ("/dev/nothing", DeviceKind::Char, 1, 3)
    );
    assert_eq!(null.permissions, "rw");

    let error = device(Path::new("/proc/self/status"), Path::new("/dev/x"), "").unwrap_err();
    assert_eq!(error.to_string(), "devices.host_path: /proc/self/status is not a device");
}

#[test]
fn a_privileged_container_gets_null_but_no_terminals_of_the_host() {
    let paths: Vec<String> = devices().unwrap().into_iter().map(|device| device.path).collect();
    assert!(paths.iter().any(|path| path == "/dev/null"));
    assert!(!paths.iter().any(|path| path.starts_with("/dev/pts/") || path == "/dev/console"));
}

#[test]
fn the_running_kernel_has_a_version() {
    assert!(kernel_version() > (4, 0));
}
