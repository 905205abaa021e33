//! Which hierarchies are mounted where.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{CgroupMode, Support, text};

/// The hierarchies in which containers live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) mode: CgroupMode,
    /// On v2 exactly one, without a list of controllers.
    pub(super) hierarchies: Vec<Hierarchy>,
    /// A hybrid host's v2 tree: nothing is limited there, but runc and crun make groups in it and leave parents behind.
    pub(super) unified: Option<PathBuf>,
}

/// One mounted tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) mount: PathBuf,
    /// v1 controllers mounted together, or `name=systemd`.
    pub(super) controllers: Vec<String>,
}

/// Mount options of a v1 hierarchy that are not controllers.
const OPTIONS: [&str; 8] =
    ["rw", "ro", "clone_children", "noprefix", "xattr", "cpuset_v2_mode", "favordynmods", "nofavordynmods"];

impl Layout {
    /// From `/proc/self/mountinfo`; `None` if nothing is mounted.
    pub(super) fn parse(mountinfo: &str) -> Option<Self> {
        let mut v1: Vec<Hierarchy> = Vec::new();
        let mut v2 = None;
        let mut seen = HashSet::new();
        for (kind, mount, options) in mountinfo.lines().filter_map(cgroup_mount) {
            if kind == "cgroup2" {
                v2.get_or_insert(mount);
                continue;
            }
            let controllers: Vec<String> = (options.split(','))
                .filter(|option| !OPTIONS.contains(option) && !option.starts_with("release_agent="))
                .map(str::to_owned)
                .collect();
            // A bind mount shows the same hierarchy again.
            if seen.insert(controllers.clone()) {
                v1.push(Hierarchy { mount, controllers });
            }
        }
        // Named hierarchies limit nothing: alone they do not make a host v1.
        let limits = v1.iter().flat_map(|tree| &tree.controllers).any(|name| !name.starts_with("name="));
        match (limits, v2) {
            (true, unified @ Some(_)) => Some(Self { mode: CgroupMode::Hybrid, hierarchies: v1, unified }),
            (true, None) => Some(Self { mode: CgroupMode::V1, hierarchies: v1, unified: None }),
            (false, Some(mount)) => {
                let hierarchies = vec![Hierarchy { mount, controllers: Vec::new() }];
                Some(Self { mode: CgroupMode::V2, hierarchies, unified: None })
            }
            (false, None) => None,
        }
    }

    /// The group's directory in every hierarchy.
    pub(super) fn dirs<'a>(&'a self, below: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        self.hierarchies.iter().map(move |tree| tree.mount.join(below))
    }

    /// The same, and in a hybrid host's v2 tree, where runtimes make groups beside ours.
    pub(super) fn everywhere<'a>(&'a self, below: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
        self.dirs(below).chain(self.unified.iter().map(move |mount| mount.join(below)))
    }

    /// The group's directory where `controller` is; on v2 always the same.
    pub(super) fn dir(&self, controller: &str, below: &Path) -> Option<PathBuf> {
        let has = |tree: &&Hierarchy| tree.controllers.iter().any(|name| name == controller);
        let tree = match self.mode {
            CgroupMode::V2 => self.hierarchies.first(),
            CgroupMode::V1 | CgroupMode::Hybrid => self.hierarchies.iter().find(has),
        };
        tree.map(|tree| tree.mount.join(below))
    }

    pub(super) fn support(&self) -> Support {
        let root = |controller: &str| self.dir(controller, Path::new(""));
        match self.mode {
            CgroupMode::V2 => Support {
                swap: root("memory").is_some_and(|root| v2_swap(&root)),
                hugetlb: text(root("hugetlb").as_deref(), "cgroup.controllers")
                    .split_whitespace()
                    .any(|controller| controller == "hugetlb"),
            },
            CgroupMode::V1 | CgroupMode::Hybrid => Support {
                swap: root("memory").is_some_and(|dir| dir.join("memory.memsw.limit_in_bytes").exists()),
                hugetlb: root("hugetlb").is_some(),
            },
        }
    }
}

/// The root group has no limits to look at; any group below it tells.
fn v2_swap(root: &Path) -> bool {
    let groups = fs::read_dir(root).into_iter().flatten().flatten();
    let mut with_memory = groups.map(|entry| entry.path()).filter(|dir| dir.join("memory.max").exists());
    with_memory.next().is_none_or(|dir| dir.join("memory.swap.max").exists())
}

/// File system type, mount point and super block options of a cgroup mount (proc(5), "mountinfo").
fn cgroup_mount(line: &str) -> Option<(&str, PathBuf, &str)> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut fields = filesystem.split(' ');
    let (kind, _source, options) = (fields.next()?, fields.next()?, fields.next().unwrap_or_default());
    let point = mount.split(' ').nth(4)?.replace("\\040", " ");
    matches!(kind, "cgroup" | "cgroup2").then(|| (kind, PathBuf::from(point), options))
}
