//! A node in a temporary directory, with plugins that are shell scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::network::{Attachment, Network};

pub(super) struct Node {
    dir: TempDir,
    pub(super) add_timeout: Duration,
}

impl Node {
    pub(super) fn new() -> Self {
        let node = Self { dir: TempDir::new().unwrap(), add_timeout: Duration::from_secs(20) };
        for dir in ["net.d", "bin", "log"] {
            fs::create_dir(node.path(dir)).unwrap();
        }
        node
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a configuration as careful people do: another name first.
    pub(super) fn conf(&self, name: &str, content: &str) {
        let temporary = self.path("new.tmp");
        fs::write(&temporary, content).unwrap();
        fs::rename(temporary, self.path("net.d").join(name)).unwrap();
    }

    /// A plugin that notes its calls and their configurations, and then runs `body`, which finds
    /// the verb in `$CNI_COMMAND`.
    pub(super) fn plugin(&self, name: &str, body: &str) {
        let log = self.path("log");
        let log = log.display();
        let script = format!(
            "#!/bin/sh\ncat > {log}/$CNI_COMMAND.{name}.json\n\
             echo \"$CNI_COMMAND {name} id=$CNI_CONTAINERID if=$CNI_IFNAME netns=$CNI_NETNS args=$CNI_ARGS\" >> {log}/calls\n\
             {body}\n"
        );
        let path = self.path("bin").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A plugin that answers ADD with one address.
    pub(super) fn good_plugin(&self, name: &str, version: &str, address: &str) {
        let result = format!(r#"{{"cniVersion":"{version}","ips":[{{"address":"{address}"}}]}}"#);
        self.plugin(name, &format!("[ $CNI_COMMAND = ADD ] && echo '{result}'; exit 0"));
    }

    pub(super) async fn open(&self) -> Network {
        Network::open_for(&self.config(), &self.path("root")).await.unwrap()
    }

    pub(super) fn config(&self) -> linkspan_config::Network {
        linkspan_config::Network {
            conf_dir: self.path("net.d"),
            bin_dirs: vec![self.path("nothing"), self.path("bin")],
            cache_dir: self.path("cache"),
            builtin: false,
            builtin_bridge: String::new(),
            builtin_subnets: Vec::new(),
            builtin_dir: self.path("builtin"),
            add_timeout: self.add_timeout,
            del_timeout: Duration::from_secs(20),
        }
    }

    /// `VERB plugin` of all calls so far, in order.
    pub(super) fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.path("log/calls")).unwrap_or_default();
        calls.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    }

    pub(super) fn raw_calls(&self) -> String {
        fs::read_to_string(self.path("log/calls")).unwrap()
    }

    /// The configuration of the plugin's last call with this verb.
    pub(super) fn given(&self, verb: &str, plugin: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path("log").join(format!("{verb}.{plugin}.json"))).unwrap())
            .unwrap()
    }

    pub(super) fn cached(&self) -> Vec<String> {
        let Ok(files) = fs::read_dir(self.path("cache/results")) else { return Vec::new() };
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }
}

pub(super) fn attachment(id: &str) -> Attachment {
    Attachment {
        sandbox_id: id.to_owned(),
        pod_name: "web".to_owned(),
        pod_namespace: "shop".to_owned(),
        pod_uid: "u-1".to_owned(),
        // A network namespace that is there without root: our own.
        netns: PathBuf::from("/proc/self/ns/net"),
        ..Attachment::default()
    }
}
