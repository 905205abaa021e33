//! Devices of the host, and whose they are in a container.

use std::fs;

use linkspan_cri_api::v1;
use linkspan_tests::node::{Node, Options};
use linkspan_tests::{need, node, requests, tools};
use tonic::Code;

fn device(host_path: &str, container_path: &str, permissions: &str) -> v1::Device {
    v1::Device {
        host_path: host_path.to_owned(),
        container_path: container_path.to_owned(),
        permissions: permissions.to_owned(),
    }
}

fn privileged(sandbox: &mut v1::PodSandboxConfig) {
    sandbox.linux.as_mut().unwrap().security_context.as_mut().unwrap().privileged = true;
}

#[tokio::test]
async fn all_devices_of_a_directory_are_given() {
    need!();
    node::run(async |node| {
        let folder = node.prefix().join("devices");
        fs::create_dir_all(folder.join("more"))?;
        for (path, minor) in [("zero", "5"), ("more/null", "3")] {
            let made = std::process::Command::new("mknod")
                .arg(folder.join(path))
                .args(["c", "1", minor])
                .status()?;
            assert!(made.success());
        }
        let mut config = requests::idle("c");
        config.devices = vec![device(&folder.display().to_string(), "/dev/all", "rw")];
        let (_, id) = node.run_pod(&requests::sandbox(node, "directory"), &config).await?;
        assert_eq!(node.shell(&id, "head -c 2 /dev/all/zero | od -An -tx1 | tr -d ' '").await?, "0000");
        node.shell(&id, "echo x > /dev/all/more/null").await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_device_cgroup_lets_through_what_the_permissions_say() {
    need!(Runc);
    node::run(async |node| {
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, &format!("rules-{handler}"));
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = requests::idle("c");
            config.devices = vec![device("/dev/loop-control", "/dev/control", "w")];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            node.shell(&id, "true > /dev/control").await?;
            let read = node.exec(&id, &["sh", "-c", "true < /dev/control"]).await?;
            assert_ne!(read.exit_code, 0, "{handler}: {read:?}");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn two_devices_at_one_place_are_refused() {
    need!();
    node::run(async |node| {
        let mut sandbox = requests::sandbox(node, "twice");
        privileged(&mut sandbox);
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        let refused = async |node: &mut Node, config: &v1::ContainerConfig| {
            let status = node.create(&sandbox_id, config, &sandbox).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            status.message().to_owned()
        };
        let mut config = requests::idle("c");
        config.devices = vec![device("/dev/zero", "/dev/x", "rwm"), device("/dev/null", "/dev/x", "rwm")];
        let message = refused(node, &config).await;
        assert!(message.contains("config.devices[1].container_path"), "{message}");

        // A privileged container has the host's /dev/null there.
        requests::security(&mut config).privileged = true;
        config.devices = vec![device("/dev/zero", "/dev/null", "rwm")];
        let message = refused(node, &config).await;
        assert!(
            message.contains("config.devices[0].container_path") && message.contains("/dev/null"),
            "{message}"
        );
        config.devices = vec![device("/dev/null", "/dev/null", "rwm")];
        node.run_container(&sandbox_id, &config, &sandbox).await?;

        config.metadata.as_mut().unwrap().name = "missing".to_owned();
        config.devices = vec![device("/dev/not-there", "", "rwm")];
        let message = refused(node, &config).await;
        assert!(message.contains("config.devices[0].host_path"), "{message}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn devices_belong_to_the_user_of_the_security_context_if_configured() {
    need!();
    let options = Options {
        configuration: "[container]\ndevice_ownership_from_security_context = true\n".to_owned(),
        ..Options::default()
    };
    node::with(options, async |node| {
        let sandbox = requests::sandbox(node, "owned");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let mut config = requests::idle("user");
        config.devices = vec![device("/dev/zero", "/dev/mine", "rw")];
        requests::security(&mut config).run_as_user = Some(v1::Int64Value { value: 1234 });
        requests::security(&mut config).run_as_group = Some(v1::Int64Value { value: 5678 });
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_eq!(node.shell(&id, "stat -c '%u %g' /dev/mine").await?, "1234 5678");
        assert_eq!(node.shell(&id, "stat -c '%u %g' /dev/zero").await?, "0 0");

        let mut config = requests::idle("nobody");
        config.devices = vec![device("/dev/zero", "/dev/mine", "rw")];
        let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
        assert_eq!(node.shell(&id, "stat -c '%u %g' /dev/mine").await?, "0 0");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn configured_devices_are_in_every_container() {
    need!();
    let options = Options {
        configuration:
            "[container]\ndefault_devices = [\"/dev/zero:/dev/given:r\", \"/dev/null:/dev/other\"]\n"
                .to_owned(),
        ..Options::default()
    };
    node::with(options, async |node| {
        let mut config = requests::idle("c");
        config.devices = vec![device("/dev/zero", "/dev/other", "r")];
        let (_, id) = node.run_pod(&requests::sandbox(node, "given"), &config).await?;
        let read = async |node: &mut Node, path: &str| {
            node.shell(&id, &format!("head -c 2 {path} | od -An -tx1 | tr -d ' '")).await
        };
        assert_eq!(read(node, "/dev/given").await?, "0000");
        assert_eq!(read(node, "/dev/other").await?, "0000", "the request goes before the configuration");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_handler_may_keep_the_hosts_devices_from_privileged_containers() {
    need!();
    let crun = tools::crun();
    let configuration = format!(
        "[runtime]\ndefault = \"open\"\n[runtime.handlers.open]\npath = \"{0}\"\n\
         [runtime.handlers.closed]\npath = \"{0}\"\nprivileged_without_host_devices = true\n",
        crun.display()
    );
    let options = Options { runtimes: Vec::new(), configuration, ..Options::default() };
    node::with(options, async |node| {
        for (handler, expected) in [("open", "there"), ("closed", "")] {
            let mut sandbox = requests::sandbox(node, handler);
            privileged(&mut sandbox);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let mut config = requests::idle("c");
            requests::security(&mut config).privileged = true;
            config.devices = vec![device("/dev/zero", "/dev/asked", "r")];
            let id = node.run_container(&sandbox_id, &config, &sandbox).await?;
            assert_eq!(node.shell(&id, "test ! -e /dev/loop-control || echo there").await?, expected);
            assert_eq!(node.shell(&id, "head -c 1 /dev/asked | od -An -tx1 | tr -d ' '").await?, "00");
            let made = node.exec(&id, &["sh", "-c", "mknod /k c 1 11; true < /k"]).await?;
            assert_eq!(made.exit_code == 0, handler == "open", "{handler}: {made:?}");
        }
        Ok(())
    })
    .await;
}
