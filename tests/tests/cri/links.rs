//! Links and special files where an image, or whoever can write to a directory of logs, has put them: nothing of the
//! host's is read, written or made by them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use linkspan_tests::images::layout::Layout;
use linkspan_tests::images::tar::{Entry, Kind};
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools};
use serde_json::{Value, json};
use tokio::process::Command;

const SECRET: &str = "the host's";

/// A directory of the host's, beside all that the daemon has to write to.
struct Outside(PathBuf);

impl Outside {
    fn make(node: &Node) -> Result<Outside> {
        let dir = node.prefix().join("outside");
        fs::create_dir_all(dir.join("data"))?;
        for name in ["hosts", "hostname", "resolv.conf", "passwd", "log", "data/file"] {
            fs::write(dir.join(name), SECRET)?;
        }
        Ok(Outside(dir))
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// The same, by climbing out of a root file system.
    fn climbing(&self, name: &str) -> String {
        format!("{}{}", "../".repeat(20), self.path(name).trim_start_matches('/'))
    }

    fn is_untouched(&self) -> Result<()> {
        let mut names: Vec<String> = Vec::new();
        for dir in [self.0.clone(), self.0.join("data")] {
            for entry in fs::read_dir(dir)? {
                let path = entry?.path();
                names.push(path.strip_prefix(&self.0)?.display().to_string());
                ensure!(
                    path.is_dir() || fs::read_to_string(&path)? == SECRET,
                    "{} was written to",
                    path.display()
                );
            }
        }
        names.sort();
        let expected = ["data", "data/file", "hostname", "hosts", "log", "passwd", "resolv.conf"];
        ensure!(names == expected, "on the host: {names:?}");
        Ok(())
    }
}

/// How a link is to lead to what is outside.
type Way = fn(&Outside, &str) -> String;

async fn load(node: &Node, name: &str, mut entries: Vec<Entry>, config: &Value) -> Result<String> {
    let mut layout = Layout::create(&node.prefix().join("layout"))?;
    entries.insert(0, Entry::copy("bin/busybox", 0o755, tools::busybox()));
    let layer = layout.layer(&entries)?;
    let image = format!("registry.linkspan.test/links:{name}");
    layout.image(&image, &[&layer], config)?;
    node.load(&layout.finish()?).await?;
    Ok(image)
}

/// All of them lead to something inside, too: a runtime may refuse those that lead nowhere.
fn links(outside: &Outside, way: Way) -> Vec<Entry> {
    let inside = |name: &str| outside.path(name).trim_start_matches('/').to_owned();
    let files = ["hosts", "hostname", "resolv.conf", "passwd"];
    let mut entries: Vec<Entry> =
        files.iter().map(|name| Entry::file(&inside(name), 0o644, "the image's\n")).collect();
    entries.extend([
        Entry::directory(&inside("data/"), 0o755),
        Entry::directory(&inside("new/"), 0o755),
        Entry::symlink("etc/hosts", &way(outside, "hosts")),
        Entry::symlink("etc/hostname", &way(outside, "hostname")),
        Entry::symlink("etc/resolv.conf", &way(outside, "resolv.conf")),
        Entry::symlink("etc/passwd", &way(outside, "passwd")),
        Entry::symlink("work", &way(outside, "new")),
        Entry::symlink("data", &way(outside, "data")),
        Entry::symlink("full/link", &way(outside, "data/file")),
        Entry::file("full/file", 0o644, "the image's"),
        Entry::special("full/pipe", Kind::Fifo, 0o644),
        Entry::special("full/device", Kind::CharDevice(1, 7), 0o644),
    ]);
    entries
}

async fn runs_within_its_root(node: &mut Node, handler: &str) -> Result<()> {
    let outside = Outside::make(node)?;
    let ways: [(&str, Way); 2] = [("absolute", Outside::path), ("climbing", Outside::climbing)];
    for (name, way) in ways {
        let config = json!({ "WorkingDir": "/work/deep", "Volumes": { "/data": {}, "/full": {} } });
        let image = load(node, name, links(&outside, way), &config).await?;
        let pod = format!("{name}-{handler}");
        let mut sandbox = requests::sandbox(node, &pod);
        sandbox.dns_config = Some(linkspan_cri_api::v1::DnsConfig {
            servers: vec!["192.0.2.53".to_owned()],
            ..Default::default()
        });
        let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
        let mut container = requests::container("c", &["/bin/busybox", "sleep", "1000"]);
        container.image = Some(requests::image(&image));
        let id = node.create(&sandbox_id, &container, &sandbox).await.with_context(|| pod.clone())?;
        node.start_container(&id).await?;
        let script = "cd /; b=/bin/busybox; $b cat /etc/resolv.conf /etc/hostname /full/file; $b readlink /proc/1/cwd; \
                      $b ls /data; echo x >/data/new";
        let said = node.output(&id, &["/bin/busybox", "sh", "-c", script]).await?;
        let cwd = format!("{}/deep", outside.path("new"));
        assert_eq!(said, format!("nameserver 192.0.2.53\n{pod}\nthe image's{cwd}"), "{pod}");
        outside.is_untouched()?;
        node.remove_container(&id).await?;
        outside.is_untouched()?;
    }
    Ok(())
}

#[tokio::test]
async fn an_images_links_stay_in_its_root_file_system() {
    need!(Runc);
    node::run(async |node| {
        runs_within_its_root(node, "crun").await?;
        runs_within_its_root(node, "runc").await
    })
    .await;
}

#[tokio::test]
async fn an_images_links_stay_in_its_root_file_system_with_youki() {
    need!(Youki);
    let runtimes = vec![("youki".to_owned(), tools::youki())];
    node::with(Options { runtimes, ..Options::default() }, async |node| {
        runs_within_its_root(node, "youki").await
    })
    .await;
}

#[tokio::test]
async fn a_passwd_that_is_no_file_has_no_users_and_is_not_waited_for() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "passwd");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        for (name, kind) in
            [("pipe", Kind::Fifo), ("device", Kind::CharDevice(5, 0)), ("dir", Kind::Directory)]
        {
            let entries = vec![
                Entry::special("etc/passwd", kind.clone(), 0o755),
                Entry::special("etc/group", kind, 0o755),
            ];
            for (user, refused) in
                [("1000:1000", None), ("app", Some("\"app\"")), ("1000:main", Some("\"main\""))]
            {
                let tag = format!("{name}-{}", user.replace(':', "-"));
                let image = load(node, &tag, entries.clone(), &json!({ "User": user })).await?;
                let mut container = requests::container(&tag, &["/bin/busybox", "sleep", "1000"]);
                container.image = Some(requests::image(&image));
                match (node.create(&sandbox_id, &container, &sandbox).await, refused) {
                    (Ok(_), None) => {}
                    (Err(status), Some(name)) => assert!(status.message().contains(name), "{tag}: {status}"),
                    (created, _) => panic!("{tag}: {created:?}"),
                }
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_log_goes_to_a_file_of_its_own_and_never_where_a_link_leads() {
    need!();
    node::run(async |node| {
        let outside = Outside::make(node)?;
        node.pull(requests::BUSYBOX).await?;
        let sandbox = requests::sandbox(node, "logs");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let place = |name: &str| Path::new(&sandbox.log_directory).join(format!("{name}.log"));
        symlink(outside.path("log"), place("link"))?;
        symlink("nowhere", place("dangling"))?;
        for name in ["link", "dangling"] {
            let config = requests::container(name, &["sh", "-c", "echo out"]);
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(node.logged(&id).await?.trim_end(), "out", "{name}");
            ensure!(fs::symlink_metadata(place(name))?.is_file(), "{name}");
        }
        // By a rotation, too.
        let id = node.run_container(&sandbox_id, &requests::idle("rotated"), &sandbox).await?;
        fs::remove_file(place("rotated"))?;
        symlink(outside.path("log"), place("rotated"))?;
        let request = linkspan_cri_api::v1::ReopenContainerLogRequest { container_id: id };
        node.runtime.reopen_container_log(request).await?;
        ensure!(fs::symlink_metadata(place("rotated"))?.is_file(), "the link is still there");

        let made = Command::new("mkfifo").arg(place("pipe")).status().await?;
        ensure!(made.success(), "mkfifo: {made}");
        let made = Command::new("mknod").arg(place("device")).args(["c", "1", "3"]).status().await?;
        ensure!(made.success(), "mknod: {made}");
        fs::create_dir(place("dir"))?;
        for name in ["pipe", "device", "dir"] {
            let refused = node.create(&sandbox_id, &requests::idle(name), &sandbox).await.unwrap_err();
            let says = format!("{}: not a regular file", place(name).display());
            assert!(refused.message().contains(&says), "{refused}");
            ensure!(fs::symlink_metadata(place(name)).is_ok(), "{name} is somebody else's to remove");
        }
        outside.is_untouched()
    })
    .await;
}
