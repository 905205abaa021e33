use super::*;
use std::fs;
use std::os::unix::fs::symlink;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    # a comment\n\
    broken line\n\
    www-data:x:33:33::/var/www:/bin/false\n\
    app:x:1000:1001:App:/home/app:/bin/sh\n\
    1234:x:77:78::/named/by/number:\n";
const GROUP: &str = "root:x:0:\nusers:x:100:www-data\nextra:x:50000:app,www-data\nwheel:x:10:root\n";

fn image() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    fs::write(dir.path().join("etc/passwd"), PASSWD).unwrap();
    fs::write(dir.path().join("etc/group"), GROUP).unwrap();
    dir
}

fn check(request: &UserRequest, expected: (u32, u32, &[u32])) {
    let user = resolve(image().path(), request).unwrap();
    assert_eq!((user.uid, user.gid, user.additional_gids.as_slice()), expected, "{request:?}");
}

fn refused(request: &UserRequest) -> String {
    resolve(image().path(), request).unwrap_err().to_string()
}

fn image_user(user: &str) -> UserRequest {
    UserRequest { image_user: user.to_owned(), ..UserRequest::default() }
}

#[test]
fn an_image_user_has_every_form_that_docker_takes() {
    check(&image_user(""), (0, 0, &[0, 10]));
    check(&image_user("1002"), (1002, 0, &[0]));
    check(&image_user("1000"), (1000, 1001, &[1001, 50000]));
    check(&image_user("www-data"), (33, 33, &[33, 100, 50000]));
    check(&image_user("1003:users"), (1003, 100, &[100]));
    check(&image_user("www-data:100"), (33, 100, &[100]));
    check(&image_user("app:"), (1000, 1001, &[1001, 50000]));
    check(&image_user(":users"), (0, 100, &[100]));
    check(&image_user("1234"), (77, 78, &[78]));
}

#[test]
fn a_request_beats_the_image() {
    let by_uid = UserRequest { uid: Some(1000), ..image_user("www-data") };
    check(&by_uid, (1000, 1001, &[1001, 50000]));
    let by_name = UserRequest { username: Some("app".to_owned()), ..image_user("www-data") };
    check(&by_name, (1000, 1001, &[1001, 50000]));
    let with_group = UserRequest { gid: Some(3000), supplemental: vec![4000, 3000], ..by_uid };
    check(&with_group, (1000, 3000, &[3000, 50000, 4000]));
}

#[test]
fn the_strict_policy_ignores_the_images_groups() {
    let policy = SupplementalGroupsPolicy::Strict;
    check(
        &UserRequest { uid: Some(1000), supplemental: vec![7], policy, ..UserRequest::default() },
        (1000, 1001, &[1001, 7]),
    );
}

#[test]
fn unknown_names_and_bad_numbers_are_refused() {
    assert_eq!(
        refused(&image_user("nobody-here")),
        "no user named \"nobody-here\" in the image's /etc/passwd"
    );
    assert_eq!(refused(&image_user("app:nope")), "no group named \"nope\" in the image's /etc/group");
    let request = |uid, gid| UserRequest { uid, gid, ..UserRequest::default() };
    assert_eq!(refused(&request(Some(-1), None)), "run_as_user: -1 is not an ID");
    assert_eq!(refused(&request(Some(0), Some(1 << 32))), "run_as_group: 4294967296 is not an ID");
    assert!(refused(&request(None, Some(5))).starts_with("run_as_group: needs run_as_user"));
}

#[test]
fn an_image_without_passwd_knows_numbers_only() {
    let empty = tempfile::tempdir().unwrap();
    let user = resolve(empty.path(), &image_user("5:6")).unwrap();
    assert_eq!((user.uid, user.gid), (5, 6));
    assert!(resolve(empty.path(), &image_user("app")).is_err());
    assert_eq!(home(empty.path(), 0).unwrap(), None);
}

#[test]
fn links_in_the_image_never_lead_to_the_hosts_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("etc")).unwrap();
    fs::create_dir_all(dir.path().join("real/etc")).unwrap();
    // Absolute and climbing links are followed inside the image, as the container itself would.
    symlink("/../../real/etc/passwd", dir.path().join("etc/passwd")).unwrap();
    assert!(resolve(dir.path(), &image_user("root")).is_err());
    fs::write(dir.path().join("real/etc/passwd"), "inside:x:9:9::/in:/bin/sh\n").unwrap();
    assert_eq!(resolve(dir.path(), &image_user("inside")).unwrap().uid, 9);
}

#[test]
fn home_comes_from_passwd() {
    let image = image();
    assert_eq!(home(image.path(), 1000).unwrap().as_deref(), Some("/home/app"));
    assert_eq!(home(image.path(), 4711).unwrap(), None);
}
