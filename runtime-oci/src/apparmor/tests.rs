use std::path::{Path, PathBuf};

use super::profile::{self, Include};
use super::{DEFAULT_PROFILE, lists, parse, parser, text};

#[test]
fn the_kernels_list_has_names_with_their_modes() {
    let list =
        "/usr/bin/man (enforce)\nlinkspan-default (enforce)\nwith space (complain)\nlsb_release//ps (kill)\n";
    for name in ["linkspan-default", "/usr/bin/man", "with space", "lsb_release//ps"] {
        assert!(lists(list, name), "{name}");
    }
    for name in ["linkspan", "linkspan-default (enforce)", "with", ""] {
        assert!(!lists(list, name), "{name}");
    }
}

#[test]
fn the_default_profile_lets_a_container_work_and_the_host_alone() {
    let file = |path: &str, is_there| Include { path: path.to_owned(), is_there };
    let with = profile::text("it", &file("tunables/global", true), &file("abstractions/base", true));
    let rules: Vec<&str> = with.lines().map(str::trim).collect();
    for rule in [
        "#include <tunables/global>",
        "profile it flags=(attach_disconnected, mediate_deleted) {",
        "#include <abstractions/base>",
        "capability,",
        "file,",
        "network,",
        "deny mount,",
        "deny @{PROC}/sysrq-trigger rwklx,",
        "deny @{PROC}/sys/[^fkn/]** wklx,",
        "deny @{PROC}/sys/kernel/[^dhms/]** wklx,",
        "deny /sys/firmware/** wklx,",
        "signal (send, receive) peer=it,",
        "ptrace (trace, read, tracedby, readby) peer=it,",
    ] {
        assert!(rules.contains(&rule), "{rule} is missing in {with}");
    }
    let without = profile::text("it", &file("tunables/global", false), &file("abstractions/base", false));
    assert!(!without.contains("#include") && without.starts_with("@{PROC}=/proc/"), "{without}");
}

#[test]
fn the_parser_takes_the_default_profile() {
    let named = std::env::var_os("LINKSPAN_APPARMOR_PARSER").map(PathBuf::from);
    let Some(parser) = named.or_else(|| parser().map(Path::to_owned)) else {
        eprintln!("SKIP: the_parser_takes_the_default_profile: apparmor_parser is not installed");
        return;
    };
    let compile = |configuration: &str| {
        let arguments = ["--skip-kernel-load", "--skip-cache", "--base", configuration];
        parse(&parser, &text(Path::new(configuration)), &arguments)
    };
    assert_eq!(compile("/nowhere"), Ok(()), "without the host's own files");
    if Path::new("/etc/apparmor.d/abstractions/base").exists() {
        assert_eq!(compile("/etc/apparmor.d"), Ok(()));
    }
    let refused = parse(&parser, "profile broken {", &["--skip-kernel-load", "--skip-cache"]).unwrap_err();
    assert!(!refused.is_empty() && !DEFAULT_PROFILE.is_empty());
}
