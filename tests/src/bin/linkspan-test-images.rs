//! Builds all images of the suites into the storage folder of a docker-registry; `contrib/tools/images` runs it.

use std::path::PathBuf;

use anyhow::{Context, bail};
use linkspan_tests::images::catalog::{Ingredients, build};
use linkspan_tests::images::storage::Storage;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut folders = [("--busybox", None), ("--nginx", None), ("--programs", None), ("--out", None)];
    while let Some(flag) = arguments.next() {
        let Some(folder) = folders.iter_mut().find(|folder| folder.0 == flag) else {
            bail!("{flag}: unknown flag; --busybox, --nginx, --programs and --out name folders");
        };
        folder.1 = arguments.next().map(PathBuf::from);
    }
    let [busybox, nginx, programs, out] =
        folders.map(|(flag, folder)| folder.with_context(|| format!("{flag} is missing")));
    let storage = Storage::create(&out?.join("registry")).context("creating the storage")?;
    let ingredients = Ingredients { busybox: busybox?, nginx: nginx?, programs: programs? };
    build(&storage, &ingredients).context("building the images")
}
