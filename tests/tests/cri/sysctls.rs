//! Sysctls of pods: those of the pod's own namespaces are set, all others refused by name.

use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests};
use tonic::Code;

fn set(config: &mut v1::PodSandboxConfig, sysctls: &[(&str, &str)]) {
    let own = sysctls.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    config.linux.get_or_insert_default().sysctls = own.collect();
}

fn namespaces(config: &mut v1::PodSandboxConfig) -> &mut v1::NamespaceOption {
    let linux = config.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default()
}

/// As `sysctl` inside the pod has it, with single spaces.
async fn value(node: &mut Node, id: &str, name: &str) -> anyhow::Result<String> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let text = node.output(id, &["cat", &path]).await?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn safe_and_unsafe_sysctls_of_the_pods_namespaces_are_set() {
    need!();
    node::run(async |node| {
        // The first three are safe in Kubernetes' words; which unsafe ones a pod may have is the kubelet's to say.
        let wanted = [
            ("kernel.shm_rmid_forced", "1"),
            ("net.ipv4.ip_local_port_range", "2000 3000"),
            ("net.ipv4.ping_group_range", "0 100"),
            ("net.core.somaxconn", "777"),
            ("net/ipv4/conf/eth0/rp_filter", "2"),
            ("kernel.msgmax", "65536"),
            ("kernel.sem", "250 32000 32 129"),
            ("fs.mqueue.msg_max", "50"),
        ];
        let mut sandbox = requests::sandbox(node, "sysctls");
        set(&mut sandbox, &wanted);
        let (_, id) = node.run_pod(&sandbox, &requests::idle("c")).await?;
        for (name, expected) in wanted {
            assert_eq!(value(node, &id, name).await?, expected, "{name}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_sysctl_that_would_change_the_host_is_refused_by_its_name() {
    need!();
    node::run(async |node| {
        type Change = dyn Fn(&mut v1::NamespaceOption);
        const HOST: v1::NamespaceMode = v1::NamespaceMode::Node;
        let cases: [(&str, &Change, &str); 5] = [
            ("net.core.somaxconn", &|options| options.network = HOST.into(), "needs a network namespace"),
            ("kernel.msgmax", &|options| options.ipc = HOST.into(), "needs an IPC namespace"),
            ("fs.mqueue.msg_max", &|options| options.ipc = HOST.into(), "needs an IPC namespace"),
            ("vm.swappiness", &|_| {}, "is not kept per namespace"),
            ("kernel.hostname", &|_| {}, "conflicts with the pod's hostname"),
        ];
        for (name, change, reason) in cases {
            let mut sandbox = requests::sandbox(node, "host");
            change(namespaces(&mut sandbox));
            set(&mut sandbox, &[(name, "1")]);
            let status = node.run_sandbox(&sandbox, "").await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{name}");
            let message = status.message();
            assert!(message.contains(&format!("config.linux.sysctls[{name:?}]")), "{message}");
            assert!(message.contains(reason), "{message}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn configured_sysctls_are_the_pods_unless_it_says_otherwise() {
    need!();
    let configuration = "[container]\ndefault_sysctls = { \"net.core.somaxconn\" = \"321\", \
                         \"kernel.msgmax\" = \"70000\", \"net.ipv4.ip_unprivileged_port_start\" = \"0\" }\n";
    let options = Options { configuration: configuration.to_owned(), ..Options::default() };
    node::with(options, async |node| {
        let mut sandbox = requests::sandbox(node, "defaults");
        set(&mut sandbox, &[("kernel.msgmax", "80000")]);
        let (_, id) = node.run_pod(&sandbox, &requests::idle("c")).await?;
        assert_eq!(value(node, &id, "net.core.somaxconn").await?, "321");
        assert_eq!(value(node, &id, "kernel.msgmax").await?, "80000");
        // A pod of the host's network is left without those that it cannot have.
        let mut sandbox = requests::sandbox(node, "host");
        namespaces(&mut sandbox).network = v1::NamespaceMode::Node.into();
        let mut config = requests::idle("c");
        let security = requests::security(&mut config);
        security.namespace_options.get_or_insert_default().network = v1::NamespaceMode::Node.into();
        let (_, id) = node.run_pod(&sandbox, &config).await?;
        assert_eq!(value(node, &id, "kernel.msgmax").await?, "70000");
        assert_ne!(value(node, &id, "net.core.somaxconn").await?, "321");
        Ok(())
    })
    .await;
}
