//! The profile file, and how its conditions are decided.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag, LinuxSyscall,
};
use serde::Deserialize;

use super::Facts;
use crate::error::Error;

/// Both forms in one: the plain OCI one merely lacks the conditions.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    default_action: LinuxSeccompAction,
    default_errno_ret: Option<u32>,
    default_errno: Option<String>,
    #[serde(default)]
    arch_map: Option<Vec<ArchEntry>>,
    #[serde(default)]
    architectures: Option<Vec<Arch>>,
    #[serde(default)]
    flags: Option<Vec<LinuxSeccompFilterFlag>>,
    listener_path: Option<String>,
    listener_metadata: Option<String>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchEntry {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    names: Option<Vec<String>>,
    /// The older form: one rule, one name.
    #[serde(default)]
    name: Option<String>,
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    errno: Option<String>,
    #[serde(default)]
    args: Option<Vec<LinuxSeccompArg>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

impl Document {
    pub(super) fn parse(json: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(json).map_err(|error| bad(error.to_string()))
    }

    /// `others`' rules instead of ours for every system call that they name.
    pub(super) fn replace_rules(&mut self, others: Self) {
        let new: Vec<Rule> = others.syscalls.unwrap_or_default();
        let named = |name: &String| {
            new.iter().flat_map(|rule| rule.names.iter().flatten()).any(|other| other == name)
        };
        let mut rules = self.syscalls.take().unwrap_or_default();
        for rule in &mut rules {
            rule.names.iter_mut().for_each(|names| names.retain(|name| !named(name)));
        }
        rules.extend(new);
        self.syscalls = Some(rules);
    }

    pub(super) fn resolve(&self, facts: &Facts) -> Result<LinuxSeccomp, Error> {
        let mut syscalls = Vec::new();
        for rule in self.syscalls.iter().flatten() {
            if rule.applies(facts)? {
                syscalls.extend(rule.syscall()?);
            }
        }
        let mut seccomp = LinuxSeccomp::default();
        seccomp
            .set_default_action(self.default_action)
            .set_default_errno_ret(errno(self.default_errno_ret, self.default_errno.as_deref())?)
            .set_architectures(self.architectures(facts)?)
            .set_flags(self.flags.clone().filter(|flags| !flags.is_empty()))
            .set_listener_path(self.listener_path.clone().filter(|path| !path.is_empty()).map(Into::into))
            .set_listener_metadata(self.listener_metadata.clone().filter(|text| !text.is_empty()))
            .set_syscalls((!syscalls.is_empty()).then_some(syscalls));
        Ok(seccomp)
    }

    fn architectures(&self, facts: &Facts) -> Result<Option<Vec<Arch>>, Error> {
        let map = self.arch_map.as_deref().unwrap_or_default();
        let listed = self.architectures.clone().filter(|arches| !arches.is_empty());
        if !map.is_empty() && listed.is_some() {
            return Err(bad("both architectures and archMap are there; one of them decides".to_owned()));
        }
        let native = native(&facts.arch);
        let entry = map.iter().find(|entry| Some(entry.architecture) == native);
        Ok(listed.or_else(|| {
            let entry = entry?;
            let sub = entry.sub_architectures.iter().flatten().copied();
            Some(std::iter::once(entry.architecture).chain(sub).collect())
        }))
    }
}

impl Rule {
    /// Every capability and one of the architectures of `includes`, and nothing of `excludes`.
    fn applies(&self, facts: &Facts) -> Result<bool, Error> {
        if let Some(excludes) = &self.excludes {
            let caught = excludes.arches.iter().flatten().any(|arch| *arch == facts.arch)
                || excludes.caps.iter().flatten().any(|name| facts.capabilities.contains(name))
                || excludes.min_kernel().transpose()?.is_some_and(|least| facts.kernel >= least);
            if caught {
                return Ok(false);
            }
        }
        let Some(includes) = &self.includes else { return Ok(true) };
        let arches = includes.arches.as_deref().unwrap_or_default();
        Ok((arches.is_empty() || arches.contains(&facts.arch))
            && includes.caps.iter().flatten().all(|name| facts.capabilities.contains(name))
            && includes.min_kernel().transpose()?.is_none_or(|least| facts.kernel >= least))
    }

    fn syscall(&self) -> Result<Option<LinuxSyscall>, Error> {
        let names: Vec<String> = self.names.iter().flatten().chain(&self.name).cloned().collect();
        if names.is_empty() {
            return Ok(None);
        }
        let mut syscall = LinuxSyscall::default();
        syscall
            .set_names(names)
            .set_action(self.action)
            .set_errno_ret(errno(self.errno_ret, self.errno.as_deref())?)
            .set_args(self.args.clone().filter(|args| !args.is_empty()));
        Ok(Some(syscall))
    }
}

impl Condition {
    fn min_kernel(&self) -> Option<Result<(u32, u32), Error>> {
        let text = self.min_kernel.as_deref().filter(|text| !text.is_empty())?;
        let version =
            text.split_once('.').and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        Some(version.ok_or_else(|| bad(format!("minKernel {text:?} is not of the form 4.8"))))
    }
}

/// The name counts where there is one: numbers differ between architectures.
fn errno(number: Option<u32>, name: Option<&str>) -> Result<Option<u32>, Error> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(number) };
    let known = match name {
        "EPERM" => Some(libc::EPERM),
        "ENOENT" => Some(libc::ENOENT),
        "EIO" => Some(libc::EIO),
        "EAGAIN" => Some(libc::EAGAIN),
        "ENOMEM" => Some(libc::ENOMEM),
        "EACCES" => Some(libc::EACCES),
        "EINVAL" => Some(libc::EINVAL),
        "ENOSYS" => Some(libc::ENOSYS),
        "EOPNOTSUPP" | "ENOTSUP" => Some(libc::EOPNOTSUPP),
        "EAFNOSUPPORT" => Some(libc::EAFNOSUPPORT),
        "EPROTONOSUPPORT" => Some(libc::EPROTONOSUPPORT),
        _ => None,
    };
    match known.and_then(|value| u32::try_from(value).ok()).or(number) {
        Some(value) => Ok(Some(value)),
        None => Err(bad(format!("unknown errno {name:?}"))),
    }
}

/// Our own architecture in libseccomp's words.
fn native(go_arch: &str) -> Option<Arch> {
    Some(match go_arch {
        "amd64" => Arch::ScmpArchX86_64,
        "386" | "x86" => Arch::ScmpArchX86,
        "arm64" => Arch::ScmpArchAarch64,
        "arm" => Arch::ScmpArchArm,
        "ppc64le" => Arch::ScmpArchPpc64le,
        "ppc64" => Arch::ScmpArchPpc64,
        "s390x" => Arch::ScmpArchS390x,
        "riscv64" => Arch::ScmpArchRiscv64,
        "loong64" => Arch::ScmpArchLoongarch64,
        _ => return None,
    })
}

fn bad(reason: String) -> Error {
    Error::BadSeccompProfile { reason }
}
