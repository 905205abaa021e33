//! Layers that many images share: busybox with its users, and nginx with its libraries.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::layer::{Compression, Layer};
use super::storage::Storage;
use super::tar::Entry;

pub const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
default-user:x:1000:1000:default-user:/home/default-user:/bin/sh
nobody:x:65534:65534:nobody:/home:/bin/false
";

pub const GROUP: &str = "root:x:0:
daemon:x:1:
bin:x:2:
www-data:x:33:
users:x:100:
default-user:x:1000:
group-defined-in-image:x:50000:default-user
nogroup:x:65534:
";

/// A whole small system of busybox. Its applets are hard links, as in the published image: a mount over `/bin/ls`
/// masks that applet alone.
pub fn busybox(storage: &Storage, busybox: &Path) -> io::Result<Layer> {
    let mut entries =
        vec![Entry::directory("bin/", 0o755), Entry::copy("bin/busybox", 0o755, busybox.join("busybox"))];
    for applet in fs::read_to_string(busybox.join("applets"))?.lines() {
        if applet != "busybox" {
            entries.push(Entry { mode: 0o755, ..Entry::hard_link(&format!("bin/{applet}"), "bin/busybox") });
        }
    }
    entries.extend([
        Entry::directory("dev/", 0o755),
        Entry::directory("etc/", 0o755),
        Entry::file("etc/passwd", 0o644, PASSWD),
        Entry::file("etc/group", 0o644, GROUP),
        Entry::file("etc/shadow", 0o640, "root:*:19000:0:99999:7:::\n"),
        Entry::directory("home/", 0o755).owner(65534, 65534),
        Entry::directory("home/default-user/", 0o755).owner(1000, 1000),
        Entry::directory("root/", 0o700),
        Entry::directory("run/", 0o755),
        Entry::directory("tmp/", 0o1777),
        Entry::directory("usr/", 0o755),
        Entry::directory("usr/bin/", 0o755),
        Entry { mode: 0o755, ..Entry::hard_link("usr/bin/env", "bin/busybox") },
        Entry::directory("usr/sbin/", 0o755).owner(1, 1),
        Entry::directory("var/", 0o755),
        Entry::symlink("var/run", "/run"),
        Entry::directory("var/www/", 0o755).owner(33, 33),
        Entry::file("var/www/index.html", 0o644, "<html><body><h1>It works!</h1></body></html>\n"),
    ]);
    Layer::of(storage, Compression::Gzip, &entries)
}

/// Debian's nginx and its libraries, with a server on `port`.
pub fn nginx(storage: &Storage, rootfs: &Path, port: u16) -> io::Result<Layer> {
    let mut entries = tree(rootfs)?;
    let configuration = format!(
        "user www-data;\nworker_processes 1;\nerror_log /dev/stderr;\npid /var/run/nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n  include mime.types;\n  access_log /dev/stdout;\n\
         server {{ listen {port}; server_name localhost; root /var/www/html; index index.html; }}\n}}\n"
    );
    entries.extend([
        Entry::file("etc/nginx/nginx.conf", 0o644, configuration),
        Entry::directory("var/lib/", 0o755),
        Entry::directory("var/lib/nginx/", 0o755),
        Entry::directory("var/log/", 0o755),
        Entry::directory("var/log/nginx/", 0o755),
        Entry::directory("usr/share/", 0o755),
        Entry::directory("usr/share/nginx/", 0o755),
    ]);
    Layer::of(storage, Compression::Gzip, &entries)
}

/// What lies below `rootfs`: folders, programs and libraries, and pages that nobody runs.
pub fn tree(rootfs: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for path in walk(rootfs)? {
        let name = path.strip_prefix(rootfs).map_err(io::Error::other)?.to_string_lossy().into_owned();
        match path.is_dir() {
            true => entries.push(Entry::directory(&format!("{name}/"), 0o755)),
            false => {
                let mode = if name.contains(".html") || name.contains(".conf") { 0o644 } else { 0o755 };
                entries.push(Entry::copy(&name, mode, path));
            }
        }
    }
    Ok(entries)
}

/// Every file and folder below `root`, parents first, in the order of their names.
fn walk(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let mut names: Vec<PathBuf> =
        fs::read_dir(root)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    names.sort();
    for path in names {
        let folder = path.is_dir();
        paths.push(path.clone());
        if folder {
            paths.extend(walk(&path)?);
        }
    }
    Ok(paths)
}
