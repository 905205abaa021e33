use super::*;

#[test]
fn a_record_is_read_as_it_was_written_and_goes_when_removed() {
    let dir = tempfile::tempdir().expect("tempdir");
    let record = ExitRecord {
        container_id: "a.b".to_owned(),
        pid: 7,
        start_time: 8,
        code: 137,
        at_ns: 1_700_000_000_123_456_789,
        oom_killed: true,
        log_bytes_dropped: 9,
    };
    assert_eq!(read_exit(dir.path(), "a.b").expect("read"), None);
    write_exit(dir.path(), &record).expect("write makes the directory");
    write_exit(dir.path(), &record).expect("and replaces");
    assert_eq!(read_exit(dir.path(), "a.b").expect("read"), Some(record));
    let names: Vec<_> = fs::read_dir(exits_dir(dir.path())).expect("dir").collect();
    assert_eq!(names.len(), 1, "no temporary file is left");
    remove_exit(dir.path(), "a.b").expect("remove");
    remove_exit(dir.path(), "a.b").expect("gone is fine");
    assert_eq!(read_exit(dir.path(), "a.b").expect("read"), None);
}
