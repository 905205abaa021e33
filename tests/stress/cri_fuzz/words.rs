//! What may stand in a message that goes to a daemon of this machine.
//!
//! Nothing of the machine is named but what is the run's own: directories below the node's, control groups below the daemon's
//! name, ports that nobody has. No namespace of the host is asked for, no mount spreads out of a pod, and every program that is
//! run in a container is a harmless one. A text that is not listed here is one of a few words that are no path.

use std::sync::Mutex;

use super::Shared;
use super::structure::Vocabulary;

const UNKNOWN: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const PLAIN: [&str; 10] = ["", "a", "b", "name", "0", "x y", "\u{e9}", "line\nline", "a=b", "k8s.io-app"];
/// Groups below one of the run's own.
pub(super) const PARENTS: [&str; 3] = ["a", "b", "c"];
const IMAGES: [&str; 5] =
    [linkspan_tests::requests::BUSYBOX, "busybox", "", "localhost:1/missing:1", "NOT A NAME"];

/// The words of one call.
pub(super) struct Words {
    sandboxes: Vec<String>,
    containers: Vec<String>,
    dir: String,
    cgroup: String,
    ports: [u16; 2],
    choice: u64,
    /// What was said, by which an error may name what it is about.
    said: Mutex<Vec<String>>,
}

impl Words {
    pub(super) fn new(shared: &Shared, choice: u64) -> Self {
        let state = shared.state();
        Self {
            sandboxes: state.sandboxes.clone(),
            containers: state.containers.clone(),
            dir: shared.dir.display().to_string(),
            cgroup: shared.cgroup.clone(),
            ports: shared.ports,
            choice,
            said: Mutex::default(),
        }
    }

    pub(super) fn sandbox(&self) -> String {
        self.say(one_of(&self.sandboxes, self.choice))
    }

    pub(super) fn container(&self) -> String {
        self.say(one_of(&self.containers, self.choice >> 8))
    }

    /// Few, so that the same pod is asked for twice now and then.
    pub(super) fn any_name(&self) -> String {
        self.say(format!("pod-{}", (self.choice >> 16) % 24))
    }

    pub(super) fn logs(&self) -> String {
        self.say(format!("{}/logs/pod", self.dir))
    }

    /// Whether `text` has one of the things that were named, or an ID.
    pub(super) fn are_in(&self, text: &str) -> bool {
        let said = self.said.lock().expect("one caller at a time");
        let has_id = text.split(|letter: char| !letter.is_ascii_hexdigit()).any(|part| part.len() >= 12);
        has_id || said.iter().any(|word| word.len() > 2 && text.contains(word.as_str()))
    }

    fn say(&self, word: String) -> String {
        self.said.lock().expect("one caller at a time").push(word.clone());
        word
    }

    fn list(&self, message: &str, field: &str) -> Vec<String> {
        let below = |names: &[&str]| names.iter().map(|name| format!("{}/{name}", self.dir)).collect();
        match (message, field) {
            ("Mount", "host_path") => {
                below(&["volumes/a", "volumes/file", "volumes/missing", "volumes/../volumes/a"])
            }
            ("Device", "host_path") => {
                let mut paths: Vec<String> = below(&["volumes/file", "volumes/missing"]);
                paths.extend(["/dev/null".to_owned(), "/dev/zero".to_owned()]);
                paths
            }
            (_, "log_directory") => below(&["logs/pod", "logs/other/deep", "logs/../logs"]),
            (_, "location" | "output_path" | "checkpoint_path") => {
                below(&["checkpoints/a.tar", "checkpoints/missing/b.tar", "volumes/file"])
            }
            (_, "cgroup_parent") => {
                let (name, [a, b, c]) = (&self.cgroup, PARENTS);
                let up = format!("/{name}-fuzz/../{name}-fuzz/{c}");
                vec![format!("/{name}-fuzz/{a}"), format!("{name}-fuzz/{b}"), up, String::new()]
            }
            _ => listed(message, field).iter().map(|word| (*word).to_owned()).collect(),
        }
    }
}

/// Names of nothing of the host's.
fn listed(message: &str, field: &str) -> &'static [&'static str] {
    match (message, field) {
        ("ImageSpec", "image" | "image_ref" | "user_specified_image") => &IMAGES,
        (_, "runtime_handler") => &["", "crun", "nobody"],
        ("ContainerConfig", "command" | "args") => {
            &["sh", "-c", "sleep 1000", "true", "sleep", "5", "/nonexistent", ""]
        }
        (_, "cmd") => &["true", "false", "echo", "hi", "sleep", "0.1", "/nonexistent", ""],
        ("Mount", "container_path") => {
            &["/mnt", "/data/x", "/etc/hosts", "/proc", "/dev/shm", "/a/../b", "rel", ""]
        }
        ("Mount", "mount_options") => &["ro", "rw", "noexec", "nosuid", "unheard-of", ""],
        ("Mount", "image_sub_path") => &["", "etc", "bin/sh", "../x", "/etc", "missing"],
        ("Device", "container_path") => &["", "/dev/null", "/dev/x", "rel"],
        ("Device", "permissions") => &["rwm", "r", "", "x"],
        (_, "working_dir") => &["", "/", "/tmp", "/new/dir", "rel", "/a/../b"],
        (_, "log_path") => &["a.log", "deep/b.log", "", "../c.log"],
        ("SysctlsEntry", "key") => &[
            "net.core.somaxconn",
            "net/ipv4/ip_unprivileged_port_start",
            "kernel.shm_rmid_forced",
            "fuzz.unknown",
            "",
        ],
        ("SysctlsEntry", "value") => &["0", "1", "128", "a", ""],
        ("UnifiedEntry", "key") => &["memory.high", "pids.max", "cpu.weight", "fuzz.unknown"],
        ("HugepageLimit", "page_size") => &["2MB", "1GB", "64KB", "fuzz"],
        (_, "pod_cidr") => &["10.201.0.0/24", "10.201.0.0/24,fd00:201::/64", "fuzz", ""],
        ("PortMapping", "host_ip") => &["", "127.0.0.1", "::1", "fuzz"],
        (_, "masked_paths" | "readonly_paths") => &["/proc/kcore", "/etc", "/missing", "rel", ""],
        (_, "localhost_ref" | "apparmor_profile" | "seccomp_profile_path") => {
            &["", "runtime/default", "unconfined", "localhost/fuzz-missing", "fuzz-missing"]
        }
        (_, "run_as_username") => &["", "root", "nobody", "fuzz-missing", "0", "nobody:users"],
        (_, "add_capabilities" | "drop_capabilities" | "add_ambient_capabilities") => {
            &["ALL", "NET_BIND_SERVICE", "CAP_CHOWN", "FUZZ", ""]
        }
        ("AuthConfig", "server_address") => &["", "registry.example", "http://", "https://user@host:1/"],
        _ => &PLAIN,
    }
}

/// One of those that there are, mostly.
fn one_of(known: &[String], choice: u64) -> String {
    let at = (choice % (known.len() as u64 + 1)) as usize;
    known.get(at).cloned().unwrap_or_else(|| UNKNOWN.to_owned())
}

impl Vocabulary for Words {
    fn text(&self, message: &str, field: &str, choice: u8) -> Option<String> {
        let ids = match (message, field) {
            (_, "pod_sandbox_id") | ("PodSandboxFilter" | "PodSandboxStatsFilter", "id") => {
                Some(&self.sandboxes)
            }
            (_, "container_id" | "container_ids" | "target_id")
            | ("ContainerFilter" | "ContainerStatsFilter", "id") => Some(&self.containers),
            _ => None,
        };
        let word = match (ids, choice) {
            (Some(_), 250..) => String::new(),
            (Some(ids), _) => one_of(ids, choice.into()),
            (None, _) => {
                let list = self.list(message, field);
                list[usize::from(choice) % list.len()].clone()
            }
        };
        Some(self.say(word))
    }

    fn number(&self, message: &str, field: &str, choice: u8) -> Option<i64> {
        let [one, other] = self.ports.map(i64::from);
        let list: &[i64] = match (message, field) {
            // POD, CONTAINER, TARGET, and none that there is: never NODE.
            ("NamespaceOption", "network" | "pid" | "ipc") => &[0, 1, 3, 99],
            ("PortMapping", "host_port") => &[0, one, other, -1, 70_000],
            // Private, from the host, and none that there is: nothing spreads from a pod to the host.
            ("Mount", "propagation") => &[0, 1, 99],
            ("StopContainerRequest" | "ExecSyncRequest", "timeout") => &[0, 1, 2, -1],
            ("CheckpointContainerRequest", "timeout") => &[1, 2, -1],
            _ => return None,
        };
        Some(list[usize::from(choice) % list.len()])
    }

    fn takes(&self, _message: &str, field: &str) -> bool {
        field != "windows"
    }
}
