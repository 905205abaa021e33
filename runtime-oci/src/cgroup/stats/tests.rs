use super::super::fixture::of_files;
use super::*;

fn read_files(mode: CgroupMode, controllers: &[&str], files: &[(&str, &str)]) -> CgroupStats {
    CgroupStats { at: Timestamp::default(), ..of_files(mode, controllers, files, read) }
}

#[test]
fn v2_counters_are_read() {
    let pressure =
        "some avg10=1.50 avg60=0.20 avg300=0.01 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
    let stats = read_files(
        CgroupMode::V2,
        &[],
        &[
            ("cpu.stat", "usage_usec 1500\nuser_usec 1000\n"),
            ("memory.current", "10000\n"),
            ("memory.max", "50000\n"),
            ("memory.stat", "anon 4000\nfile 5000\ninactive_file 3000\npgfault 11\npgmajfault 2\n"),
            ("memory.swap.current", "0\n"),
            ("memory.swap.max", "max\n"),
            ("pids.current", "3\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=100 wbytes=20 rios=1\n8:16 rbytes=5 wbytes=6 rios=1\n"),
            ("cpu.pressure", pressure),
            ("memory.pressure", pressure),
            ("io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
        ],
    );
    let some = PressureData { avg10: 1.5, avg60: 0.2, avg300: 0.01, total_ns: 7000 };
    let pressure = Pressure { some, full: PressureData { total_ns: 3000, ..PressureData::default() } };
    let expected = CgroupStats {
        cpu_usage_ns: 1_500_000,
        memory_usage_bytes: 10_000,
        memory_working_set_bytes: 7000,
        memory_available_bytes: Some(43_000),
        rss_bytes: 4000,
        page_faults: 11,
        major_page_faults: 2,
        swap_usage_bytes: Some(0),
        pids_current: 3,
        io_read_bytes: 105,
        io_write_bytes: 26,
        psi: Some(Psi { cpu: pressure, memory: pressure, io: Pressure::default() }),
        ..CgroupStats::default()
    };
    assert_eq!(stats, expected);
}

#[test]
fn v1_counters_are_read() {
    let controllers = ["cpuacct", "memory", "pids", "blkio"];
    let stats = read_files(
        CgroupMode::V1,
        &controllers,
        &[
            ("cpuacct.usage", "1234\n"),
            ("memory.usage_in_bytes", "10000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory.memsw.usage_in_bytes", "12000\n"),
            ("memory.memsw.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory.stat",
                "rss 1\ntotal_rss 4000\ntotal_inactive_file 3000\ntotal_pgfault 11\ntotal_pgmajfault 2\n",
            ),
            ("pids.current", "3\n"),
            ("pids.max", "100\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "8:0 Read 100\n8:0 Write 20\n8:0 Total 120\nTotal 120\n",
            ),
        ],
    );
    let expected = CgroupStats {
        cpu_usage_ns: 1234,
        memory_usage_bytes: 10_000,
        memory_working_set_bytes: 7000,
        rss_bytes: 4000,
        page_faults: 11,
        major_page_faults: 2,
        swap_usage_bytes: Some(2000),
        pids_current: 3,
        pids_limit: Some(100),
        io_read_bytes: 100,
        io_write_bytes: 20,
        ..CgroupStats::default()
    };
    assert_eq!(stats, expected);
}

#[test]
fn a_group_without_any_file_has_used_nothing() {
    assert_eq!(read_files(CgroupMode::V2, &[], &[]), CgroupStats::default());
}
