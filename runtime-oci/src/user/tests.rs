use super::*;
use std::fs;
use std::os::unix::fs::symlink;

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
    # a comment\n\
    broken line\n\
    www-data:x:33:33::/var/www:/bin/false\n\
    app:x:1000:1001:App:/home/app:/bin/sh\n\
    1000:x:0:0::/a/name/of/digits:\n\
    1234:x:0:0::/a/name/of/digits:\n\
    4294967295:x:5:5::/:\n\
    -1:x:5:5::/:\n\
    +5:x:5:5::/:\n\
    no-id:x:4294967295:0::/:\n\
    no-id:x:1:1::/second:\n\
    too-large:x:4294967296:0::/:\n\
    negative:x:-1:0::/:\n\
    signed:x:+5:0::/:\n\
    word:x:root:0::/:\n\
    empty:x::0::/:\n\
    no-group:x:2000:4294967295::/:\n\
    largest:x:4294967294:4294967294::/:\n\
    two words:x:44:45::/:\n\
    caf\u{e9}-$:x:46:47::/:\n\
    member:x:48:48::/:\n";
const GROUP: &str = "root:x:0:\nusers:x:100:www-data\nextra:x:50000:app,www-data\nwheel:x:10:root\n\
    100:x:0:\nno-id:x:4294967295:member\nnegative:x:-1:\nsigned:x:+5:\n";

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

/// Whether by the image's user or by `run_as_username`.
fn by_text(text: &str) -> Result<(u32, u32, Vec<u32>), String> {
    let ids = |request: &UserRequest| {
        let user = resolve(image().path(), request).map_err(|error| error.to_string())?;
        Ok((user.uid, user.gid, user.additional_gids))
    };
    let of_image = ids(&image_user(text));
    if !text.is_empty() {
        let by_name = ids(&UserRequest { username: Some(text.to_owned()), ..UserRequest::default() });
        let in_its_words = |error: String| error.replace("run_as_username", "the image's user");
        assert_eq!(by_name.map_err(in_its_words), of_image, "{text:?}");
    }
    of_image
}

#[test]
fn an_image_user_has_every_form_of_the_specification() {
    type Case = (&'static str, (u32, u32, &'static [u32]));
    let cases: [Case; 24] = [
        ("", (0, 0, &[0, 10])),
        (":", (0, 0, &[0, 10])),
        ("0", (0, 0, &[0, 10])),
        ("00", (0, 0, &[0, 10])),
        ("1002", (1002, 0, &[0])),
        ("001002", (1002, 0, &[0])),
        ("1000", (1000, 1001, &[1001, 50000])),
        ("1000:", (1000, 1001, &[1001, 50000])),
        ("1000:1000", (1000, 1000, &[1000, 50000])),
        ("1003:users", (1003, 100, &[100])),
        ("www-data", (33, 33, &[33, 100, 50000])),
        ("www-data:100", (33, 100, &[100, 50000])),
        ("www-data:wheel", (33, 10, &[10, 100, 50000])),
        ("app:", (1000, 1001, &[1001, 50000])),
        ("app:00", (1000, 0, &[0, 50000])),
        (":users", (0, 100, &[100, 10])),
        (":7", (0, 7, &[7, 10])),
        // Digits are a number, though there are such names, which are root's.
        ("1234", (1234, 0, &[0])),
        ("1234:100", (1234, 100, &[100])),
        ("4294967294", (4_294_967_294, 4_294_967_294, &[4_294_967_294])),
        ("largest", (4_294_967_294, 4_294_967_294, &[4_294_967_294])),
        ("two words", (44, 45, &[45])),
        ("caf\u{e9}-$", (46, 47, &[47])),
        // Where the group is named, the entry's own is not needed.
        ("no-group:5", (2000, 5, &[5])),
    ];
    for (text, (uid, gid, gids)) in cases {
        assert_eq!(by_text(text), Ok((uid, gid, gids.to_vec())), "{text:?}");
    }
}

#[test]
fn who_cannot_be_is_refused_and_never_somebody_else() {
    let no_id = |text: &str| {
        format!("{text:?} is not a user or group ID, which are the numbers from 0 to 4294967294")
    };
    for (user, number) in [
        ("4294967295", "4294967295"),
        ("4294967296", "4294967296"),
        ("99999999999999", "99999999999999"),
        ("99999999999999999999", "99999999999999999999"),
        ("-1", "-1"),
        ("-0", "-0"),
        ("+5", "+5"),
        ("1000:4294967295", "4294967295"),
        ("app:4294967296", "4294967296"),
        (":-1", "-1"),
        ("4294967295:0", "4294967295"),
    ] {
        assert_eq!(by_text(user), Err(format!("the image's user: {}", no_id(number))), "{user:?}");
    }
    for (user, file, name, number) in [
        ("no-id", "passwd", "no-id", "4294967295"),
        ("no-id:5", "passwd", "no-id", "4294967295"),
        ("too-large", "passwd", "too-large", "4294967296"),
        ("negative", "passwd", "negative", "-1"),
        ("signed", "passwd", "signed", "+5"),
        ("word", "passwd", "word", "root"),
        ("empty", "passwd", "empty", ""),
        ("no-group", "passwd", "no-group", "4294967295"),
        ("2000", "passwd", "no-group", "4294967295"),
        ("app:no-id", "group", "no-id", "4294967295"),
        ("app:negative", "group", "negative", "-1"),
        ("5:signed", "group", "signed", "+5"),
        // A group that lists the user.
        ("member", "group", "no-id", "4294967295"),
    ] {
        let expected = format!("the image's /etc/{file}: of {name:?}, {}", no_id(number));
        assert_eq!(by_text(user), Err(expected), "{user:?}");
    }
    for user in ["nobody-here", " app", "app ", "1000 ", "0x0", "app\n", "\u{661}", "broken line"] {
        let expected = format!("no user named {user:?} in the image's /etc/passwd");
        assert_eq!(by_text(user), Err(expected));
    }
    for group in ["nobody-here", "0:0", "1 "] {
        let expected = format!("no group named {group:?} in the image's /etc/group");
        assert_eq!(by_text(&format!("app:{group}")), Err(expected));
    }
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
fn a_requests_own_numbers_are_held_to_the_same_range() {
    let request = |uid, gid| UserRequest { uid, gid, ..UserRequest::default() };
    let no_id = "is not a user or group ID, which are the numbers from 0 to 4294967294";
    assert_eq!(refused(&request(Some(-1), None)), format!("run_as_user: \"-1\" {no_id}"));
    assert_eq!(refused(&request(Some(0), Some(1 << 32))), format!("run_as_group: \"4294967296\" {no_id}"));
    let no_id_for_group = request(Some(0), Some(i64::from(u32::MAX)));
    assert_eq!(refused(&no_id_for_group), format!("run_as_group: \"4294967295\" {no_id}"));
    let supplemental = UserRequest { supplemental: vec![7, u32::MAX.into()], ..UserRequest::default() };
    assert_eq!(refused(&supplemental), format!("supplemental_groups: \"4294967295\" {no_id}"));
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
fn a_passwd_that_is_no_file_is_not_opened_and_counts_as_empty() {
    use rustix::fs::{CWD, FileType, Mode, inotify, mknodat};
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("etc")).unwrap();
    let [passwd, group] = ["etc/passwd", "etc/group"].map(|path| dir.path().join(path));
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).unwrap();
    for path in [&passwd, &group] {
        mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        inotify::add_watch(&watch, path, inotify::WatchFlags::OPEN).unwrap();
    }
    let refused = |user: &str| resolve(dir.path(), &image_user(user)).unwrap_err().to_string();
    assert_eq!(refused("app"), "no user named \"app\" in the image's /etc/passwd");
    assert_eq!(refused("5:app"), "no group named \"app\" in the image's /etc/group");
    assert_eq!(resolve(dir.path(), &image_user("5:6")).unwrap().uid, 5);
    assert_eq!(home(dir.path(), 5).unwrap(), None);
    let opened = rustix::io::read(&watch, &mut [0; 256][..]);
    assert_eq!(opened, Err(rustix::io::Errno::AGAIN), "one of them was opened");
    fs::remove_file(&passwd).unwrap();
    fs::create_dir(&passwd).unwrap();
    assert_eq!(refused("app"), "no user named \"app\" in the image's /etc/passwd");
}

#[test]
fn a_passwd_without_end_is_refused_and_not_cut_in_the_middle_of_a_number() {
    let image = image();
    let path = image.path().join("etc/passwd");
    fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(1 << 40).unwrap();
    let refused = resolve(image.path(), &image_user("app")).unwrap_err().to_string();
    assert_eq!(refused, "/etc/passwd in the root file system: is longer than 8388608 bytes");
}

#[test]
fn home_comes_from_passwd() {
    let image = image();
    assert_eq!(home(image.path(), 1000).unwrap().as_deref(), Some("/home/app"));
    assert_eq!(home(image.path(), 4711).unwrap(), None);
}
