//! Pulled images are, file by file, what `skopeo` and `umoci` make of them.
// A test is one future, however long.
#![allow(clippy::unwrap_used, clippy::large_futures)]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use linkspan_tests::node::Node;
use linkspan_tests::{command, need, node, requests, tree};
use tokio::process::Command;

/// Folders that a layer implies by a path and says nothing about: their times are the unpacker's affair.
const IMPLIED: &[&str] =
    &["implied", "implied/by", "implied/by/its", "dotted", "rooted", "var", "var/www", "usr", "usr/bin"];

async fn check(image: &str, repository: &str, least_bytes: u64) {
    node::run(async |node| {
        let work = tempfile::Builder::new().prefix("lsimages").tempdir_in("/var/tmp")?;
        let expected = unpack_with_umoci(node, repository, work.path()).await?;
        let pulled = node.pull(image).await?;
        let size = node.image(image).await?.context("the image")?.size;
        ensure!(size >= least_bytes, "{image} has {size} bytes, {pulled}");
        let sandbox = requests::sandbox(node, "image");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let mut config = requests::container("c", &[]);
        config.image = Some(requests::image(image));
        let id = node.create(&sandbox_id, &config, &sandbox).await?;
        let view = work.path().join("view");
        mount_layers(node, &view).await?;
        let outcome = compare(&expected, &view);
        command::must(Command::new("umount").arg(&view)).await?;
        node.remove_container(&id).await?;
        outcome
    })
    .await;
}

fn compare(expected: &Path, found: &Path) -> Result<()> {
    let (expected, found) = (tree::read(expected)?, tree::read(found)?);
    let lines = tree::differences(&expected, &found, IMPLIED);
    let shown = lines.iter().take(30).cloned().collect::<Vec<_>>().join("\n");
    ensure!(lines.is_empty(), "{} of {} entries differ:\n{shown}", lines.len(), expected.len());
    ensure!(!expected.is_empty(), "nothing was compared");
    Ok(())
}

/// The folder with the root file system.
async fn unpack_with_umoci(node: &Node, repository: &str, work: &Path) -> Result<PathBuf> {
    let layout = work.join("layout");
    command::must(
        Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--src-tls-verify=false"])
            .arg(format!("docker://{}/{repository}", node.registry.address()))
            .arg(format!("oci:{}:image", layout.display())),
    )
    .await?;
    let bundle = work.join("bundle");
    command::must(
        Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!("{}:image", layout.display()))
            .arg(&bundle),
    )
    .await?;
    fs::remove_dir_all(&layout)?;
    Ok(bundle.join("rootfs"))
}

/// The layers of the one container of this node, as an overlay of their own that nothing has written to.
async fn mount_layers(node: &Node, at: &Path) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let overlay = mounts
        .lines()
        .filter(|line| {
            line.split(' ').nth(4).is_some_and(|point| Path::new(point).starts_with(node.prefix()))
        })
        .find(|line| line.contains(" - overlay "))
        .context("no overlay of the container is mounted")?;
    let options = overlay.rsplit(' ').next().unwrap_or_default();
    let layers: Vec<&str> = options
        .split(',')
        .filter_map(|option| option.strip_prefix("lowerdir+=").or_else(|| option.strip_prefix("lowerdir=")))
        .collect();
    ensure!(!layers.is_empty(), "no layers in {options}");
    let mut layers = layers.join(":");
    fs::create_dir_all(at)?;
    if !layers.contains(':') {
        // An overlay without an upper folder wants two.
        let empty = at.with_extension("empty");
        fs::create_dir_all(&empty)?;
        layers = format!("{}:{layers}", empty.display());
    }
    command::must(
        Command::new("mount")
            .args(["-t", "overlay", "overlay", "-o", &format!("ro,lowerdir={layers}")])
            .arg(at),
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn every_oddity_of_layers_is_unpacked_alike() {
    need!(Skopeo, Umoci);
    check("registry.linkspan.test/odd:gzip", "odd:gzip", 0).await;
}

#[tokio::test]
async fn layers_that_are_not_compressed_are_unpacked_alike() {
    need!(Skopeo, Umoci);
    check("registry.linkspan.test/odd:plain", "odd:plain", 0).await;
}

#[tokio::test]
async fn zstd_layers_are_unpacked_like_their_gzip_twins() {
    need!(Skopeo, Umoci);
    // umoci does not know zstd: the same tar streams lie beside it, compressed by gzip.
    check("registry.linkspan.test/odd:zstd", "odd:gzip", 0).await;
}

#[tokio::test]
async fn a_large_image_of_nine_layers_is_unpacked_alike() {
    need!(Skopeo, Umoci);
    check("registry.linkspan.test/large", "large:latest", 400_000_000).await;
}

#[tokio::test]
async fn nginx_from_an_index_is_unpacked_alike() {
    need!(Skopeo, Umoci);
    check("docker.io/library/nginx", "library/nginx:latest", 0).await;
}

#[tokio::test]
async fn layers_with_odd_paths_are_unpacked_alike() {
    need!(Skopeo, Umoci);
    check("registry.linkspan.test/configured", "configured:latest", 0).await;
}

#[tokio::test]
async fn an_image_of_one_file_is_unpacked_alike() {
    need!(Skopeo, Umoci);
    check("registry.k8s.io/pause:3.9", "pause:3.9", 0).await;
}
