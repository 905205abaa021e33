use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use linkspan_runtime_oci::rooted::Root;

use super::{
    CHANGES, CONFIG, IMAGES, copy, is_in, pack, place, publish, read_config, read_deleted, unpack, write_json,
};
use crate::checkpoint::dump::ConfigDump;
use crate::error::Error;
use crate::host_files::Step;

const FIELD: &str = "config.image.image";

#[test]
fn what_was_packed_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to, archive) = (dir.path().join("from"), dir.path().join("to"), dir.path().join("c.tar"));
    fs::create_dir_all(from.join(IMAGES)).unwrap();
    let config =
        ConfigDump { name: "c".to_owned(), rootfs_image: "sha256:1".to_owned(), ..ConfigDump::default() };
    write_json(&from.join(CONFIG), &config).unwrap();
    write_json(&from.join("deleted.files"), &["a/b", "c"]).unwrap();
    fs::write(from.join("spec.dump"), "{}").unwrap();
    fs::write(from.join(CHANGES), [0; 1024]).unwrap();
    fs::write(from.join(IMAGES).join("inventory.img"), "i").unwrap();
    fs::write(from.join("private"), "x").unwrap();
    pack(&from, &archive).unwrap();
    pack(&from, &archive).unwrap_err();

    unpack(&archive, &to, FIELD).unwrap();
    assert_eq!(read_config(&to, FIELD).unwrap(), config);
    assert_eq!(read_deleted(&to, FIELD).unwrap(), ["a/b", "c"]);
    assert_eq!(fs::read(to.join(CHANGES)).unwrap().len(), 1024);
    assert_eq!(fs::read_to_string(to.join(IMAGES).join("inventory.img")).unwrap(), "i");
    assert!(!to.join("private").exists());
}

#[test]
fn an_archive_that_nobody_waits_for_any_more_does_not_appear() {
    let dir = tempfile::tempdir().unwrap();
    let (from, output) = (dir.path().join("from"), dir.path().join("output"));
    fs::create_dir_all(from.join(IMAGES)).unwrap();
    fs::create_dir(&output).unwrap();
    let (unfinished, location) = (output.join(".c.tar"), output.join("c.tar"));
    let step = Step::of_our_own("packing", &location);
    publish(&from, &unfinished, &location, &step).unwrap();
    assert!(location.exists() && !unfinished.exists());
    fs::remove_file(&location).unwrap();
    step.give_up();
    publish(&from, &unfinished, &location, &step).unwrap_err();
    assert_eq!(fs::read_dir(&output).unwrap().count(), 0);
}

#[test]
fn what_is_no_checkpoint_is_refused_in_the_field_that_named_it() {
    let dir = tempfile::tempdir().unwrap();
    let check = |content: &[u8]| {
        let archive = dir.path().join("c.tar");
        fs::write(&archive, content).unwrap();
        let to = tempfile::tempdir_in(dir.path()).unwrap();
        match unpack(&archive, to.path(), FIELD).unwrap_err() {
            Error::BadConfig { field, .. } => assert_eq!(field, FIELD),
            error => panic!("{error}"),
        }
    };
    check(b"not an archive, but longer than nothing");
    check(&[0; 1024]);
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    builder.append_data(&mut header, CONFIG, &b"{}"[..]).unwrap();
    check(&builder.into_inner().unwrap());
}

#[test]
fn nothing_is_put_anywhere_but_where_it_belongs() {
    let check =
        |name: &str, expected: Option<&str>| assert_eq!(place(Path::new(name)), expected.map(Path::new));
    check("config.dump", Some("config.dump"));
    check("./spec.dump", Some("spec.dump"));
    check("checkpoint/core-1.img", Some("checkpoint/core-1.img"));
    for name in ["other", "checkpoint", "checkpoint/a/b", "../config.dump", "checkpoint/../x", "/config.dump"]
    {
        check(name, None);
    }
}

#[test]
fn what_an_image_links_to_outside_of_it_is_no_checkpoint_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (image, another, to) = (dir.path().join("image"), dir.path().join("another"), dir.path().join("to"));
    fs::create_dir_all(&image).unwrap();
    fs::create_dir_all(another.join(IMAGES)).unwrap();
    fs::write(another.join(IMAGES).join("inventory.img"), "i").unwrap();
    fs::write(another.join(IMAGES).join("pages-1.img"), "another's memory").unwrap();
    fs::write(another.join(CONFIG), "{}").unwrap();
    fs::write(image.join(CONFIG), "{}").unwrap();
    for target in [another.join(IMAGES), Path::new("../another").join(IMAGES)] {
        symlink(target, image.join(IMAGES)).unwrap();
        let root = Root::open(&image).unwrap();
        assert!(!is_in(&root).unwrap());
        copy(&root, &to).unwrap();
        assert!(!to.join(IMAGES).join("pages-1.img").exists());
        fs::remove_file(image.join(IMAGES)).unwrap();
        fs::remove_dir_all(&to).unwrap();
    }
    // Inside, it is the image's own business; single files that lead out are left out.
    fs::create_dir_all(image.join("real")).unwrap();
    fs::write(image.join("real/inventory.img"), "i").unwrap();
    symlink(another.join(IMAGES).join("pages-1.img"), image.join("real/pages-1.img")).unwrap();
    symlink("/real", image.join(IMAGES)).unwrap();
    let root = Root::open(&image).unwrap();
    assert!(is_in(&root).unwrap());
    copy(&root, &to).unwrap();
    let copied: Vec<_> = fs::read_dir(to.join(IMAGES)).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(copied, ["inventory.img"]);
}
