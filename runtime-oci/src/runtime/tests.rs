use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use linkspan_config::Handler;
use oci_spec::runtime::Spec;

use crate::cgroup::{CgroupMode, Cgroups};
use crate::host;
use crate::seccomp::{self, Facts};
use crate::spec::{self, CapabilityInput, NamespaceInput, Namespaces, SpecInput};

fn runtime(binary: &Path, state_root: PathBuf) -> Runtime {
    Runtime::new("test", &Handler::new(binary), state_root)
}

/// A runtime that is a shell script.
fn scripted(script: &str) -> (tempfile::TempDir, Runtime) {
    let dir = tempfile::tempdir().unwrap();
    let binary = dir.path().join("runtime");
    fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(dir.path().join("state/c1")).unwrap();
    let runtime = runtime(&binary, dir.path().join("state"));
    (dir, runtime)
}

fn joined(command: &[OsString]) -> String {
    command.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn commands_are_those_that_every_runtime_knows() {
    let runtime = runtime(Path::new("/bin/rt"), "/run/rt".into());
    let create = runtime.create_command("c1", Path::new("/b"), Path::new("/p"), None, Path::new("/l"));
    let log = "--log /l --log-format json";
    assert_eq!(joined(&create), format!("/bin/rt --root /run/rt {log} create --bundle /b --pid-file /p c1"));
    let runtime = runtime.with_cgroup_driver(CgroupDriver::Systemd);
    let socket = Path::new("/s");
    let exec = runtime.exec_command("c1", Path::new("/j"), Path::new("/p"), Some(socket), Path::new("/l"));
    let expected = format!(
        "/bin/rt --root /run/rt --systemd-cgroup {log} exec --detach --process /j --pid-file /p --console-socket /s c1"
    );
    assert_eq!(joined(&exec), expected);
}

#[tokio::test]
async fn a_failure_is_told_in_the_runtimes_words() {
    let (_dir, runtime) = scripted("echo 'level=error msg=\"cannot start: no such binary\"' >&2; exit 1");
    let error = runtime.start("c1").await.unwrap_err();
    assert_eq!(error.to_string(), "test start c1: cannot start: no such binary");
}

/// As youki says it, for a reason of the kernel's that passes.
const NOT_BEGUN: &str = "Error: failed to seal /proc/self/exe

Caused by:
    Device or resource busy (os error 16)";

#[tokio::test]
async fn a_runtime_that_did_not_begin_is_asked_again() {
    let script =
        format!("cat >>$0.heard; [ -e $0.again ] || {{ touch $0.again; echo '{NOT_BEGUN}' >&2; exit 1; }}");
    let (dir, runtime) = scripted(&script);
    runtime.run("update", "c1", &["c1"], Some(b"limits ".to_vec())).await.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("runtime.heard")).unwrap(), "limits limits ");
}

#[tokio::test]
async fn a_runtime_that_never_begins_is_told_of() {
    let (dir, runtime) = scripted(&format!("echo x >>$0.calls; echo '{NOT_BEGUN}' >&2; exit 1"));
    let error = runtime.kill("c1", 9).await.unwrap_err();
    assert!(error.to_string().contains("failed to seal"), "{error}");
    assert_eq!(fs::read_to_string(dir.path().join("runtime.calls")).unwrap(), "x\nx\nx\n");
}

#[tokio::test]
async fn a_runtime_that_hangs_is_killed_at_its_deadline() {
    let (dir, runtime) = scripted("echo $$ >$0.pid; exec sleep 1000");
    let runtime = runtime.with_timeout(Duration::from_millis(500));
    let error = runtime.delete("c1", true).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert_eq!(error.to_string(), "test delete c1 did not end within 500ms");
    let pid = fs::read_to_string(dir.path().join("runtime.pid")).unwrap();
    let stat = Path::new("/proc").join(pid.trim()).join("stat");
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z")) {
        assert!(std::time::Instant::now() < deadline, "still there: {pid}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_hooks_leftover_that_holds_stderr_is_not_waited_for() {
    let (_dir, runtime) = scripted("sleep 5 & exit 0");
    let runtime = runtime.with_timeout(Duration::from_secs(4));
    runtime.start("c1").await.unwrap();
}

#[tokio::test]
async fn deleting_what_is_gone_succeeds() {
    let (dir, runtime) = scripted("echo 'whatever' >&2; exit 1");
    assert!(matches!(runtime.delete("c1", false).await, Err(Error::Runtime { .. })));
    let (_kept, other) = scripted("echo 'container c1: the hook /opt/h does not exist' >&2; exit 1");
    let error = other.delete("c1", false).await.unwrap_err().to_string();
    assert!(error.ends_with("the hook /opt/h does not exist"), "{error}");
    fs::remove_dir(dir.path().join("state/c1")).unwrap();
    runtime.delete("c1", false).await.unwrap();
    assert!(matches!(runtime.kill("c1", 15).await, Err(Error::NoSuchContainer { .. })));
}

#[tokio::test]
async fn a_missing_binary_is_named() {
    let runtime = runtime(Path::new("/nowhere/runtime"), "/run/x".into());
    let message = runtime.start("c1").await.unwrap_err().to_string();
    assert!(message.starts_with("starting runtime /nowhere/runtime: "), "{message}");
    assert!(matches!(runtime.features().await, Err(Error::RuntimeMissing { .. })));
}

#[tokio::test]
async fn features_are_asked_once_per_file() {
    let (dir, runtime) = scripted("echo x >>$0.calls; echo '{\"ociVersionMax\":\"1.1.0\"}'");
    let calls = || fs::read_to_string(dir.path().join("runtime.calls")).unwrap().lines().count();
    assert_eq!(runtime.features().await.unwrap().oci_version, "1.1.0");
    runtime.clone().features().await.unwrap();
    assert_eq!(calls(), 1);
    let changed = "#!/bin/sh\necho x >>$0.calls; exit 1\n";
    fs::write(dir.path().join("new"), changed).unwrap();
    fs::set_permissions(dir.path().join("new"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(dir.path().join("new"), dir.path().join("runtime")).unwrap();
    assert_eq!(runtime.features().await.unwrap().oci_version, "1.0.2");
    assert_eq!(calls(), 2);
}

/// How often the runtime was called.
fn calls(dir: &tempfile::TempDir) -> usize {
    fs::read_to_string(dir.path().join("runtime.calls")).unwrap_or_default().lines().count()
}

#[tokio::test]
async fn a_runtime_without_features_is_asked_once_and_one_that_fails_again_later() {
    let unknown = "unknown command features";
    for (says, lasts) in [(unknown, true), ("No help topic for 'features'", true), ("no memory", false)] {
        let (dir, runtime) = scripted(&format!("echo x >>$0.calls; echo \"{says}\" >&2; exit 1"));
        assert_eq!(runtime.features().await.unwrap(), Features::default(), "{says}");
        assert_eq!(runtime.features().await.unwrap(), Features::default(), "{says}");
        assert_eq!(calls(&dir), 1, "{says}: asked again at once");
        if !lasts {
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while calls(&dir) < 2 {
                assert!(std::time::Instant::now() < deadline, "{says}: never asked again");
                runtime.features().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_runtime_that_dies_of_features_can_do_them_next_time() {
    let answer = "echo '{\"ociVersionMax\":\"1.1.0\"}'";
    let (_dir, runtime) =
        scripted(&format!("[ -e $0.again ] || {{ touch $0.again; kill -KILL $$; }}; {answer}"));
    let error = runtime.features().await.unwrap_err();
    assert!(matches!(error, Error::NoFeatures { .. }), "{error}");
    assert!(error.to_string().contains("signal 9"), "{error}");
    assert_eq!(runtime.features().await.unwrap().oci_version, "1.1.0");
}

#[tokio::test]
async fn a_runtime_that_hangs_over_features_is_asked_once_at_a_time_and_never_waited_for_by_reads() {
    let answer = "echo '{\"ociVersionMax\":\"1.1.0\"}'";
    let (dir, runtime) =
        scripted(&format!("echo x >>$0.calls; [ -e $0.mended ] || exec sleep 1000; {answer}"));
    let runtime = runtime.with_timeout(Duration::from_millis(500));
    let error = runtime.known_features().unwrap_err().to_string();
    assert!(error.contains("\"test\"") && error.contains("has not answered yet"), "{error}");
    let (one, other) = tokio::join!(runtime.features(), runtime.features());
    for error in [one.unwrap_err(), other.unwrap_err(), runtime.known_features().unwrap_err()] {
        let text = error.to_string();
        assert!(text.contains("\"test\"") && text.contains("within 500ms"), "{text}");
    }
    assert_eq!(calls(&dir), 1, "three asked, and the runtime was called once");
    fs::write(dir.path().join("runtime.mended"), "").unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while runtime.known_features().is_err() {
        assert!(std::time::Instant::now() < deadline, "reads do not have it asked again");
        tokio::task::yield_now().await;
    }
    assert_eq!(runtime.features().await.unwrap().oci_version, "1.1.0");
}

#[tokio::test]
async fn the_daemons_environment_and_files_stay_with_the_daemon() {
    // As if whoever started us had left a file open.
    let stray = fs::File::open("/proc/self/status").unwrap();
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
    host::keep_files_from_children().unwrap();
    let (_dir, runtime) = scripted("env >$0.seen; ls -l /proc/self/fd >>$0.seen; exit 0");
    runtime.start("c1").await.unwrap();
    let seen = fs::read_to_string(runtime.binary.with_extension("seen")).unwrap();
    assert!(!seen.contains("CARGO") && !seen.contains("HOME=") && !seen.contains("/status"), "{seen}");
}

/// A container on a real runtime, from our spec; everything is removed at the end.
struct Real {
    dir: tempfile::TempDir,
    runtime: Runtime,
    cgroups: Cgroups,
    group: String,
}

impl Real {
    /// `None`, said aloud, if the machine lacks something.
    async fn new(binary: &str) -> Option<(Self, SpecInput)> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let skip = |reason: &str| -> Option<(Self, SpecInput)> {
            eprintln!("SKIP: {binary}: {reason}");
            None
        };
        if !rustix::process::geteuid().is_root() {
            return skip("needs root");
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let Some(busybox) = busybox else { return skip("needs a static busybox") };
        if !Path::new(binary).exists() {
            return skip("not installed");
        }
        let config =
            linkspan_config::Cgroup { driver: CgroupDriver::Cgroupfs, name: "linkspan-test-spec".to_owned() };
        let Ok(cgroups) = Cgroups::detect(&config) else { return skip("needs cgroups") };
        let crun_refuses = cgroups.mode() == CgroupMode::Hybrid && !cgroups.support().hugetlb;
        if binary.ends_with("crun") && crun_refuses {
            return skip("refuses a hybrid host while hugetlb is on v2");
        }
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let group = format!("/linkspan-test-spec-run-{}-{number}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        let rootfs = dir.path().join("rootfs");
        for name in ["bin", "etc", "proc", "dev", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::copy(busybox, rootfs.join("bin/busybox")).unwrap();
        std::os::unix::fs::symlink("busybox", rootfs.join("bin/sh")).unwrap();
        let runtime = runtime(Path::new(binary), dir.path().join("state"));
        let input = input(&runtime, &cgroups, &rootfs, &group).await;
        Some((Self { dir, runtime, cgroups, group }, input))
    }

    fn bundle(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    /// As the monitor does it, but for the monitor: stdout goes into a file.
    fn run(&self, command: &[OsString]) -> Result<(), String> {
        let out = fs::OpenOptions::new().create(true).append(true).open(self.out()).unwrap();
        let status = std::process::Command::new(&command[0])
            .args(&command[1..])
            .stdin(std::process::Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .status()
            .unwrap();
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        if status.success() { Ok(()) } else { Err(words(&log, &fs::read_to_string(self.out()).unwrap())) }
    }

    fn create(&self, spec: &Spec) -> Result<(), String> {
        fs::create_dir_all(self.bundle()).unwrap();
        spec.save(self.bundle().join("config.json")).unwrap();
        let (pid, log) = (self.dir.path().join("pid"), self.dir.path().join("log"));
        self.run(&self.runtime.create_command("c1", &self.bundle(), &pid, None, &log))
    }

    async fn printed(&self, wanted: &str) -> String {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            let text = fs::read_to_string(self.out()).unwrap_or_default();
            if text.contains(wanted) {
                return text;
            }
            assert!(std::time::Instant::now() < deadline, "no {wanted:?} in {text:?}");
            tokio::task::yield_now().await;
        }
    }

    async fn end(self) {
        self.runtime.delete("c1", true).await.unwrap();
        self.runtime.delete("c1", true).await.unwrap();
        self.cgroups.remove(&self.group).await.unwrap();
        let left: Vec<_> =
            ["pids", "memory", "unified"].map(|tree| format!("/sys/fs/cgroup/{tree}{}", self.group)).into();
        assert!(!left.iter().any(|dir| Path::new(dir).exists()), "{left:?}");
    }
}

/// A container with about everything that a spec can hold.
async fn input(runtime: &Runtime, cgroups: &Cgroups, rootfs: &Path, group: &str) -> SpecInput {
    let capabilities = CapabilityInput {
        defaults: vec!["CAP_CHOWN".to_owned(), "CAP_NET_BIND_SERVICE".to_owned()],
        bounding: host::bounding_set().unwrap(),
        ..CapabilityInput::default()
    };
    let granted = spec::granted_capabilities(&capabilities, false).unwrap();
    let new = || NamespaceInput::New;
    SpecInput {
        oci_version: runtime.features().await.unwrap().oci_version,
        args: ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
        hostname: Some("in-here".to_owned()),
        capabilities,
        no_new_privileges: true,
        oom_score_adj: Some(spec::clamp_oom_score_adj(-998, host::oom_score_adj_floor().unwrap())),
        rootfs: rootfs.to_owned(),
        namespaces: Namespaces {
            network: new(),
            ipc: new(),
            uts: new(),
            pid: new(),
            mount: new(),
            cgroup: new(),
            user: NamespaceInput::Host,
        },
        resources: Resources {
            memory_limit_bytes: 64 << 20,
            cpu_shares: 512,
            cpu_quota: 50_000,
            cpu_period: 100_000,
            pids_limit: 50,
            ..Resources::default()
        },
        support: cgroups.support(),
        cgroups_path: format!("{group}/c1"),
        cgroup: cgroups.mode(),
        masked_paths: vec!["/proc/kcore".to_owned()],
        readonly_paths: vec!["/proc/sys".to_owned()],
        seccomp: Some(seccomp::default_profile(&Facts::of_host(granted)).unwrap()),
        ..SpecInput::default()
    }
}

async fn a_container_lives_and_dies(binary: &str) {
    let Some((real, mut input)) = Real::new(binary).await else { return };
    let script = "busybox hostname; busybox grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; \
        busybox unshare -U busybox true; echo unshare $?; echo done; while :; do busybox sleep 1; done";
    input.args.push(script.to_owned());
    real.create(&spec::build(&input).unwrap()).unwrap();
    assert_eq!(real.runtime.state("c1").await.unwrap().status, Status::Created);
    real.runtime.start("c1").await.unwrap();
    let text = real.printed("done").await;
    assert!(text.contains("in-here") && text.contains("CapBnd:\t0000000000000401"), "{text}");
    assert!(
        text.contains("NoNewPrivs:\t1") && text.contains("Seccomp:\t2") && text.contains("unshare 1"),
        "{text}"
    );

    let state = real.runtime.state("c1").await.unwrap();
    assert_eq!(state.status, Status::Running);
    let group = format!("{}/c1", real.group);
    assert!(real.cgroups.pids(&group).unwrap().contains(&state.pid));
    assert_eq!(real.cgroups.limits(&group).unwrap().memory_limit_bytes, 64 << 20);
    let more = Resources { memory_limit_bytes: 128 << 20, cpu_shares: 1024, ..Resources::default() };
    real.runtime.update("c1", &more, &real.cgroups).await.unwrap();
    let limits = real.cgroups.limits(&group).unwrap();
    assert_eq!((limits.memory_limit_bytes, limits.cpu_quota), (128 << 20, 50_000));

    exec(&real, &input).await;
    real.runtime.kill("c1", 9).await.unwrap();
    real.end().await;
}

async fn exec(real: &Real, input: &SpecInput) {
    let spec = spec::build(input).unwrap();
    let args = ["/bin/sh", "-c", "echo exec $PATH"].map(str::to_owned).to_vec();
    let process = spec::exec_process(&spec, args, false).unwrap();
    let path = real.dir.path().join("process.json");
    fs::write(&path, serde_json::to_vec(&process).unwrap()).unwrap();
    let (pid, log) = (real.dir.path().join("exec.pid"), real.dir.path().join("log"));
    real.run(&real.runtime.exec_command("c1", &path, &pid, None, &log)).unwrap();
    real.printed("exec /usr/local/sbin").await;
    assert!(fs::read_to_string(pid).unwrap().trim().parse::<i32>().is_ok());
}

async fn a_bad_command_is_told(binary: &str) {
    let Some((real, mut input)) = Real::new(binary).await else { return };
    input.args = vec!["/bin/not-there".to_owned()];
    let error = real.create(&spec::build(&input).unwrap()).unwrap_err();
    assert!(error.contains("not-there"), "{error}");
    real.end().await;
}

async fn a_privileged_container_may_write_sysfs(binary: &str) {
    let Some((real, mut input)) = Real::new(binary).await else { return };
    input.privileged = true;
    input.all_devices = true;
    input.devices = host::devices().unwrap();
    input.args.push("busybox mount | busybox grep ' /sys '; busybox ls /dev/kmsg; echo done".to_owned());
    real.create(&spec::build(&input).unwrap()).unwrap();
    real.runtime.start("c1").await.unwrap();
    let text = real.printed("done").await;
    assert!(text.contains("/sys type sysfs (rw") && text.contains("/dev/kmsg\n"), "{text}");
    real.end().await;
}

async fn a_read_only_mount_is_so_to_its_depth(binary: &str) {
    let Some((real, mut input)) = Real::new(binary).await else { return };
    if !real.runtime.features().await.unwrap().recursive_read_only() {
        eprintln!("SKIP: {binary} does not say that it knows rro");
        return real.end().await;
    }
    // A mount below the mount, which plain `ro` would leave writable.
    let outer = real.dir.path().join("outer");
    fs::create_dir_all(outer.join("inner")).unwrap();
    fs::create_dir(input.rootfs.join("vol")).unwrap();
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "t"]).arg(outer.join("inner")).status();
    assert!(mounted.unwrap().success());
    input.recursive_read_only_supported = true;
    input.mounts = vec![spec::MountInput {
        container_path: "/vol".to_owned(),
        host_path: outer.clone(),
        readonly: true,
        recursive_read_only: true,
        ..spec::MountInput::default()
    }];
    input.args.push("echo x >/vol/inner/f || echo refused; echo done".to_owned());
    let created = real.create(&spec::build(&input).unwrap());
    if created.is_ok() {
        real.runtime.start("c1").await.unwrap();
        assert!(real.printed("done").await.contains("refused"));
    }
    let unmounted = std::process::Command::new("umount").arg(outer.join("inner")).status();
    assert!(unmounted.unwrap().success());
    created.unwrap();
    real.end().await;
}

macro_rules! for_each_runtime {
    ($($name:ident),*) => {
        mod runc {
            $(#[tokio::test] async fn $name() { super::$name("/usr/sbin/runc").await; })*
        }
        mod crun {
            $(#[tokio::test] async fn $name() { super::$name("/usr/bin/crun").await; })*
        }
        /// `LINKSPAN_TEST_RUNTIME=/path/to/runtime`: any other one.
        mod named {
            $(#[tokio::test] async fn $name() {
                match std::env::var("LINKSPAN_TEST_RUNTIME") {
                    Ok(path) => super::$name(&path).await,
                    Err(_) => eprintln!("SKIP: LINKSPAN_TEST_RUNTIME names no further runtime"),
                }
            })*
        }
    };
}
for_each_runtime!(
    a_container_lives_and_dies,
    a_bad_command_is_told,
    a_privileged_container_may_write_sysfs,
    a_read_only_mount_is_so_to_its_depth
);
