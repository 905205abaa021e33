//! The text of the default profile. Pure.
//!
//! It stands behind capabilities, seccomp and masked paths, and matters where one of those is given away: a container
//! that may mount or write to `/proc` by what it was granted still does neither to what steers the host.
//! Language: apparmor.d(5).

use std::fmt::Write as _;

/// A file of the host's AppArmor configuration.
pub(super) struct Include {
    pub(super) path: String,
    pub(super) is_there: bool,
}

/// Who may send signals in: whoever manages containers. Some distributions confine these programs by their names.
const MANAGERS: [&str; 6] = ["unconfined", "runc", "crun", "youki", "linkspan", "linkspan-monitor"];

/// Not even to be read: all of the machine's memory, and what resets it.
const MACHINE: [&str; 4] = ["kcore", "kmem", "mem", "sysrq-trigger"];

/// Parts of `/proc` that belong to the host and not to a process.
const PROC: [&str; 9] =
    ["acpi/**", "bus/**", "fs/**", "irq/**", "scsi/**", "tty/**", "kallsyms", "keys", "timer_list"];

/// Sysctls that a pod's own namespaces hold; all others are the host's.
const OWN_SYSCTLS: [&str; 6] =
    ["net/**", "fs/mqueue/**", "kernel/shm*", "kernel/msg*", "kernel/sem", "kernel/{hostname,domainname}"];

/// Parts of `/sys` that reach into kernel and firmware; control groups are left to the file system's own rights.
const SYS: [&str; 8] =
    ["block/**", "bus/**", "class/**", "dev/**", "devices/**", "firmware/**", "kernel/**", "module/**"];

/// The profile called `name`. Without the host's own files, the parts that those would bring are written out.
pub(super) fn text(name: &str, tunables: &Include, base: &Include) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "{line}");
    };
    match tunables.is_there {
        true => line(&format!("#include <{}>", tunables.path)),
        false => line("@{PROC}=/proc/"),
    }
    line(&format!("profile {name} flags=(attach_disconnected, mediate_deleted) {{"));
    if base.is_there {
        line(&format!("  #include <{}>", base.path));
    }
    // What is not said here is up to capabilities, namespaces and modes of files.
    for granted in ["network", "capability", "file", "umount"] {
        line(&format!("  {granted},"));
    }
    for peer in MANAGERS {
        line(&format!("  signal (receive) peer={peer},"));
    }
    line(&format!("  signal (send, receive) peer={name},"));
    line(&format!("  ptrace (trace, read, tracedby, readby) peer={name},"));
    line("  deny mount,");
    for path in MACHINE {
        line(&format!("  deny @{{PROC}}/{path} rwklx,"));
    }
    for path in PROC {
        line(&format!("  deny @{{PROC}}/{path} wklx,"));
    }
    for rule in host_sysctls() {
        line(&format!("  deny @{{PROC}}/sys/{rule} wklx,"));
    }
    for path in SYS {
        line(&format!("  deny /sys/{path} wklx,"));
    }
    line("  deny /sys/kernel/security/** rwklx,");
    line("}");
    text
}

/// AppArmor has no "all but": deny rules win over others, so that the rest has to be spelled out, letter by letter.
fn host_sysctls() -> Vec<String> {
    let mut rules = all_but("", &OWN_SYSCTLS.map(|path| path.split('/').next().unwrap_or(path)));
    rules.extend(all_but("fs/", &["mqueue"]));
    rules.extend(all_but("kernel/", &["shm", "msg", "sem", "hostname", "domainname"]));
    rules
}

/// Patterns below `dir` for every name that begins like none of `kept`: for each place in a kept name, those that are
/// the same so far and differ there.
fn all_but(dir: &str, kept: &[&str]) -> Vec<String> {
    let mut beginnings: Vec<&str> =
        kept.iter().flat_map(|name| (0..name.len()).map(|end| &name[..end])).collect();
    beginnings.sort_unstable();
    beginnings.dedup();
    let rule = |beginning: &&str| {
        let mut next: Vec<char> =
            kept.iter().filter_map(|name| name.strip_prefix(*beginning)?.chars().next()).collect();
        next.sort_unstable();
        next.dedup();
        let next: String = next.into_iter().collect();
        format!("{dir}{beginning}[^{next}/]**")
    };
    // A name that is a beginning of a kept one, and ends there.
    let shorter = |beginning: &&str| (!beginning.is_empty()).then(|| format!("{dir}{beginning}"));
    beginnings.iter().map(rule).chain(beginnings.iter().filter_map(shorter)).collect()
}
