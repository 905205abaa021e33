//! Users, capabilities, profiles, and what containers may not see.

use std::fs;

use linkspan_cri_api::v1;
use linkspan_tests::{need, node, requests};

fn value(value: i64) -> Option<v1::Int64Value> {
    Some(v1::Int64Value { value })
}

#[tokio::test]
async fn users_are_found_by_number_and_by_name_with_their_groups() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "users");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        type Change = dyn Fn(&mut v1::LinuxContainerSecurityContext);
        let cases: [(&str, &Change, &str); 6] = [
            ("root", &|_| {}, "0 0 0"),
            ("number", &|c| c.run_as_user = value(4321), "4321 0 0"),
            ("name", &|c| c.run_as_username = "www-data".into(), "33 33 33"),
            ("member", &|c| c.run_as_user = value(1000), "1000 1000 1000 50000"),
            (
                "group",
                &|c| {
                    c.run_as_user = value(1000);
                    c.run_as_group = value(77);
                    c.supplemental_groups = vec![1234, 5678];
                },
                "1000 77 77 1234 5678 50000",
            ),
            (
                "strict",
                &|c| {
                    c.run_as_user = value(1000);
                    c.supplemental_groups = vec![1234];
                    c.supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict.into();
                },
                "1000 1000 1000 1234",
            ),
        ];
        for (name, change, expected) in cases {
            let mut config = requests::container(name, &["sh", "-c", "echo $(id -u) $(id -g) $(id -G)"]);
            change(requests::security(&mut config));
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let told = node.logged(&id).await?;
            let mut numbers: Vec<u32> = told.split_whitespace().map(|word| word.parse().unwrap()).collect();
            numbers[2..].sort();
            let told = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
            assert_eq!(told, expected, "{name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn capabilities_are_added_and_dropped() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "capabilities");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let cases: [(&str, &[&str], &[&str]); 4] = [
            ("default", &[], &[]),
            ("none", &[], &["ALL"]),
            ("one", &["NET_ADMIN"], &["ALL"]),
            ("all", &["ALL"], &[]),
        ];
        let mut told = Vec::new();
        for (name, add, drop) in cases {
            let mut config =
                requests::container(name, &["sh", "-c", "sed -n 's/CapEff:.//p' /proc/self/status"]);
            let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect();
            requests::security(&mut config).capabilities = Some(v1::Capability {
                add_capabilities: words(add),
                drop_capabilities: words(drop),
                ..Default::default()
            });
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            told.push(u64::from_str_radix(node.logged(&id).await?.trim(), 16)?);
        }
        let bounding = fs::read_to_string("/proc/self/status")?;
        let bounding = bounding.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).unwrap();
        assert!(told[0] & (1 << 10) != 0 && told[0] & (1 << 21) == 0, "defaults: {:x}", told[0]);
        assert_eq!(told[1], 0);
        assert_eq!(told[2], 1 << 12);
        assert_eq!(told[3], u64::from_str_radix(bounding, 16)?, "ALL is what this host has");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_set_user_id_program_gains_nothing_where_new_privileges_are_denied() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "privileges");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        for (denied, expected) in [(false, "Effective uid: 0\n"), (true, "Effective uid: 1000\n")] {
            let mut config = requests::container(if denied { "denied" } else { "allowed" }, &[]);
            config.image = Some(requests::image("registry.k8s.io/e2e-test-images/nonewprivs:1.3"));
            let security = requests::security(&mut config);
            security.run_as_user = Some(v1::Int64Value { value: 1000 });
            security.no_new_privs = denied;
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(node.logged(&id).await?, expected);
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn only_a_privileged_container_may_change_the_host() {
    need!();
    node::run(async |node| {
        let mut sandbox = requests::sandbox(node, "privileged");
        sandbox.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
        let (sandbox_id, plain) = node.run_pod(&sandbox, &requests::idle("plain")).await?;
        let mut config = requests::idle("privileged");
        requests::security(&mut config).privileged = true;
        let privileged = node.run_container(&sandbox_id, &config, &sandbox).await?;
        let line = "mkdir /mnt && mount -t tmpfs none /mnt && test -e /dev/kmsg";
        assert_eq!(node.exec(&privileged, &["sh", "-c", line]).await?.exit_code, 0);
        assert_ne!(node.exec(&plain, &["sh", "-c", line]).await?.exit_code, 0);
        let sysfs = "awk '$2 == \"/sys\" { print substr($4, 1, 2) }' /proc/mounts";
        assert_eq!(node.shell(&plain, sysfs).await?, "ro");
        assert_eq!(node.shell(&privileged, sysfs).await?, "rw");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn paths_are_masked_and_made_read_only() {
    need!();
    node::run(async |node| {
        let mut config = requests::idle("c");
        let security = requests::security(&mut config);
        security.masked_paths = vec!["/bin/ls".into(), "/proc/keys".into()];
        security.readonly_paths = vec!["/tmp".into()];
        let (sandbox_id, id) = node.run_pod(&requests::sandbox(node, "masked"), &config).await?;
        assert_ne!(node.exec(&id, &["sh", "-c", "/bin/ls /"]).await?.exit_code, 0);
        assert_eq!(node.shell(&id, "cat /proc/keys | wc -c").await?, "0");
        assert_ne!(node.exec(&id, &["touch", "/tmp/x"]).await?.exit_code, 0);
        node.shell(&id, "touch /home/x").await?;

        let mut config = requests::idle("read-only");
        requests::security(&mut config).readonly_rootfs = true;
        let sandbox = requests::sandbox(node, "masked");
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_ne!(node.exec(&id, &["touch", "/home/x"]).await?.exit_code, 0);
        node.shell(&id, "echo x > /dev/shm/x").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn seccomp_profiles_filter_calls() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "seccomp");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let profile = node.prefix().join("no-mkdir.json");
        fs::write(
            &profile,
            r#"{ "defaultAction": "SCMP_ACT_ALLOW",
                 "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }] }"#,
        )?;
        use v1::security_profile::ProfileType;
        for (name, kind, path, expected) in [
            ("open", ProfileType::Unconfined, String::new(), "made 0"),
            ("default", ProfileType::RuntimeDefault, String::new(), "made 2"),
            ("file", ProfileType::Localhost, profile.display().to_string(), "2"),
        ] {
            let line = "mkdir /tmp/folder && echo made; grep Seccomp: /proc/self/status | tr -dc 0-9";
            let mut config = requests::container(name, &["sh", "-c", line]);
            requests::security(&mut config).seccomp = requests::profile(kind, &path);
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let lines = {
                node.exited(&id).await?;
                node.log_lines(&id, |lines| lines.iter().any(|line| line.text.len() == 1)).await?
            };
            let said: Vec<&str> =
                lines.iter().filter(|line| line.stream == "stdout").map(|line| line.text.as_str()).collect();
            assert_eq!(said.join(" "), expected, "{name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn devices_are_given_with_their_permissions() {
    need!();
    node::run(async |node| {
        let mut config = requests::idle("c");
        config.devices = vec![v1::Device {
            container_path: "/dev/numbers".into(),
            host_path: "/dev/zero".into(),
            permissions: "r".into(),
        }];
        let (_, id) = node.run_pod(&requests::sandbox(node, "devices"), &config).await?;
        assert_eq!(node.shell(&id, "head -c 3 /dev/numbers | od -An -tx1 | tr -d ' '").await?, "000000");
        assert_ne!(
            node.exec(&id, &["sh", "-c", "mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg"]).await?.exit_code,
            0
        );
        Ok(())
    })
    .await;
}
