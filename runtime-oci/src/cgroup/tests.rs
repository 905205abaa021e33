use super::layout::{Hierarchy, Layout};
use super::*;
use rustix::process::{Pid, Signal, kill_process};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::Timestamp;

fn config() -> linkspan_config::Cgroup {
    linkspan_config::Cgroup { driver: CgroupDriver::Cgroupfs, name: "linkspan".to_owned() }
}

/// A group of this test's own on the real host, removed at the end.
struct Scratch {
    cgroups: Cgroups,
    path: String,
}

impl Scratch {
    /// `None`, said aloud, where groups cannot be made.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let cgroups = match Cgroups::detect(&config()) {
            Ok(cgroups) => cgroups,
            Err(error) => {
                eprintln!("SKIP: {error}");
                return None;
            }
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = format!("/linkspan-test-spec-{}-{number}/pod", std::process::id());
        match cgroups.create(&path) {
            Ok(made) => assert!(made),
            Err(error) => {
                eprintln!("SKIP: {error}");
                return None;
            }
        }
        Some(Self { cgroups, path })
    }

    fn parent(&self) -> &str {
        self.path.rsplit_once('/').unwrap().0
    }

    async fn end(self) {
        self.cgroups.remove(self.parent()).await.unwrap();
        assert!(self.cgroups.procs_files(self.parent()).is_empty());
    }
}

/// A test that fails leaves nothing behind either.
impl Drop for Scratch {
    fn drop(&mut self) {
        let below = Path::new(self.path.trim_start_matches('/'));
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut dirs: Vec<PathBuf> = self.cgroups.layout.dirs(below).collect();
        while !dirs.is_empty() && Instant::now() < deadline {
            for pid in self.cgroups.pids(&self.path).unwrap_or_default() {
                let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
            }
            dirs.retain(|dir| dir.exists() && fs::remove_dir(dir).is_err());
        }
        for dir in self.cgroups.layout.dirs(below) {
            let _ = fs::remove_dir(dir.parent().unwrap());
        }
    }
}

/// A process that does not outlive its test.
struct Shell(Child);

impl Shell {
    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A shell in `path` that runs `script` once it is there.
fn spawn_in(scratch: &Scratch, script: &str) -> Shell {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("read go; {script}")]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut shell = Shell(command.stderr(Stdio::null()).spawn().unwrap());
    scratch.cgroups.add_process(&scratch.path, shell.pid()).unwrap();
    io::Write::write_all(&mut shell.0.stdin.take().unwrap(), b"go\n").unwrap();
    shell
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::task::yield_now().await;
    }
}

#[test]
fn layouts_are_told_apart() {
    let v1 = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        33 31 0:29 / /mnt/again rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
    let unified = "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    let pure = "41 23 0:38 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let named = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
    let mode = |text: &str| Layout::parse(text).map(|layout| layout.mode);
    assert_eq!(mode(v1), Some(CgroupMode::V1));
    assert_eq!(mode(&format!("{v1}{unified}")), Some(CgroupMode::Hybrid));
    assert_eq!(mode(pure), Some(CgroupMode::V2));
    assert_eq!(mode(&format!("{named}{unified}")), Some(CgroupMode::V2));
    assert_eq!(mode(""), None);

    let tree = |mount: &str, controllers: &[&str]| Hierarchy {
        mount: PathBuf::from(mount),
        controllers: controllers.iter().map(|name| (*name).to_owned()).collect(),
    };
    assert_eq!(
        Layout::parse(v1).unwrap().hierarchies,
        [
            tree("/sys/fs/cgroup/cpu,cpuacct", &["cpu", "cpuacct"]),
            tree("/sys/fs/cgroup/systemd", &["name=systemd"]),
        ]
    );
}

#[test]
fn only_clean_absolute_paths_below_the_root_are_groups() {
    assert!(["", "/", "//", "pod", "/a/../b", ".."].iter().all(|path| below_root(path).is_err()));
    assert_eq!(below_root("/a/b").unwrap(), Path::new("a/b"));
}

#[test]
fn the_systemd_driver_says_that_it_is_not_built() {
    let config = linkspan_config::Cgroup { driver: CgroupDriver::Systemd, ..config() };
    assert!(matches!(Cgroups::detect(&config), Err(Error::Unimplemented(_))));
}

#[tokio::test]
async fn a_group_is_made_filled_read_and_removed() {
    let Some(scratch) = Scratch::new() else { return };
    let (cgroups, path) = (&scratch.cgroups, scratch.path.as_str());
    assert!(!cgroups.create(path).unwrap());
    let mut shell =
        spawn_in(&scratch, "x=x; while [ ${#x} -lt 4000000 ]; do x=$x$x; done; while :; do :; done");
    assert_eq!(cgroups.pids(scratch.parent()).unwrap(), [shell.pid()]);
    until("memory is charged", || cgroups.stats(path).unwrap().rss_bytes > 1_000_000).await;
    let stats = cgroups.stats(path).unwrap();
    assert!(stats.memory_usage_bytes >= stats.memory_working_set_bytes && stats.memory_working_set_bytes > 0);
    assert!(
        stats.at > Timestamp::default() && stats.page_faults > 0 && stats.memory_available_bytes.is_none()
    );
    assert_eq!((stats.pids_current, cgroups.oom_kills(path).unwrap()), (1, 0));

    let reaper = std::thread::spawn(move || shell.0.wait().unwrap());
    cgroups.kill_all(scratch.parent()).await.unwrap();
    assert!(cgroups.pids(path).unwrap().is_empty());
    assert!(!reaper.join().unwrap().success());
    assert!(cgroups.stats(path).unwrap().cpu_usage_ns > 0);
    scratch.end().await;
}

#[tokio::test]
async fn a_group_that_forks_without_end_dies_whole() {
    let Some(scratch) = Scratch::new() else { return };
    let limits = Resources { pids_limit: 64, ..Resources::default() };
    scratch.cgroups.apply(&scratch.path, &limits).unwrap();
    let forkers = "i=0; while [ $i -lt 20 ]; do (while :; do (:); done) & i=$((i+1)); done; wait";
    let mut shell = spawn_in(&scratch, forkers);
    until("it forks", || scratch.cgroups.pids(&scratch.path).unwrap().len() > 10).await;
    let reaper = std::thread::spawn(move || shell.0.wait().unwrap());
    scratch.cgroups.kill_all(&scratch.path).await.unwrap();
    assert!(scratch.cgroups.pids(&scratch.path).unwrap().is_empty());
    assert_eq!(scratch.cgroups.limits(&scratch.path).unwrap().pids_limit, 64);
    reaper.join().unwrap();
    scratch.end().await;
}

#[tokio::test]
async fn limits_are_set_raised_and_read_back() {
    let Some(scratch) = Scratch::new() else { return };
    let memory = |bytes: i64| Resources {
        cpu_quota: 20_000,
        cpu_period: 100_000,
        cpu_shares: 1024,
        memory_limit_bytes: bytes,
        memory_swap_limit_bytes: bytes,
        ..Resources::default()
    };
    for bytes in [64 << 20, 128 << 20, 32 << 20] {
        scratch.cgroups.apply(&scratch.path, &memory(bytes)).unwrap();
        let now = scratch.cgroups.limits(&scratch.path).unwrap();
        assert_eq!((now.memory_limit_bytes, now.cpu_quota, now.cpu_period), (bytes, 20_000, 100_000));
    }
    let available = scratch.cgroups.stats(&scratch.path).unwrap().memory_available_bytes.unwrap();
    assert!(available <= 32 << 20 && available > 0);
    scratch.end().await;
}

#[tokio::test]
async fn an_out_of_memory_kill_is_counted() {
    let Some(scratch) = Scratch::new() else { return };
    let bytes = 8 << 20;
    let tight =
        Resources { memory_limit_bytes: bytes, memory_swap_limit_bytes: bytes, ..Resources::default() };
    scratch.cgroups.apply(&scratch.path, &tight).unwrap();
    let mut shell = spawn_in(&scratch, "x=x; while :; do x=$x$x; done");
    assert!(!shell.0.wait().unwrap().success());
    assert!(scratch.cgroups.oom_kills(&scratch.path).unwrap() >= 1);
    scratch.end().await;
}

#[tokio::test]
async fn a_group_that_is_gone_is_told_from_an_empty_one() {
    let Some(scratch) = Scratch::new() else { return };
    let cgroups = scratch.cgroups.clone();
    let path = scratch.path.clone();
    scratch.end().await;
    assert!(matches!(cgroups.stats(&path), Err(Error::NoSuchCgroup { .. })));
    assert!(matches!(cgroups.add_process(&path, 1), Err(Error::NoSuchCgroup { .. })));
    assert!(cgroups.pids(&path).unwrap().is_empty());
    cgroups.remove(&path).await.unwrap();
    cgroups.kill_all(&path).await.unwrap();
}

#[tokio::test]
async fn a_group_in_use_is_not_removed_and_the_error_names_who_uses_it() {
    let Some(scratch) = Scratch::new() else { return };
    let shell = spawn_in(&scratch, "while :; do sleep 100; done");
    let error = scratch.cgroups.remove(&scratch.path).await.unwrap_err();
    assert!(error.to_string().contains(&shell.pid().to_string()), "{error}");
    drop(shell);
    // The shell's own child too, which nobody waits for.
    scratch.cgroups.kill_all(&scratch.path).await.unwrap();
    scratch.end().await;
}

#[tokio::test]
async fn a_mark_says_who_made_a_group_and_goes_with_it() {
    let Some(scratch) = Scratch::new() else { return };
    assert_eq!(scratch.cgroups.owner(&scratch.path), None);
    if let Err(error) = scratch.cgroups.mark(&scratch.path, Path::new("/var/lib/linkspan")) {
        eprintln!("SKIP: {error}");
        return scratch.end().await;
    }
    assert_eq!(scratch.cgroups.owner(&scratch.path), Some(PathBuf::from("/var/lib/linkspan")));
    assert_eq!(scratch.cgroups.owner(scratch.parent()), None);
    scratch.cgroups.remove(&scratch.path).await.unwrap();
    assert_eq!(scratch.cgroups.owner(&scratch.path), None);
    scratch.cgroups.create(&scratch.path).unwrap();
    assert_eq!(scratch.cgroups.owner(&scratch.path), None, "another group of the same name");
    scratch.end().await;
}

#[tokio::test]
async fn a_group_with_something_in_it_is_not_removed_for_being_empty() {
    let Some(scratch) = Scratch::new() else { return };
    assert_eq!(scratch.cgroups.children(scratch.parent()).unwrap().into_iter().collect::<Vec<_>>(), ["pod"]);
    assert!(!scratch.cgroups.remove_if_empty(scratch.parent()).unwrap(), "a group is in it");
    assert!(!scratch.cgroups.procs_files(&scratch.path).is_empty());
    let shell = spawn_in(&scratch, "exec sleep 100");
    assert!(!scratch.cgroups.remove_if_empty(&scratch.path).unwrap(), "a process is in it");
    drop(shell);
    until("the group is empty", || scratch.cgroups.pids(&scratch.path).unwrap().is_empty()).await;
    until("it is removed", || scratch.cgroups.remove_if_empty(&scratch.path).unwrap()).await;
    assert!(scratch.cgroups.remove_if_empty(&scratch.path).unwrap(), "gone is fine");
    scratch.end().await;
}
