//! Profiles of Linux security modules: what is asked for is had or refused.

use std::fs;

use linkspan_cri_api::v1;
use linkspan_cri_api::v1::security_profile::ProfileType;
use linkspan_tests::requests::profile;
use linkspan_tests::{need, needs, node, requests};
use tonic::Code;

const FIELD: &str = "config.linux.security_context.apparmor";

fn has_apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|enabled| enabled.starts_with('Y'))
}

#[tokio::test]
#[allow(deprecated)] // Old clients still send `apparmor_profile`.
async fn an_apparmor_profile_that_is_not_there_is_refused_at_create() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "apparmor");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        type Change = fn(&mut v1::LinuxContainerSecurityContext);
        let changes: [Change; 4] = [
            |security| security.apparmor = profile(ProfileType::Localhost, "no-such-profile"),
            |security| security.apparmor_profile = "localhost/no-such-profile".into(),
            |security| security.apparmor = profile(ProfileType::Localhost, "localhost/no-such-profile"),
            |security| security.apparmor = profile(ProfileType::Localhost, "/usr/bin/no-such-program"),
        ];
        for change in changes {
            let mut config = requests::idle("c");
            change(requests::security(&mut config));
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().contains(FIELD), "{refused:?}");
            let why = if has_apparmor() { "is not loaded" } else { "kernel has no AppArmor" };
            assert!(refused.message().contains(why), "{refused:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn without_apparmor_the_default_and_no_profile_are_the_same() {
    need!();
    if has_apparmor() {
        needs::say_skipped(
            "profiles::without_apparmor_the_default_and_no_profile_are_the_same",
            "AppArmor is on",
        );
        return;
    }
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "apparmor");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        for (name, kind) in
            [("default", ProfileType::RuntimeDefault), ("unconfined", ProfileType::Unconfined)]
        {
            let mut config = requests::container(name, &["true"]);
            requests::security(&mut config).apparmor = profile(kind, "");
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(node.exited(&id).await?.exit_code, 0);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_default_apparmor_profile_confines_whom_capabilities_do_not() {
    need!(Runc);
    if !has_apparmor() {
        let test = "profiles::the_default_apparmor_profile_confines_whom_capabilities_do_not";
        needs::say_skipped(test, "this kernel has no AppArmor");
        return;
    }
    node::run(async |node| {
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, handler);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            for (name, kind, confined) in [
                ("default", ProfileType::RuntimeDefault, true),
                ("unconfined", ProfileType::Unconfined, false),
            ] {
                let mut config = requests::idle(name);
                let security = requests::security(&mut config);
                security.apparmor = profile(kind, "");
                security.capabilities =
                    Some(v1::Capability { add_capabilities: vec!["SYS_ADMIN".into()], ..Default::default() });
                let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
                let current = node.shell(&id, "cat /proc/self/attr/current").await?;
                assert_eq!(current == "linkspan-default (enforce)", confined, "{handler} {name}: {current}");
                let mounted = node.exec(&id, &["sh", "-c", "mkdir /m && mount -t tmpfs none /m"]).await?;
                assert_eq!(mounted.exit_code != 0, confined, "{handler} {name}: {mounted:?}");
                assert_eq!(
                    mounted.stderr.contains("ermission denied"),
                    confined,
                    "{handler} {name}: {mounted:?}"
                );
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_default_seccomp_profile_follows_the_capabilities() {
    need!(Runc);
    node::run(async |node| {
        for handler in ["crun", "runc"] {
            let mut sandbox = requests::sandbox(node, handler);
            sandbox.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            type Change = fn(&mut v1::LinuxContainerSecurityContext);
            let cases: [(&str, Change, &str); 3] = [
                ("plain", |_| {}, "2 EPERM"),
                (
                    "admin",
                    |c| c.capabilities.get_or_insert_default().add_capabilities = vec!["SYS_ADMIN".into()],
                    "2 done",
                ),
                // Whatever it asks for.
                ("privileged", |c| c.privileged = true, "0 done"),
            ];
            for (name, change, expected) in cases {
                let line = "echo $(grep Seccomp: /proc/self/status | tr -dc 0-9) $(probe namespace /)";
                let mut config = requests::container(name, &["sh", "-c", line]);
                config.image = Some(requests::image("registry.linkspan.test/probe"));
                let security = requests::security(&mut config);
                security.seccomp = profile(ProfileType::RuntimeDefault, "");
                // Its default profile has an opinion of its own.
                security.apparmor = profile(ProfileType::Unconfined, "");
                change(security);
                let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
                assert_eq!(node.logged(&id).await?.trim(), expected, "{handler} {name}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_seccomp_profile_that_cannot_be_read_is_refused_at_create() {
    need!();
    node::run(async |node| {
        let broken = node.prefix().join("broken.json");
        fs::write(&broken, r#"{ "defaultAction": "SCMP_ACT_SHRUG" }"#)?;
        let sandbox = requests::sandbox(node, "seccomp");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        for path in [node.prefix().join("missing.json"), broken] {
            let mut config = requests::idle("c");
            let path = path.display().to_string();
            requests::security(&mut config).seccomp = profile(ProfileType::Localhost, &path);
            let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().contains("security_context.seccomp.localhost_ref"), "{refused:?}");
            assert!(refused.message().contains(&path), "{refused:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn selinux_labels_are_had_or_left_out_but_never_malformed() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "selinux");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let mut config = requests::container("c", &["true"]);
        let security = requests::security(&mut config);
        let level = "s0:c1,c2".to_owned();
        security.selinux_options = Some(v1::SeLinuxOption { level, ..Default::default() });
        let has_selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_eq!(node.exited(&id).await?.exit_code, 0);
        let label = node.container_info(&id).await?["runtimeSpec"]["process"]["selinuxLabel"].clone();
        match has_selinux {
            true => assert!(label.as_str().is_some_and(|label| label.ends_with(":s0:c1,c2")), "{label}"),
            false => assert!(label.is_null(), "{label}"),
        }
        let mut config = requests::idle("malformed");
        let level = "s0\",x=\"".to_owned();
        requests::security(&mut config).selinux_options =
            Some(v1::SeLinuxOption { level, ..Default::default() });
        let refused = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
        assert!(refused.message().contains("selinux_options.level"), "{refused:?}");
        Ok(())
    })
    .await;
}
