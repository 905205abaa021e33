use super::{options, source};
use crate::error::Error;
use crate::model::{ImageSpec, Mount, Propagation};

fn of_image() -> Mount {
    let image = Some(ImageSpec { image: "models:1".to_owned(), ..ImageSpec::default() });
    Mount { container_path: "/m".to_owned(), readonly: true, image, ..Mount::default() }
}

fn of_host() -> Mount {
    Mount { container_path: "/m".to_owned(), host_path: "/srv".to_owned(), ..Mount::default() }
}

/// The field that is refused; empty: none.
fn refused(result: Result<(), Error>) -> String {
    match result {
        Ok(()) => String::new(),
        Err(Error::BadConfig { field, .. }) => field,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn an_image_is_mounted_alone_read_only_and_private() {
    let check = |change: fn(&mut Mount), expected: &str| {
        let mut mount = of_image();
        change(&mut mount);
        assert_eq!(refused(source("m", &mount)), expected);
    };
    check(|_| {}, "");
    check(|mount| mount.image_sub_path = "a/./b".to_owned(), "");
    check(|mount| mount.host_path = "/srv".to_owned(), "m.host_path");
    check(|mount| mount.readonly = false, "m.readonly");
    check(|mount| mount.propagation = Propagation::HostToContainer, "m.propagation");
    for path in ["/a", "../a", "a/../../b", "a\0"] {
        let mount = Mount { image_sub_path: path.to_owned(), ..of_image() };
        assert_eq!(refused(source("m", &mount)), "m.image_sub_path", "{path:?}");
    }
}

#[test]
fn a_host_path_has_no_sub_path_of_an_image() {
    assert_eq!(refused(source("m", &of_host())), "");
    let mount = Mount { image_sub_path: "a".to_owned(), ..of_host() };
    assert_eq!(refused(source("m", &mount)), "m.image_sub_path");
}

#[test]
fn options_are_known_and_do_not_contradict() {
    let check = |mount: Mount, wanted: &[&str], expected: &str| {
        let mount = Mount { mount_options: wanted.iter().map(ToString::to_string).collect(), ..mount };
        match options("m", &mount) {
            Ok(()) => assert_eq!(expected, "", "{wanted:?}"),
            Err(Error::BadConfig { field, reason }) => {
                assert_eq!(field, "m.mount_options");
                assert!(!expected.is_empty() && reason.contains(expected), "{wanted:?}: {reason}");
            }
            Err(other) => panic!("{other}"),
        }
    };
    check(of_host(), &["noexec", "nosuid", "nodev", "noexec"], "");
    check(of_host(), &["rw", "noatime", "nodiratime"], "");
    check(Mount { readonly: true, ..of_host() }, &["ro"], "");
    check(of_image(), &["ro", "noexec"], "");
    check(of_host(), &["exec", "noexec"], "exclude each other");
    check(of_host(), &["noatime", "relatime"], "exclude each other");
    check(of_host(), &["ro"], "m.readonly");
    check(Mount { readonly: true, ..of_host() }, &["rw"], "m.readonly");
    check(of_image(), &["exec"], "not for images");
    for option in ["bind", "remount", "rshared", "size=1", "", "context=x", "idmap"] {
        check(of_host(), &[option], "not one for bind mounts");
    }
}
