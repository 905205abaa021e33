use super::super::fixture::of_files;
use super::*;

/// Without what `stats` has tests for.
fn read_files(mode: CgroupMode, controllers: &[&str], files: &[(&str, &str)]) -> CgroupCounters {
    CgroupCounters { stats: CgroupStats::default(), ..of_files(mode, controllers, files, read) }
}

/// A device number that no host has.
fn device() -> DeviceIo {
    let (major, minor) = (4000, 7);
    DeviceIo { major, minor, read_bytes: 4096, write_bytes: 512, reads: 3, writes: 2, ..DeviceIo::default() }
}

#[test]
fn v2_counters_are_read() {
    let counters = read_files(
        CgroupMode::V2,
        &[],
        &[
            (
                "cpu.stat",
                "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 10\nnr_throttled 3\nthrottled_usec 70\n",
            ),
            (
                "memory.stat",
                "file 50\nkernel 60\nfile_mapped 70\nactive_file 80\ninactive_file 90\npgfault 11\npgmajfault 2\n",
            ),
            ("memory.peak", "1000\n"),
            ("memory.low", "30\n"),
            ("memory.events", "low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\n"),
            (
                "io.stat",
                "4000:7 rbytes=4096 wbytes=512 rios=3 wios=2\n4000:8 rbytes=0 wbytes=0 rios=0 wios=0\n",
            ),
            ("cgroup.procs", "1\n2\n"),
        ],
    );
    let expected = CgroupCounters {
        cpu_user_ns: 5000,
        cpu_system_ns: 4000,
        throttling: Throttling { periods: 10, throttled_periods: 3, throttled_ns: 70_000 },
        memory: MemoryCounters {
            cache_bytes: 50,
            mapped_file_bytes: 70,
            active_file_bytes: 80,
            inactive_file_bytes: 90,
            kernel_bytes: 60,
            max_usage_bytes: 1000,
            reservation_bytes: 30,
            limit_hits: 4,
            oom_kills: 2,
            own_page_faults: 11,
            own_major_page_faults: 2,
        },
        devices: vec![device()],
        pids: vec![1, 2],
        ..CgroupCounters::default()
    };
    assert_eq!(counters, expected);
}

#[test]
fn v1_counters_are_read() {
    let counters = read_files(
        CgroupMode::V1,
        &["cpu", "cpuacct", "memory", "pids", "blkio"],
        &[
            ("cpuacct.usage_user", "5000\n"),
            ("cpuacct.usage_sys", "4000\n"),
            ("cpu.stat", "nr_periods 10\nnr_throttled 3\nthrottled_time 70000\n"),
            (
                "memory.stat",
                "cache 1\npgfault 6\npgmajfault 1\ntotal_cache 50\ntotal_mapped_file 70\ntotal_active_file 80\n\
                 total_inactive_file 90\ntotal_pgfault 11\n",
            ),
            ("memory.kmem.usage_in_bytes", "60\n"),
            ("memory.max_usage_in_bytes", "1000\n"),
            ("memory.soft_limit_in_bytes", "9223372036854771712\n"),
            ("memory.failcnt", "4\n"),
            ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
            (
                "blkio.throttle.io_service_bytes_recursive",
                "4000:7 Read 4096\n4000:7 Write 512\n4000:7 Total 4608\n4000:8 Read 0\nTotal 4608\n",
            ),
            ("blkio.throttle.io_serviced_recursive", "4000:7 Read 3\n4000:7 Write 2\nTotal 5\n"),
            ("cgroup.procs", "1\n"),
        ],
    );
    let expected = CgroupCounters {
        cpu_user_ns: 5000,
        cpu_system_ns: 4000,
        throttling: Throttling { periods: 10, throttled_periods: 3, throttled_ns: 70_000 },
        memory: MemoryCounters {
            cache_bytes: 50,
            mapped_file_bytes: 70,
            active_file_bytes: 80,
            inactive_file_bytes: 90,
            kernel_bytes: 60,
            max_usage_bytes: 1000,
            reservation_bytes: 0,
            limit_hits: 4,
            oom_kills: 2,
            own_page_faults: 6,
            own_major_page_faults: 1,
        },
        devices: vec![device()],
        pids: vec![1],
        ..CgroupCounters::default()
    };
    assert_eq!(counters, expected);
}

#[test]
fn a_group_without_any_file_has_counted_nothing() {
    assert_eq!(read_files(CgroupMode::V2, &[], &[]), CgroupCounters::default());
}

#[test]
fn a_device_has_its_name_if_the_host_knows_it() {
    assert_eq!(device_name(4000, 7), "");
    let known = fs::read_dir("/sys/dev/block").into_iter().flatten().flatten().next();
    if let Some((major, minor)) = known.and_then(|entry| device_number(&entry.file_name().to_string_lossy()))
    {
        assert!(device_name(major, minor).starts_with("/dev/"));
    }
}
