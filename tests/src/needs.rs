//! Tests that cannot run here say aloud what is missing, and are counted as skipped by `contrib/test`.

use std::io::Write;

use crate::tools;

/// What a test may need beyond a compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Root,
    Daemon,
    Crun,
    Runc,
    Youki,
    Criu,
    CniPlugins,
    Images,
    DockerRegistry,
    Crictl,
    Critest,
    Kubelet,
    NriPlugin,
    Skopeo,
    Umoci,
}

impl Need {
    /// What is missing, with the command that helps.
    pub fn missing(self) -> Option<String> {
        let built = |tool: &str, path: std::path::PathBuf| {
            (!path.exists())
                .then(|| format!("{tool}: {} is not there; run contrib/tools/setup", path.display()))
        };
        let installed = |program: &str| {
            tools::program(program)
                .is_none()
                .then(|| format!("{program} is not installed; run contrib/tools/setup packages"))
        };
        match self {
            Need::Root => (!is_root()).then(|| "root".to_owned()),
            Need::Daemon => {
                let path = tools::daemon();
                (!path.exists()).then(|| format!("{}: run cargo build --workspace", path.display()))
            }
            Need::Crun => built("crun", tools::crun()),
            Need::Runc => built("runc", tools::runc()),
            Need::Youki => built("youki", tools::youki()),
            Need::Criu => built("criu", tools::criu()),
            Need::CniPlugins => built("cni-plugins", tools::cni_plugins()),
            Need::Images => built("images", tools::images()),
            Need::DockerRegistry => installed("docker-registry"),
            Need::Crictl => built("crictl", tools::crictl()),
            Need::Critest => built("critest", tools::critest()),
            Need::Kubelet => built("kubelet", tools::kubelet()),
            Need::NriPlugin => built("nri-plugin", tools::nri_plugin()),
            Need::Skopeo => installed("skopeo"),
            Need::Umoci => installed("umoci"),
        }
    }
}

/// All that a pod with a network takes.
pub const NODE: &[Need] =
    &[Need::Root, Need::Daemon, Need::Crun, Need::CniPlugins, Need::Images, Need::DockerRegistry];

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata) == 0)
}

/// Whether the test has to be skipped; if so, says so past the capture of test output. Where
/// `LINKSPAN_TESTS_STRICT` is set, as in `contrib/test`, a missing need is a failure.
pub fn skip(test: &str, needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    if missing.is_empty() {
        return false;
    }
    let missing = missing.join("; ");
    assert!(std::env::var_os("LINKSPAN_TESTS_STRICT").is_none(), "{test} cannot run: {missing}");
    say_skipped(test, &missing);
    true
}

/// One line that `contrib/test` counts.
pub fn say_skipped(test: &str, reason: &str) {
    let _ = writeln!(std::io::stderr(), "SKIP: {test}: {reason}");
}

/// `need!(Root, Crictl)` returns from the test, aloud, unless all is there that a node takes, and these too.
#[macro_export]
macro_rules! need {
    ($($need:ident),* $(,)?) => {{
        let mut needs = $crate::needs::NODE.to_vec();
        needs.extend([$($crate::needs::Need::$need),*] as [$crate::needs::Need; { 0 $(+ { let _ = stringify!($need); 1 })* }]);
        let name = std::thread::current().name().unwrap_or("a test").to_owned();
        if $crate::needs::skip(&name, &needs) {
            return;
        }
    }};
}
