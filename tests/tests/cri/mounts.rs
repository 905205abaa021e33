//! Host paths in containers: what passes between the two, what a mount may do, and what is refused.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use linkspan_cri_api::v1;
use linkspan_tests::host_mount::HostMount;
use linkspan_tests::node::Options;
use linkspan_tests::{need, node, requests, tools};
use tonic::Code;

const HANDLERS: [&str; 2] = ["crun", "runc"];

fn mount(from: &Path, to: &str) -> v1::Mount {
    v1::Mount { host_path: from.display().to_string(), container_path: to.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn mounts_made_later_pass_between_host_and_container_as_asked() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let host = HostMount::tmpfs(&node.prefix().join("host"))?.propagation("shared")?;
            for name in ["late", "early", "inside"] {
                fs::create_dir(host.path().join(name))?;
            }
            let mut sandbox = requests::sandbox(node, handler);
            sandbox.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let ways = [
                ("/private", v1::MountPropagation::PropagationPrivate, "no", "no"),
                ("/slave", v1::MountPropagation::PropagationHostToContainer, "yes", "no"),
                ("/shared", v1::MountPropagation::PropagationBidirectional, "yes", "yes"),
            ];
            for (path, propagation, seen_inside, seen_outside) in ways {
                let name = path.trim_start_matches('/');
                let mut config = requests::idle(name);
                requests::security(&mut config).privileged = true;
                config.mounts =
                    vec![v1::Mount { propagation: propagation.into(), ..mount(host.path(), path) }];
                let early = HostMount::tmpfs(&host.path().join("early"))?;
                fs::write(early.path().join("file"), "")?;
                let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
                let told = node.container_status(&id).await?.mounts;
                assert_eq!(told[0].propagation(), propagation);
                node.shell(&id, &format!("test -e {path}/early/file")).await?;

                let late = HostMount::tmpfs(&host.path().join("late"))?;
                fs::write(late.path().join("file"), "")?;
                let line = format!("test -e {path}/late/file && echo yes || echo no");
                assert_eq!(node.shell(&id, &line).await?, seen_inside, "{handler} {name}");

                node.shell(&id, &format!("mount -t tmpfs none {path}/inside && touch {path}/inside/file"))
                    .await?;
                let seen = if host.path().join("inside/file").exists() { "yes" } else { "no" };
                assert_eq!(seen, seen_outside, "{handler} {name}");
                node.shell(&id, &format!("umount {path}/inside")).await?;
                node.remove_container(&id).await?;
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn propagation_that_the_source_cannot_give_is_refused() {
    need!();
    node::run(async |node| {
        let host = HostMount::tmpfs(&node.prefix().join("host"))?;
        let sandbox = requests::sandbox(node, "refused");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        for (name, propagation) in [
            ("slave", v1::MountPropagation::PropagationHostToContainer),
            ("shared", v1::MountPropagation::PropagationBidirectional),
        ] {
            let mut config = requests::idle(name);
            config.mounts = vec![v1::Mount { propagation: propagation.into(), ..mount(host.path(), "/m") }];
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().contains("config.mounts[0].propagation"), "{refused:?}");
            assert!(refused.message().contains("shared"), "it says what would do: {refused:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn options_forbid_programs_devices_and_other_users_rights() {
    need!(Runc);
    node::run(async |node| {
        // The folder of the tests may itself be mounted without devices.
        let host = HostMount::tmpfs(&node.prefix().join("host"))?;
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let with = |path: &str, options: &[&str]| v1::Mount {
                mount_options: options.iter().map(ToString::to_string).collect(),
                ..mount(host.path(), path)
            };
            let mut config = requests::idle("c");
            // Its /usr/bin/nnp tells as whom it runs.
            config.image = Some(requests::image("registry.k8s.io/e2e-test-images/nonewprivs:1.3"));
            config.mounts = vec![
                with("/plain", &[]),
                with("/strict", &["noexec", "nosuid", "nodev", "noatime"]),
                v1::Mount { readonly: true, ..with("/ro", &["ro", "nosuid"]) },
            ];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let program = "cp /usr/bin/nnp /plain/nnp && chmod 4755 /plain/nnp";
            node.shell(&id, program).await?;
            node.shell(&id, "rm -f /plain/null && mknod /plain/null c 1 3 && chmod 666 /plain/null").await?;
            let checks = [
                ("echo > /plain/null", true),
                ("echo > /strict/null", false),
                ("/plain/nnp", true),
                ("/strict/nnp", false),
                ("/ro/nnp", true),
                ("touch /ro/x", false),
            ];
            for (line, works) in checks {
                let said = node.exec(&id, &["sh", "-c", line]).await?;
                assert_eq!(said.exit_code == 0, works, "{handler}: {line}: {said:?}");
            }
            for (path, user) in [("plain", "0"), ("ro", "65534")] {
                let line = format!("su -s /bin/sh nobody -c /{path}/nnp");
                assert_eq!(
                    node.shell(&id, &line).await?,
                    format!("Effective uid: {user}"),
                    "{handler} {path}"
                );
            }
            let told = node.container_status(&id).await?.mounts;
            assert_eq!(told[1].mount_options, ["noexec", "nosuid", "nodev", "noatime"]);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn options_that_contradict_or_are_unknown_are_refused() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "refused");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        for (index, options) in
            [&["exec", "noexec"][..], &["ro"], &["size=1m"], &["remount"]].iter().enumerate()
        {
            let mut config = requests::idle(&format!("c{index}"));
            config.mounts = vec![v1::Mount {
                mount_options: options.iter().map(ToString::to_string).collect(),
                ..mount(Path::new("/srv"), "/m")
            }];
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().contains("config.mounts[0].mount_options"), "{refused:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_cannot_make_mounts_read_only_throughout_says_so() {
    need!();
    let folder = tempfile::tempdir().unwrap();
    let old = tools::crun_without_features(folder.path()).unwrap();
    let options = Options {
        runtimes: vec![("old".to_owned(), old), ("crun".to_owned(), tools::crun())],
        ..Options::default()
    };
    node::with(options, async |node| {
        let handlers = node.runtime.status(v1::StatusRequest::default()).await?.into_inner().runtime_handlers;
        for (name, able) in [("old", false), ("", false), ("crun", true)] {
            let handler = handlers.iter().find(|handler| handler.name == name).unwrap();
            let features = handler.features.unwrap_or_default();
            assert_eq!(features.recursive_read_only_mounts, able, "{name:?}");
        }
        let sandbox = requests::sandbox(node, "old");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let mut config = requests::idle("c");
        let asked = v1::Mount { readonly: true, recursive_read_only: true, ..mount(Path::new("/srv"), "/m") };
        config.mounts = vec![asked.clone()];
        let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
        // k8s.io/cri-api pkg/errors.
        assert!(refused.message().starts_with("RROUnsupported: "), "{refused:?}");
        assert!(refused.message().contains("recursive_read_only"), "{refused:?}");
        for change in [
            v1::Mount { readonly: false, ..asked.clone() },
            v1::Mount { propagation: v1::MountPropagation::PropagationHostToContainer.into(), ..asked },
        ] {
            config.mounts = vec![change];
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            assert!(refused.message().contains("config.mounts[0].recursive_read_only"), "{refused:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn links_of_the_host_are_followed_and_those_of_the_image_stay_inside() {
    need!(Runc);
    node::run(async |node| {
        let host = node.prefix().join("host");
        fs::create_dir_all(host.join("real/deeper"))?;
        fs::write(host.join("real/deeper/file"), "found")?;
        symlink("real", host.join("link"))?;
        symlink("nowhere", host.join("dangling"))?;
        node.pull(requests::BUSYBOX).await?;
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = requests::idle("c");
            config.image = Some(requests::image("registry.linkspan.test/odd:gzip"));
            config.mounts = vec![
                mount(&host.join("link/deeper"), "/m"),
                // In the image, this is a link that leads to its own /removed.
                mount(&host.join("link"), "/types/folder-to-link"),
            ];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(node.shell(&id, "cat /m/file /removed/deeper/file").await?, "foundfound", "{handler}");
            let told = node.container_status(&id).await?.mounts;
            assert_eq!(told[0].host_path, host.join("real/deeper").display().to_string());
            let mut config = requests::idle("dangling");
            config.mounts = vec![mount(&host.join("dangling"), "/m")];
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            assert!(refused.message().contains("config.mounts[0].host_path"), "{refused:?}");
        }
        assert!(!Path::new("/removed").exists(), "nothing was made on the host");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn proc_is_masked_by_the_lists_of_the_request_and_by_nothing_else() {
    need!(Runc);
    node::run(async |node| {
        for handler in HANDLERS {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            // `procMount: Unmasked`: both lists are empty.
            let id = node.run_container(&sandbox_id, &requests::idle("unmasked"), &sandbox).await?;
            let below = "awk '$2 ~ \"^/proc/.\"' /proc/mounts | wc -l";
            assert_eq!(node.shell(&id, below).await?, "0", "{handler}");
            assert_ne!(node.shell(&id, "cat /proc/interrupts | wc -c").await?, "0", "{handler}");
            let mut config = requests::idle("masked");
            let security = requests::security(&mut config);
            security.masked_paths = vec!["/proc/interrupts".into(), "/proc/not-there".into()];
            security.readonly_paths = vec!["/proc/sys".into(), "/proc/not-there-either".into()];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(node.shell(&id, below).await?, "2", "{handler}");
            assert_eq!(node.shell(&id, "cat /proc/interrupts | wc -c").await?, "0", "{handler}");
        }
        Ok(())
    })
    .await;
}
