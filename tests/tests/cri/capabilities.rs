//! Capabilities beyond adding and dropping: those of users who are not root, and those that nobody can give.

use std::fs;

use linkspan_cri_api::v1;
use linkspan_tests::needs::say_skipped;
use linkspan_tests::{need, node, requests};
use tonic::Code;

fn mask(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

#[tokio::test]
async fn an_ambient_capability_is_a_users_without_being_root() {
    need!(Runc);
    node::run(async |node| {
        const NET_BIND_SERVICE: u64 = 1 << 10;
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, &format!("ambient-{handler}"));
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = requests::container("c", &["cat", "/proc/self/status"]);
            let security = requests::security(&mut config);
            security.run_as_user = Some(v1::Int64Value { value: 1000 });
            security.no_new_privs = true;
            security.capabilities = Some(v1::Capability {
                drop_capabilities: vec!["ALL".into()],
                add_ambient_capabilities: vec!["NET_BIND_SERVICE".into()],
                ..Default::default()
            });
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            let status = node.logged(&id).await?;
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
                assert_eq!(mask(&status, set), NET_BIND_SERVICE, "{handler} {set}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_capability_that_the_daemon_lacks_is_refused_by_its_name() {
    need!();
    let bounding = mask(&fs::read_to_string("/proc/self/status").unwrap(), "CapBnd:");
    if bounding & (1 << 24) != 0 {
        say_skipped(
            "a_capability_that_the_daemon_lacks_is_refused_by_its_name",
            "a host that lacks CAP_SYS_RESOURCE",
        );
        return;
    }
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "lacking");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let mut config = requests::idle("c");
        requests::security(&mut config).capabilities = Some(v1::Capability {
            add_capabilities: vec!["NET_ADMIN".into(), "SYS_RESOURCE".into()],
            ..Default::default()
        });
        let status = node.create(&sandbox_id, &config, &sandbox).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let expected = "config.linux.security_context.capabilities: CAP_SYS_RESOURCE cannot be given";
        assert!(status.message().contains(expected), "{}", status.message());
        Ok(())
    })
    .await;
}
