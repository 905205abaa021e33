use std::fs;
use std::time::Duration;

use super::*;

/// A directory of this test's own with the given files below it; removed at the end.
struct Dir(PathBuf);

impl Dir {
    fn with(name: &str, files: &[(&str, &str)]) -> Dir {
        let dir = Dir(std::env::temp_dir().join(format!("linkspan-config-{}-{name}", std::process::id())));
        for (path, text) in files {
            let path = dir.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn sources(&self) -> Sources {
        Sources { place: Place::below(&self.0), ..Sources::default() }
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn refusal(name: &str, text: &str) -> String {
    let dir = Dir::with(name, &[("etc/linkspan/config.toml", text)]);
    load(&dir.sources()).unwrap_err().to_string().replace(&*dir.0.to_string_lossy(), "")
}

#[test]
fn later_sources_win_and_say_where_they_are() {
    let dir = Dir::with(
        "order",
        &[
            (
                "etc/linkspan/config.toml",
                "[log]\nlevel = \"a\"\nformat = \"json\"\n[image]\npinned = [\"a\"]\n",
            ),
            ("etc/linkspan/config.d/20.toml", "[log]\nlevel = \"c\"\n"),
            ("etc/linkspan/config.d/10.toml", "[log]\nlevel = \"b\"\n"),
            ("etc/linkspan/config.d/30.conf", "this is not read\n"),
        ],
    );
    let loaded = load(&dir.sources()).unwrap();
    assert_eq!(loaded.config.log.level, "c");
    let drop_in = dir.0.join("etc/linkspan/config.d/20.toml");
    assert_eq!(loaded.origins["log.level"], Origin::File { path: drop_in, line: 2 });

    let mut sources = dir.sources();
    sources.environment =
        vec![("LINKSPAN_LOG_LEVEL".into(), "d".into()), ("LINKSPAN_IMAGE_PINNED".into(), "x,y".into())];
    sources.flags = vec![("runtime.timeout".into(), "90s".into())];
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.log.level, "d");
    assert_eq!(loaded.config.image.pinned, ["x", "y"]);
    assert_eq!(loaded.config.runtime.timeout, Duration::from_secs(90));
    sources.flags.push(("log.level".into(), "e".into()));
    let loaded = load(&sources).unwrap();
    assert_eq!(
        (loaded.config.log.level.as_str(), loaded.origins["log.level"].to_string().as_str()),
        ("e", "--log-level")
    );
}

#[test]
fn unknown_keys_are_refused_with_file_line_and_nearest_name() {
    let expected = "/etc/linkspan/config.toml:3: unknown option `grpc.sockte`; did you mean `grpc.socket`?";
    assert_eq!(refusal("typo", "[grpc]\n\nsockte = \"/x\"\n"), expected);
    let expected = "/etc/linkspan/config.toml:1: unknown option `netwrok`; did you mean `network`?";
    assert_eq!(refusal("section", "[netwrok]\nbuiltin = true\n"), expected);
}

#[test]
fn bad_values_are_refused_with_file_line_and_reason() {
    let at = "/etc/linkspan/config.toml:2: ";
    assert_eq!(
        refusal("relative", "[grpc]\nsocket = \"x.sock\"\n"),
        format!("{at}grpc.socket: `x.sock` must be an absolute path")
    );
    assert_eq!(
        refusal("type", "[grpc]\nsocket = 5\n"),
        format!("{at}grpc.socket: expected a path, found integer")
    );
    let duration = "expected a duration such as \"500ms\", \"30s\" or \"2m\", found `5 parsecs`";
    assert_eq!(
        refusal("duration", "[runtime]\ntimeout = \"5 parsecs\"\n"),
        format!("{at}runtime.timeout: {duration}")
    );
    assert!(refusal("syntax", "[grpc]\nsocket = \n").starts_with("/etc/linkspan/config.toml:2: "));
    assert!(
        refusal("handler", "[runtime.handlers.x]\npaht = \"/x\"\n")
            .contains("runtime.handlers: x: unknown field `paht`")
    );
    assert!(
        refusal("default", "[runtime]\ndefault = \"y\"\nhandlers.x.path = \"/x\"\n")
            .contains("`y` is none of the handlers (x)")
    );
}

#[test]
fn tls_needs_certificate_and_key() {
    let check = |name: &str, text: &str, expected: &str| {
        assert_eq!(refusal(name, &format!("[streaming]\n{text}")), expected);
    };
    let lacks_key = "streaming.tls_cert_file: TLS needs its key, too: set streaming.tls_key_file";
    check("cert", "tls_cert_file = \"/c\"\n", lacks_key);
    let lacks_cert = "streaming.tls_key_file: TLS needs its certificate, too: set streaming.tls_cert_file";
    check("key", "tls_key_file = \"/k\"\n", lacks_cert);
    let lacks_tls = "streaming.tls_client_ca_file: clients show certificates in TLS only: set streaming.tls_cert_file \
                     and streaming.tls_key_file";
    check("ca", "tls_client_ca_file = \"/a\"\n", lacks_tls);
    let at = "/etc/linkspan/config.toml:2: streaming";
    check(
        "old",
        "tls_min_version = \"1.1\"\n",
        &format!("{at}.tls_min_version: expected `1.2` or `1.3`, found \"1.1\""),
    );
    check(
        "name",
        "address = \"localhost\"\n",
        &format!("{at}.address: expected an IP address, found `localhost`"),
    );
    check(
        "port",
        "port = 65536\n",
        &format!("{at}.port: expected a whole number from 0 to 65535, found 65536"),
    );
    check("never", "idle_timeout = \"0s\"\n", &format!("{at}.idle_timeout: must be longer than nothing"));
}

#[test]
fn a_prefix_moves_every_default_path_and_name() {
    let dir = Dir::with("prefix", &[]);
    let config = load(&dir.sources()).unwrap().config;
    assert_eq!(config.grpc.socket, dir.0.join("run/linkspan/linkspan.sock"));
    assert_eq!(config.network.conf_dir, dir.0.join("etc/cni/net.d"));
    assert_eq!(config.image.containers_dir, dir.0.join("etc/containers"));
    assert!(config.cgroup.name.starts_with("linkspan-") && config.network.builtin_bridge.len() <= 15);
    let other = load(&Sources { place: Place::below("/other"), ..Sources::default() }).unwrap().config;
    assert_ne!(
        (config.cgroup.name, config.network.builtin_bridge),
        (other.cgroup.name, other.network.builtin_bridge)
    );
}

#[test]
fn the_first_runtime_flag_is_the_default_handler() {
    let dir = Dir::with(
        "runtimes",
        &[("etc/linkspan/config.toml", "[runtime.handlers.kata]\npath = \"/opt/kata\"\n")],
    );
    let mut sources = dir.sources();
    sources.runtimes = vec![("runc".into(), "/opt/runc".into()), ("crun".into(), "/opt/crun".into())];
    let config = load(&sources).unwrap().config;
    assert_eq!(config.runtime.default, "runc");
    assert_eq!(config.runtime.handlers.keys().collect::<Vec<_>>(), ["crun", "kata", "runc"]);
}

#[test]
fn handlers_are_looked_up_on_the_host_when_none_is_set() {
    let mut merged = Merged::defaults(&Place::host());
    merged.host_runtimes(|path| {
        path == Path::new("/usr/bin/runc") || path == Path::new("/usr/local/bin/youki")
    });
    let config = Config::from_values(&merged.values).unwrap();
    assert_eq!(config.runtime.default, "runc");
    assert_eq!(config.runtime.handlers["youki"].path, Path::new("/usr/local/bin/youki"));
}
