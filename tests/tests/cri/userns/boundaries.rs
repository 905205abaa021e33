//! What root of a pod's own users cannot do, privileged or not, and what mounts of its volumes keep.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use linkspan_cri_api::v1;
use linkspan_cri_api::v1::security_profile::ProfileType;
use linkspan_tests::{need, node, requests};

use super::{HANDLERS, HOST_ID, LENGTH, mapping, run_pod, sandbox};

/// A tmpfs of the host with restrictions; gone with this value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn mount(path: &Path) -> Result<Tmpfs> {
        fs::create_dir_all(path)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "nosuid,nodev,noexec,mode=755", "tmpfs"]).arg(path);
        ensure!(mount.status()?.success(), "mounting a tmpfs");
        Ok(Tmpfs(path.to_owned()))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn volume(container_path: &str, host_path: &Path, mapped: bool) -> v1::Mount {
    let mapping = if mapped { mapping(HOST_ID) } else { Vec::new() };
    v1::Mount {
        container_path: container_path.into(),
        host_path: host_path.display().to_string(),
        uid_mappings: mapping.clone(),
        gid_mappings: mapping,
        ..Default::default()
    }
}

#[tokio::test]
async fn nothing_is_written_through_a_mapped_volume_that_is_not_the_pods() {
    need!(Runc);
    node::run(async |node| {
        let dir = node.prefix().join("volume");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("beyond"), "kept")?;
        // No user of the pod is this one.
        chown(dir.join("beyond"), Some(LENGTH + 5), Some(LENGTH + 5))?;
        fs::write(dir.join("roots"), "kept")?;
        for handler in HANDLERS {
            let config = sandbox(node, handler, HOST_ID);
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let mut container = requests::idle("c");
            container.mounts = vec![
                volume("/mapped", &dir, true),
                v1::Mount { readonly: true, ..volume("/read-only", &dir, true) },
                volume("/plain", &dir, false),
            ];
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            assert_eq!(node.shell(&id, "stat -c %u:%g /mapped/beyond").await?, "65534:65534", "{handler}");
            for refused in [
                "echo x >>/mapped/beyond",
                "chown 0 /mapped/beyond",
                "chmod 777 /mapped/beyond",
                "echo x >>/read-only/roots",
                "mount -o remount,bind,rw /read-only",
                "echo x >>/plain/roots",
                "chmod 777 /plain/roots",
                "touch /plain/new",
            ] {
                assert_ne!(
                    node.exec(&id, &["sh", "-c", refused]).await?.exit_code,
                    0,
                    "{handler}: {refused}"
                );
            }
            for name in ["beyond", "roots"] {
                assert_eq!(fs::read_to_string(dir.join(name))?, "kept", "{handler}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn volumes_from_restricted_mounts_can_be_had_and_stay_restricted() {
    need!(Runc);
    node::run(async |node| {
        let tmpfs = Tmpfs::mount(&node.prefix().join("restricted"))?;
        fs::create_dir(tmpfs.0.join("volume"))?;
        fs::set_permissions(tmpfs.0.join("volume"), fs::Permissions::from_mode(0o777))?;
        for handler in HANDLERS {
            let config = sandbox(node, handler, HOST_ID);
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let mut container = requests::idle("c");
            let dir = tmpfs.0.join("volume");
            container.mounts = vec![
                volume("/mapped", &dir, true),
                volume("/plain", &dir, false),
                v1::Mount { readonly: true, ..volume("/read-only", &dir, false) },
            ];
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            node.shell(&id, "echo x >/mapped/x && echo x >/plain/y && cp /bin/busybox /mapped/").await?;
            for refused in [
                "/mapped/busybox true",
                "/plain/busybox true",
                "echo x >/read-only/x",
                "mount -o remount,bind,exec /mapped && /mapped/busybox true",
                "mount -o remount,bind,exec /plain && /plain/busybox true",
            ] {
                assert_ne!(
                    node.exec(&id, &["sh", "-c", refused]).await?.exit_code,
                    0,
                    "{handler}: {refused}"
                );
            }
            node.remove_sandbox(&sandbox_id).await?;
        }
        drop(tmpfs);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_privileged_container_is_root_among_its_own_users_only() {
    need!(Runc);
    node::run(async |node| {
        let outside = node.prefix().join("outside");
        fs::create_dir(&outside)?;
        fs::write(outside.join("secret"), "secret")?;
        fs::set_permissions(outside.join("secret"), fs::Permissions::from_mode(0o600))?;
        for handler in HANDLERS {
            let mut config = sandbox(node, handler, HOST_ID);
            let linux = config.linux.get_or_insert_default();
            linux.security_context.get_or_insert_default().privileged = true;
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let mut container = requests::idle("c");
            requests::security(&mut container).privileged = true;
            container.mounts = vec![volume("/outside", &outside, false)];
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            node.shell(&id, "mkdir -p /mnt/t && mount -t tmpfs none /mnt/t && hostname another").await?;
            for refused in [
                "cat /outside/secret",
                "echo 1 >/proc/sys/kernel/sysrq",
                "mknod /tmp/mem c 1 1",
                "dmesg -c",
                "chmod 644 /outside/secret",
            ] {
                assert_ne!(
                    node.exec(&id, &["sh", "-c", refused]).await?.exit_code,
                    0,
                    "{handler}: {refused}"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn other_settings_of_security_hold_among_own_users() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let config = sandbox(node, handler, HOST_ID);
            let sandbox_id = node.run_sandbox(&config, handler).await.context("RunPodSandbox")?;
            let mut container = requests::idle("c");
            let security = requests::security(&mut container);
            security.readonly_rootfs = true;
            security.no_new_privs = true;
            security.run_as_user = Some(v1::Int64Value { value: 1000 });
            security.supplemental_groups = vec![4321];
            security.seccomp = requests::profile(ProfileType::RuntimeDefault, "");
            let id = node.run_container(&sandbox_id, &container, &config).await?;
            let told = "id -u; id -G | tr ' ' '\\n' | grep -x 4321; grep -E 'Seccomp:|NoNewPrivs:' /proc/self/status";
            assert_eq!(node.shell(&id, told).await?, "1000\n4321\nNoNewPrivs:\t1\nSeccomp:\t2", "{handler}");
            assert_ne!(node.exec(&id, &["touch", "/tmp/x"]).await?.exit_code, 0, "{handler}");
            let status = node.container_status(&id).await?;
            let user = status.user.and_then(|user| user.linux).context("a user")?;
            assert_eq!((user.uid, user.supplemental_groups.contains(&4321)), (1000, true), "as the pod counts");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_neighbour_is_out_of_reach() {
    need!();
    node::run(async |node| {
        let configs = [sandbox(node, "one", HOST_ID), sandbox(node, "two", HOST_ID + LENGTH)];
        let (_, one) = run_pod(node, "", &configs[0]).await?;
        let (_, two) = run_pod(node, "", &configs[1]).await?;
        let own = node.shell(&one, "readlink /proc/self/ns/user").await?;
        assert_ne!(own, node.shell(&two, "readlink /proc/self/ns/user").await?);
        // Their processes are not to be seen, let alone signalled.
        let pid = super::pid(node, &two).await?;
        assert_ne!(
            node.exec(&one, &["sh", "-c", &format!("kill -0 {pid} || ls /proc/{pid}")]).await?.exit_code,
            0
        );
        Ok(())
    })
    .await;
}
