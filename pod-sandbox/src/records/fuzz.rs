//! What a record on the disk may hold, after a crash or an upgrade.

use super::{Content, FORMAT, Found, MAGIC, Recorded, Records, checksum};
use crate::container::record::ContainerRecord;
use crate::sandbox::record::SandboxRecord;

/// A file as it is, and the body of one whose checksum is right.
///
/// # Panics
/// On a fault.
pub fn record(data: &[u8]) {
    let records = Records { dir: "/nonexistent".into(), boot_id: "boot".to_owned() };
    let whole = [format!("{MAGIC}{FORMAT} {} boot\n", checksum(data)).as_bytes(), data].concat();
    for content in [data, &whole] {
        reads::<SandboxRecord>(&records, content);
        reads::<ContainerRecord>(&records, content);
    }
}

/// What is read is written, and read again as the same.
fn reads<T: Recorded + PartialEq + std::fmt::Debug>(records: &Records, content: &[u8]) {
    let Some(found) = decode::<T>(records, content) else { return };
    let body = serde_json::to_vec(&found.record).expect("a record is JSON");
    let again = [format!("{MAGIC}{FORMAT} {} earlier\n", checksum(&body)).as_bytes(), &body].concat();
    let again = decode::<T>(records, &again).expect("a record is read as it was written");
    assert!(!again.same_boot, "a boot that is over");
    assert_eq!(again.record, found.record);
}

fn decode<T: Recorded>(records: &Records, content: &[u8]) -> Option<Found<T>> {
    match records.decode(content) {
        Content::Record(found) => Some(found),
        Content::OfAnother { .. } | Content::Damaged(_) => None,
    }
}
