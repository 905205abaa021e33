use super::*;

#[test]
fn a_record_comes_back_and_is_json() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    write(&path, &vec!["x", "y"], Sync::Now).unwrap();
    assert_eq!(read::<Vec<String>>(&path).unwrap().unwrap(), ["x", "y"]);
    let value: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(value["record"][1], "y");
}

#[test]
fn a_record_damaged_anywhere_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    assert_eq!(read::<Vec<u32>>(&path).unwrap(), None);
    write(&path, &vec![1, 2, 3], Sync::Never).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), None, "cut to {length}");
        let mut changed = whole.clone();
        changed[length] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(read::<Vec<u32>>(&path).unwrap(), None, "changed at {length}");
    }
}
