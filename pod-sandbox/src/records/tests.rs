use std::fs;

use proptest::prelude::{any, prop, proptest};
use serde::{Deserialize, Serialize};

use super::{Loaded, Recorded, Records};

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

proptest! {
    #[test]
    fn a_damaged_record_is_lost_and_never_misread(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::open(dir.path()).unwrap();
        records.write(&thing()).unwrap();
        let path = dir.path().join("things/a.json");
        let mut content = fs::read(&path).unwrap();
        let at = at.index(content.len());
        content[at] ^= 1 << bit;
        fs::write(&path, &content).unwrap();
        let loaded = load(&records);
        // A flip in the boot ID only makes it another boot's; everywhere else the record is lost.
        assert!(loaded.records.iter().all(|found| found.record == thing() && !found.same_boot));
        assert_eq!(loaded.records.len() + loaded.lost.len(), 1);
    }
}
