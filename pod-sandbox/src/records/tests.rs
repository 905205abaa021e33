use std::fs;

use proptest::prelude::{any, prop, proptest};
use serde::{Deserialize, Serialize};

use super::{FORMAT, Loaded, Recorded, Records, checksum};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Thing {
    name: String,
    value: u64,
}

impl Recorded for Thing {
    const DIR: &'static str = "things";
    fn name(&self) -> &str {
        &self.name
    }
}

fn thing() -> Thing {
    Thing { name: "a".to_owned(), value: 42 }
}

fn load(records: &Records) -> Loaded<Thing> {
    records.load().unwrap()
}

#[test]
fn a_record_comes_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).unwrap();
    records.write(&thing()).unwrap();
    let loaded = load(&records);
    assert_eq!(loaded.records[0].record, thing());
    assert!(loaded.records[0].same_boot);
    records.remove::<Thing>("a").unwrap();
    records.remove::<Thing>("a").unwrap();
    assert!(load(&records).records.is_empty());
}

#[test]
fn an_earlier_boot_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let before = Records { boot_id: "earlier".to_owned(), ..Records::open(dir.path()).unwrap() };
    before.write(&thing()).unwrap();
    assert!(!load(&Records::open(dir.path()).unwrap()).records[0].same_boot);
}

#[test]
fn temporary_files_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).unwrap();
    records.write(&thing()).unwrap();
    let leftover = dir.path().join("things/.b.tmp");
    fs::write(&leftover, "half").unwrap();
    assert_eq!(load(&records).records.len(), 1);
    assert!(!leftover.exists());
}

/// As another version would write it.
fn write_other(dir: &std::path::Path, format: u32, body: &str) {
    let record = format!("linkspan-record {format} {} boot\n{body}", checksum(body.as_bytes()));
    fs::create_dir_all(dir.join("things")).unwrap();
    fs::write(dir.join("things/a.json"), record).unwrap();
}

#[test]
fn another_versions_fields_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    // Before versions were written into records, and with a field that came later.
    for body in [r#"{"name":"a","value":42}"#, r#"{"written_by":"9.0.0","name":"a","value":42,"new":1}"#] {
        write_other(dir.path(), FORMAT, body);
        assert_eq!(load(&Records::open(dir.path()).unwrap()).records[0].record, thing(), "{body}");
    }
}

#[test]
fn what_another_version_wrote_and_nobody_here_understands_stays() {
    let dir = tempfile::tempdir().unwrap();
    let whole = r#"{"written_by":"9.0.0","name":"a","value":42}"#;
    let new_kind = r#"{"written_by":"9.0.0","name":"a","value":{"in":"two parts"}}"#;
    for (format, body) in [(FORMAT + 1, whole), (FORMAT, new_kind), (FORMAT + 1, "no JSON at all")] {
        write_other(dir.path(), format, body);
        let loaded = load(&Records::open(dir.path()).unwrap());
        assert_eq!((loaded.records.len(), loaded.left), (0, ["a".to_owned()].into()), "{format} {body}");
        assert!(dir.path().join("things/a.json").exists(), "{format} {body}");
    }
}

#[test]
fn what_is_no_record_is_set_aside_and_keeps_nothing_from_being_read() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::open(dir.path()).unwrap();
    records.write(&thing()).unwrap();
    let path = |name: &str| dir.path().join("things").join(name);
    fs::create_dir(path("directory.json")).unwrap();
    fs::create_dir(path(".b.tmp")).unwrap();
    fs::write(path("empty.json"), "").unwrap();
    fs::write(path("note"), "somebody's").unwrap();
    fs::copy(path("a.json"), path("copy.json")).unwrap();
    std::os::unix::fs::symlink("a.json", path("link.json")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe.json"), 0o600.into()).unwrap();
    for _ in 0..2 {
        let loaded = load(&records);
        assert_eq!(loaded.records.len(), 1);
        assert!(loaded.left.is_empty());
        let names =
            fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        let set_aside = ["copy.json", "directory.json", "empty.json", "link.json", "note", "pipe.json"];
        let mut expected = vec![".b.tmp.bad".to_owned(), "a.json".to_owned()];
        expected.extend(set_aside.map(|name| format!("{name}.bad")));
        assert_eq!(names, expected);
    }
    assert_eq!(fs::read_to_string(path("note.bad")).unwrap(), "somebody's");
}

proptest! {
    #[test]
    fn a_damaged_record_is_never_misread_or_lost_without_a_trace(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        records.write(&thing()).unwrap();
        let path = dir.path().join("things/a.json");
        let mut content = fs::read(&path).unwrap();
        let at = at.index(content.len());
        content[at] ^= 1 << bit;
        fs::write(&path, &content).unwrap();
        let loaded = load(&records);
        // A flip in the boot ID only makes it another boot's, one in the format another version's.
        assert!(loaded.records.iter().all(|found| found.record == thing() && !found.same_boot));
        let set_aside = usize::from(dir.path().join("things/a.json.bad").exists());
        assert_eq!(loaded.records.len() + loaded.left.len() + set_aside, 1);
    }
}
