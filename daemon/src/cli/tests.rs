use super::*;

fn parses(line: &str) -> bool {
    command().try_get_matches_from(line.split(' ')).is_ok_and(|found| Cli::from_arg_matches(&found).is_ok())
}

#[test]
fn the_documented_lines_parse() {
    for line in [
        "linkspan serve",
        "linkspan serve --prefix /tmp/x --runtime crun=/usr/bin/crun --runtime runc=/usr/bin/runc --cni-bin-dir /opt/cni/bin",
        "linkspan serve --config /etc/linkspan/config.toml --log-level debug --network-builtin true",
        "linkspan config default",
        "linkspan config show --prefix /tmp/x",
        "linkspan check --prefix /tmp/x",
        "linkspan status --json --socket /run/x.sock",
        "linkspan status --operations",
        "linkspan explain --json default/web",
        "linkspan image pull busybox --prefix /tmp/x",
        "linkspan image --socket /run/x.sock pull --creds a:b busybox",
        "linkspan image ls -q",
        "linkspan image rm a b",
        "linkspan image inspect a",
        "linkspan image load a.tar",
    ] {
        assert!(parses(line), "{line}");
    }
    for line in
        ["linkspan", "linkspan image rm", "linkspan status --socket /a --prefix /b", "linkspan frobnicate"]
    {
        assert!(!parses(line), "{line}");
    }
}

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}
