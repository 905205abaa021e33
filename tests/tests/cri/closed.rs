//! What a user of the node without any rights reaches of the daemon's files: nothing.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools, wait};

use crate::userns;

const DEADLINE: Duration = Duration::from_secs(20);
const NOBODY: u32 = 65_534;
/// `/usr/bin/nnp` of it is set-user-ID root and says who it is.
const WITH_SETUID: &str = "registry.k8s.io/e2e-test-images/nonewprivs:1.3";
/// The first of the host's users that are a pod's.
const HOST_ID: u32 = 300_000;

/// A command as a user of the node who is in no group of root's. Standard groups are dropped with the user.
fn as_user(program: impl AsRef<Path>, uid: u32, gid: u32) -> Command {
    let mut command = Command::new(program.as_ref());
    command.uid(uid).gid(gid).current_dir("/");
    command
}

fn run_dir(node: &Node) -> PathBuf {
    node.prefix().join("run/linkspan")
}

fn root_dir(node: &Node) -> PathBuf {
    node.prefix().join("var/lib/linkspan")
}

/// Everything in both directories of the daemon, themselves too, as root sees it.
fn all_paths(node: &Node) -> Result<Vec<PathBuf>> {
    fn walk(path: PathBuf, found: &mut Vec<PathBuf>) -> Result<()> {
        // Of an exec or a record that is gone by now.
        let Ok(metadata) = fs::symlink_metadata(&path) else { return Ok(()) };
        if metadata.is_dir() {
            for entry in fs::read_dir(&path).into_iter().flatten() {
                walk(entry?.path(), found)?;
            }
        }
        found.push(path);
        Ok(())
    }
    let mut found = Vec::new();
    walk(run_dir(node), &mut found)?;
    walk(root_dir(node), &mut found)?;
    Ok(found)
}

/// Which of the paths nobody can see, and which of them can be read, listed or written.
fn reached(paths: &[PathBuf]) -> Result<(BTreeSet<PathBuf>, BTreeSet<PathBuf>)> {
    let script = "while IFS= read -r path; do
        if [ -e \"$path\" ] || [ -L \"$path\" ]; then echo \"seen $path\"; fi
        if [ -r \"$path\" ] || [ -w \"$path\" ]; then echo \"open $path\"; fi
    done";
    let mut shell = as_user("/bin/sh", NOBODY, NOBODY);
    let mut shell =
        shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("a shell")?;
    let mut input = shell.stdin.take().context("its input")?;
    let lines: Vec<u8> = paths.iter().flat_map(|path| format!("{}\n", path.display()).into_bytes()).collect();
    let feeding = std::thread::spawn(move || input.write_all(&lines));
    let output = shell.wait_with_output()?;
    feeding.join().expect("no panic")?;
    ensure!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout)?;
    let having =
        |word: &str| said.lines().filter_map(|line| line.strip_prefix(word)).map(PathBuf::from).collect();
    Ok((having("seen "), having("open ")))
}

/// Nobody sees what the passable directories have, if the name is known, and nothing else.
fn check_closed(node: &Node, pods: &[&str]) -> Result<()> {
    let (_, open) = reached(&[node.prefix().join("run"), node.prefix().join("var/lib")])?;
    assert_eq!(open.len(), 2, "the way there is open: what follows shows something");
    let (run, paths) = (run_dir(node), all_paths(node)?);
    for kind in ["config.json", "process.json", "info.json", "linkspan.lock", "busybox", "nnp"] {
        assert!(paths.iter().any(|path| path.ends_with(kind)), "{kind} is there to be tried");
    }
    let (seen, open) = reached(&paths)?;
    let names = ["", "pods", "runtimes", "linkspan.sock", "linkspan.lock"].map(|name| run.join(name));
    let pods = pods.iter().map(|pod| run.join("pods").join(pod));
    // `join` of nothing ends in a slash; paths compare by their parts.
    let expected: BTreeSet<PathBuf> = names
        .into_iter()
        .chain(pods)
        .chain([root_dir(node)])
        .map(|path| path.components().collect())
        .collect();
    assert_eq!(seen, expected);
    assert_eq!(open, BTreeSet::new());
    Ok(())
}

/// The daemon, the monitors, and all that runs below them: pause, containers, execs.
fn processes(node: &Node) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        let parent = parent.and_then(|pid| pid.parse::<u32>().ok()).context("a parent's PID")?;
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let of_node = String::from_utf8_lossy(&command).contains(&node.prefix().display().to_string());
        all.push((pid, parent, of_node && fs::read_link(entry.path().join("exe")).is_ok()));
    }
    let mut ours: Vec<u32> = all.iter().filter(|(.., of_node)| *of_node).map(|(pid, ..)| *pid).collect();
    let mut next = 0;
    while let Some(parent) = ours.get(next).copied() {
        ours.extend(all.iter().filter(|(_, of, is)| *of == parent && !is).map(|(pid, ..)| *pid));
        next += 1;
    }
    Ok(ours)
}

/// Of none of our processes nobody sees more than a name: no root, directory, descriptor, memory or environment.
fn check_processes(node: &Node) -> Result<()> {
    let ours = processes(node)?;
    let comms = |name: &str| {
        let has = |pid: &&u32| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        ours.iter().filter(has).count()
    };
    ensure!(comms("linkspan") == 1 && comms("linkspan-monito") == PODS.len(), "{ours:?}");
    ensure!(comms("pause") == PODS.len() && comms("sleep") >= PODS.len(), "{ours:?}");
    let kinds =
        ["root/", "root/etc/passwd", "cwd/", "exe", "fd/", "map_files/", "environ", "maps", "mem", "io"];
    let paths: Vec<String> =
        ours.iter().flat_map(|pid| kinds.map(|kind| format!("/proc/{pid}/{kind}"))).collect();
    let script = "for path; do
        if [ -d \"$path\" ]; then ls -A \"$path\"; else true <\"$path\"; fi && echo \"open $path\" >&3
    done 3>&1 >/dev/null 2>&1";
    let opened = |uid: u32| -> Result<String> {
        let mut shell = as_user("/bin/sh", uid, uid);
        let output = shell.args(["-c", script, "sh"]).args(&paths).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(opened(NOBODY)?, "");
    let of_root = opened(0)?;
    ensure!(kinds.iter().all(|kind| of_root.contains(kind)), "root opens each kind of them: {of_root}");
    Ok(())
}

/// Below `root_dir`, all that is not what containers see as theirs is for root alone.
fn check_modes(node: &Node) -> Result<()> {
    let root = root_dir(node);
    for path in all_paths(node)?.into_iter().filter(|path| path.starts_with(&root)) {
        let content = ["diff", "upper", "work", "empty"];
        let of_volume =
            path.strip_prefix(root.join("volumes")).is_ok_and(|path| path.components().count() > 1);
        if of_volume || path.components().any(|part| content.iter().any(|name| part.as_os_str() == *name)) {
            continue;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(format!("{:o}", metadata.mode() & 0o7777), format!("{expected:o}"), "{}", path.display());
    }
    Ok(())
}

/// With a set-user-ID program in its writable directory, too.
async fn run_pod(node: &mut Node, handler: &str, own: bool) -> Result<(String, String)> {
    let name = format!("{handler}-{own}");
    let sandbox = match own {
        true => userns::sandbox(node, &name, HOST_ID),
        false => requests::sandbox(node, &name),
    };
    let mut container = requests::idle("c");
    container.image = Some(requests::image(WITH_SETUID));
    container.envs = vec![v1::KeyValue { key: "PASSWORD".to_owned(), value: b"secret".to_vec() }];
    container.mounts = vec![v1::Mount {
        container_path: "/volume".into(),
        image: Some(requests::image(requests::BUSYBOX)),
        readonly: true,
        ..Default::default()
    }];
    node.pull(requests::BUSYBOX).await?;
    let (sandbox_id, id) = node.run_pod_on(handler, &sandbox, &container).await?;
    node.shell(&id, "cp /usr/bin/nnp /nnp && chmod 4755 /nnp && test -e /volume/bin/busybox").await?;
    Ok((sandbox_id, id))
}

/// A handler of kind `oci`, beside the usual ones.
fn options() -> Options {
    let configuration =
        format!("[runtime.handlers.own]\npath = \"{}\"\nsandbox = \"oci\"\n", tools::crun().display());
    Options { configuration, ..Options::default() }
}

const PODS: [(&str, bool); 5] =
    [("crun", false), ("runc", false), ("crun", true), ("runc", true), ("own", false)];

#[tokio::test]
async fn nobody_reaches_what_is_the_daemons() {
    need!(Runc);
    node::with(options(), async |node| {
        let mut pods = Vec::new();
        for (handler, own) in PODS {
            let (sandbox_id, id) = run_pod(node, handler, own)
                .await
                .with_context(|| format!("{handler}, users of its own: {own}"))?;
            // Its files are there as long as it runs.
            let mut other = node.runtime.clone();
            let cmd = ["sleep", "1000"].map(str::to_owned).to_vec();
            let request = v1::ExecSyncRequest { container_id: id.clone(), cmd, timeout: 0 };
            tokio::spawn(async move { other.exec_sync(request).await });
            let bundle = run_dir(node).join("pods").join(&sandbox_id).join("containers").join(&id);
            wait::until("the exec has its files", DEADLINE, async || {
                let running = fs::read_dir(bundle.join("exec"))?.flatten();
                ensure!(running.into_iter().any(|dir| dir.path().join("process.json").exists()));
                Ok(())
            })
            .await?;
            pods.push((sandbox_id, bundle, id));
        }
        check_closed(node, &pods.iter().map(|(id, ..)| id.as_str()).collect::<Vec<_>>())?;
        check_modes(node)?;
        check_processes(node)?;

        let rootfs = root_dir(node).join("images/rootfs");
        let mut programs = Vec::new();
        for (_, bundle, id) in &pods {
            programs.extend([bundle.join("rootfs/nnp"), rootfs.join(id).join("upper/nnp")]);
        }
        programs.extend(all_paths(node)?.into_iter().filter(|path| path.ends_with("diff/usr/bin/nnp")));
        assert_eq!(programs.len(), 2 * PODS.len() + 1, "{programs:?}");
        for program in programs {
            assert_ne!(
                fs::metadata(&program)?.mode() & 0o4001,
                0,
                "{}: for whoever gets there",
                program.display()
            );
            let denied = as_user(&program, NOBODY, NOBODY).output().unwrap_err();
            assert_eq!(denied.kind(), std::io::ErrorKind::PermissionDenied, "{}", program.display());
        }
        Ok(())
    })
    .await;
}

/// Opens what an earlier version left open.
fn open_up(node: &Node) -> Result<()> {
    let content = ["diff", "upper", "work", "rootfs", "images", "ns", "shm"];
    for path in all_paths(node)? {
        let inside = |top: &Path| {
            let below = path.strip_prefix(top).ok().and_then(Path::parent);
            below.is_some_and(|below| {
                below.components().any(|part| content.iter().any(|name| part.as_os_str() == *name))
            })
        };
        let of_bundle = path.starts_with(run_dir(node)) && inside(&run_dir(node));
        let of_layer =
            inside(&root_dir(node).join("images/layers")) || inside(&root_dir(node).join("images/rootfs"));
        let metadata = fs::symlink_metadata(&path)?;
        if of_bundle
            || of_layer
            || path.ends_with("shm")
            || metadata.file_type().is_symlink()
            || metadata.file_type().is_socket()
        {
            continue;
        }
        let mode = if metadata.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

#[tokio::test]
async fn a_node_of_an_earlier_version_is_closed_at_the_next_start() {
    need!(Runc);
    node::with(options(), async |node| {
        let mut pods = Vec::new();
        for (handler, own) in PODS {
            pods.push(run_pod(node, handler, own).await?);
        }
        node.stop().await?;
        open_up(node)?;
        let bundle = run_dir(node).join("pods").join(&pods[0].0).join("containers").join(&pods[0].1);
        let config = bundle.join("config.json");
        let (_, open) = reached(&[config.clone(), root_dir(node).join("images/layers")])?;
        assert_eq!(open.len(), 2, "it is as open as it was");
        assert!(as_user(bundle.join("rootfs/nnp"), NOBODY, NOBODY).output().is_ok());
        let rootfs = root_dir(node).join("images/rootfs").join(&pods[0].1);
        assert!(as_user(rootfs.join("upper/nnp"), NOBODY, NOBODY).output().is_ok());

        node.start_again().await?;
        for (sandbox_id, id) in &pods {
            let bundle = run_dir(node).join("pods").join(sandbox_id).join("containers").join(id);
            let upper = root_dir(node).join("images/rootfs").join(id).join("upper/nnp");
            for program in [bundle.join("rootfs/nnp"), upper] {
                assert!(as_user(&program, NOBODY, NOBODY).output().is_err(), "{}", program.display());
            }
            assert_eq!(fs::metadata(bundle.join("config.json"))?.mode() & 0o007, 0);
        }
        let mut tried = all_paths(node)?;
        let (seen, open) = reached(&tried)?;
        assert_eq!(open, BTreeSet::new());
        tried.retain(|path| seen.contains(path) && path.starts_with(root_dir(node)));
        assert_eq!(tried, [root_dir(node)], "of root_dir its own name and no more");
        // What ran runs on, and can be used and removed.
        for (_, id) in &pods {
            assert_eq!(node.shell(id, "echo alive").await?, "alive");
        }
        Ok(())
    })
    .await;
}

/// Our own directories and files with their modes; names that differ from node to node are left out.
fn modes(node: &Node) -> Result<BTreeSet<String>> {
    let plain = |part: &std::ffi::OsStr| {
        let name = part.to_string_lossy();
        let is_id = name.len() >= 12 && name.bytes().take(12).all(|byte| byte.is_ascii_hexdigit());
        if is_id { "ID".to_owned() } else { name.into_owned() }
    };
    let mut paths = all_paths(node)?;
    let extra = ["logs/umask", "missing", "missing/source", "run", "var", "var/lib"];
    paths.extend(extra.map(|path| node.prefix().join(path)));
    // On its way to another name.
    paths.retain(|path| path.extension().is_none_or(|extension| extension != "new"));
    let mut found = BTreeSet::new();
    for path in paths {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let path: PathBuf = path.strip_prefix(node.prefix())?.iter().map(plain).collect();
        if !metadata.file_type().is_symlink() {
            found.insert(format!("{:o} {}", metadata.mode() & 0o7777, path.display()));
        }
    }
    Ok(found)
}

#[tokio::test]
async fn modes_are_the_same_whatever_the_daemons_umask_is() {
    need!(Runc);
    let mut all = Vec::new();
    for umask in [None, Some("077"), Some("000")] {
        node::with(Options { umask, ..options() }, async |node| {
            node.pull(requests::BUSYBOX).await?;
            let mut sandbox = userns::sandbox(node, "umask", HOST_ID);
            let mut container = requests::idle("c");
            container.working_dir = "/made/for/it".to_owned();
            container.mounts = vec![v1::Mount {
                container_path: "/source".into(),
                host_path: node.prefix().join("missing/source").display().to_string(),
                ..Default::default()
            }];
            requests::security(&mut container).run_as_user = Some(v1::Int64Value { value: 1000 });
            for handler in ["crun", "runc"] {
                sandbox.metadata.get_or_insert_default().uid = handler.to_owned();
                let (_, id) = node.run_pod_on(handler, &sandbox, &container).await?;
                // None of the image's layers has an entry for its root.
                let seen =
                    "stat -c %a / /made /made/for /made/for/it /source; ls / /made/for/it >/dev/null; umask";
                assert_eq!(
                    node.shell(&id, seen).await?,
                    "755\n755\n755\n755\n755\n0022",
                    "{umask:?} {handler}"
                );
            }
            let mut sandbox = requests::sandbox(node, "umask");
            sandbox.linux.get_or_insert_default().security_context.get_or_insert_default().run_as_user =
                Some(v1::Int64Value { value: 1000 });
            node.run_sandbox(&sandbox, "own").await.context("a sandbox of another user")?;
            all.push(modes(node)?);
            Ok(())
        })
        .await;
    }
    for (index, modes) in all.iter().enumerate() {
        let differ: Vec<_> = all[0].symmetric_difference(modes).collect();
        assert!(differ.is_empty(), "{index}: {differ:#?}");
    }
}

#[tokio::test]
async fn the_socket_is_for_root_and_its_group() {
    need!();
    const GROUP: u32 = 4711;
    let configuration = format!("[grpc]\nsocket_group = \"{GROUP}\"\n");
    node::with(Options { configuration, ..Options::default() }, async |node| {
        node.pull(requests::BUSYBOX).await?;
        // The build's folder may be closed to others.
        let program = node.prefix().join("linkspan");
        fs::copy(tools::daemon(), &program)?;
        fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        let ask = |(uid, gid): (u32, u32), arguments: &[&str]| {
            as_user(&program, uid, gid).args(arguments).arg("--socket").arg(node.socket()).output()
        };
        for user in [(0, 0), (NOBODY, GROUP)] {
            for arguments in [&["status"][..], &["image", "ls"], &["image", "pull", requests::BUSYBOX]] {
                let output = ask(user, arguments)?;
                assert!(output.status.success(), "{user:?} {arguments:?}: {output:?}");
            }
        }
        assert!(!ask((NOBODY, NOBODY), &["status"])?.status.success());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_hook_inside_a_pod_with_users_of_its_own_reads_the_spec() {
    need!(Runc);
    node::run(async |node| {
        let dir = node.prefix().join("etc/containers/oci/hooks.d");
        fs::create_dir_all(&dir)?;
        // As hooks of GPUs do: the state on standard input names the bundle.
        let script = "bundle=$(sed -n 's/.*\"bundle\" *: *\"\\([^\"]*\\)\".*/\\1/p'); grep -q ociVersion \"$bundle/config.json\"";
        let hook = serde_json::json!({
            "version": "1.0.0",
            "hook": { "path": "/bin/sh", "args": ["sh", "-c", script] },
            "when": { "always": true },
            "stages": ["createContainer"],
        });
        fs::write(dir.join("reads.json"), hook.to_string())?;
        for handler in ["crun", "runc"] {
            let sandbox = userns::sandbox(node, handler, HOST_ID);
            let (_, id) = node.run_pod_on(handler, &sandbox, &requests::idle("c")).await.context(handler)?;
            assert_eq!(node.shell(&id, "echo alive").await?, "alive");
        }
        Ok(())
    })
    .await;
}
