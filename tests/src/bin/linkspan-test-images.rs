//! Builds images into the storage folder of a docker-registry: those of our own suites and critest
//! (`contrib/tools/images`), or with `--kubernetes` those of a cluster (`contrib/tools/kubernetes-images`).

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use linkspan_tests::images::catalog::{self, Ingredients};
use linkspan_tests::images::kubernetes::{self, Programs};
use linkspan_tests::images::storage::Storage;

/// Each names a folder.
const FLAGS: [&str; 8] = [
    "--busybox",
    "--nginx",
    "--programs",
    "--out",
    "--network",
    "--coredns",
    "--kubernetes",
    "--control-plane",
];

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut folders = HashMap::new();
    while let Some(flag) = arguments.next() {
        if !FLAGS.contains(&flag.as_str()) {
            bail!("{flag}: unknown flag; these name folders: {}", FLAGS.join(" "));
        }
        folders.insert(flag, PathBuf::from(arguments.next().context("a flag without a folder")?));
    }
    let folder = |flag: &str| folders.get(flag).cloned().with_context(|| format!("{flag} is missing"));
    let storage = Storage::create(&folder("--out")?.join("registry")).context("creating the storage")?;
    let ingredients = Ingredients {
        busybox: folder("--busybox")?,
        nginx: folder("--nginx")?,
        programs: folder("--programs")?,
    };
    match folders.contains_key("--kubernetes") {
        false => catalog::build(&storage, &ingredients),
        true => kubernetes::build(
            &storage,
            &ingredients,
            &Programs {
                network: folder("--network")?,
                coredns: folder("--coredns")?,
                kubernetes: folder("--kubernetes")?,
                control_plane: folder("--control-plane")?,
            },
        ),
    }
    .context("building the images")
}
