//! Container Device Interface: what vendors' files give to containers that ask for their devices.

use std::fs;
use std::path::Path;

use anyhow::Result;
use linkspan_cri_api::v1;
use linkspan_tests::node::Node;
use linkspan_tests::nri::Plugin;
use linkspan_tests::{need, node, requests};
use tonic::Code;

use crate::userns;

/// A device with a bit of everything that a container can notice. The hook writes its state below `folder`.
fn vendor(folder: &Path, value: &str) -> String {
    let folder = folder.display();
    format!(
        r#"
cdiVersion: "0.7.0"
kind: vendor.example/gpu
devices:
  - name: "0"
    containerEdits:
      env: [ "GPU={value}" ]
      deviceNodes:
        - {{ path: /dev/gpu0, hostPath: /dev/zero }}
        - {{ path: /dev/gpuctl, hostPath: /dev/loop-control, permissions: w }}
  - name: "1"
    containerEdits:
      env: [ "SECOND=yes" ]
containerEdits:
  env: [ "VENDOR=example" ]
  mounts:
    - {{ hostPath: "{folder}/lib", containerPath: /opt/vendor, options: [ rbind, ro ] }}
  hooks:
    - {{ hookName: createRuntime, path: /bin/sh, args: [ sh, -c, "cat > {folder}/hooked" ] }}
  additionalGids: [ 4444 ]
"#
    )
}

/// Writes the vendor's file into the node's `dir`, below its prefix.
fn install(node: &Node, dir: &str, value: &str) -> Result<()> {
    let prefix = node.prefix();
    fs::create_dir_all(prefix.join(dir))?;
    fs::create_dir_all(prefix.join("vendor/lib"))?;
    fs::write(prefix.join("vendor/lib/driver"), "the driver\n")?;
    fs::write(prefix.join(dir).join("gpu.yaml"), vendor(&prefix.join("vendor"), value))?;
    Ok(())
}

fn asking(name: &str, devices: &[&str]) -> v1::ContainerConfig {
    let mut config = requests::idle(name);
    config.cdi_devices = devices.iter().map(|name| v1::CdiDevice { name: (*name).to_owned() }).collect();
    config
}

#[tokio::test]
async fn a_device_brings_its_nodes_mounts_variables_groups_and_hooks() {
    need!(Runc);
    node::run(async |node| {
        install(node, "etc/cdi", "zero")?;
        for handler in ["crun", "runc"] {
            let sandbox = requests::sandbox(node, &format!("gpu-{handler}"));
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id =
                node.run_container(&sandbox_id, &asking("c", &["vendor.example/gpu=0"]), &sandbox).await?;
            assert_eq!(node.shell(&id, "echo $GPU $VENDOR").await?, "zero example");
            assert_eq!(node.shell(&id, "head -c 3 /dev/gpu0 | od -An -tx1 | tr -d ' '").await?, "000000");
            node.shell(&id, "true > /dev/gpuctl").await?;
            let read = node.exec(&id, &["sh", "-c", "true < /dev/gpuctl"]).await?;
            assert_ne!(read.exit_code, 0, "it may be written only: {read:?}");
            assert_eq!(node.shell(&id, "cat /opt/vendor/driver").await?, "the driver");
            assert_ne!(node.exec(&id, &["touch", "/opt/vendor/x"]).await?.exit_code, 0);
            assert!(node.shell(&id, "id -G").await?.split(' ').any(|gid| gid == "4444"));
            let user = node.container_status(&id).await?.user.unwrap().linux.unwrap();
            assert!(user.supplemental_groups.contains(&4444), "{user:?}");
            let state = fs::read_to_string(node.prefix().join("vendor/hooked"))?;
            assert!(state.contains(&id), "the hook was given another container: {state}");
            fs::remove_file(node.prefix().join("vendor/hooked"))?;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_pod_with_users_of_its_own_gets_the_node_that_the_file_names() {
    need!(Runc);
    node::run(async |node| {
        install(node, "etc/cdi", "zero")?;
        for handler in ["crun", "runc"] {
            let sandbox = userns::sandbox(node, handler, userns::HOST_ID);
            let sandbox_id = node.run_sandbox(&sandbox, handler).await?;
            let id =
                node.run_container(&sandbox_id, &asking("c", &["vendor.example/gpu=0"]), &sandbox).await?;
            assert_eq!(node.shell(&id, "head -c 3 /dev/gpu0 | od -An -tx1 | tr -d ' '").await?, "000000");
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn annotations_ask_for_devices_too_and_files_count_as_they_are_now() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "annotated");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        let annotated = |name: &str| {
            let mut config = requests::idle(name);
            config.annotations = [(
                "cdi.k8s.io/plugin_gpu".to_owned(),
                "vendor.example/gpu=0,vendor.example/gpu=1".to_owned(),
            )]
            .into();
            config
        };
        install(node, "etc/cdi", "static")?;
        let id = node.run_container(&sandbox_id, &annotated("first"), &sandbox).await?;
        assert_eq!(node.shell(&id, "echo $GPU $SECOND").await?, "static yes");
        // The later directory is for what drivers write at run time: it goes before.
        install(node, "var/run/cdi", "dynamic")?;
        let id = node.run_container(&sandbox_id, &annotated("second"), &sandbox).await?;
        assert_eq!(node.shell(&id, "echo $GPU $SECOND").await?, "dynamic yes");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_device_that_cannot_be_given_is_refused_with_the_reason() {
    need!();
    node::run(async |node| {
        let sandbox = requests::sandbox(node, "refused");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        node.pull(requests::BUSYBOX).await?;
        install(node, "etc/cdi", "a")?;
        let refused = async |node: &mut Node, device: &str| {
            let status = node.create(&sandbox_id, &asking("c", &[device]), &sandbox).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            status.message().to_owned()
        };
        let message = refused(node, "gpu0").await;
        assert!(
            message.contains("config.CDI_devices[0].name") && message.contains("it has no ="),
            "{message}"
        );
        fs::write(node.prefix().join("etc/cdi/broken.json"), "{")?;
        let message = refused(node, "vendor.example/gpu=7").await;
        for part in
            ["vendor.example/gpu=7", "etc/cdi (2 files)", "there are 0, 1", "broken.json was not used"]
        {
            assert!(message.contains(part), "{part:?} in {message}");
        }
        fs::copy(node.prefix().join("etc/cdi/gpu.yaml"), node.prefix().join("etc/cdi/again.yaml"))?;
        let message = refused(node, "vendor.example/gpu=0").await;
        assert!(message.contains("in conflict") && message.contains("again.yaml"), "{message}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_plugin_can_add_a_device() {
    need!(NriPlugin);
    node::run(async |node| {
        install(node, "etc/cdi", "plugin")?;
        let wanted = serde_json::json!({
            "CDIDevices": [{ "name": "vendor.example/gpu=0" }, { "name": "vendor.example/gpu=1" }],
            "env": [{ "key": "COLOUR", "value": "green" }],
            "linux": { "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 7 } },
        });
        let given = serde_json::json!({ "adjust": { "c": wanted } });
        let _plugin = Plugin::start(node, "10", "giver", &given).await?;
        let (_, id) = node.run_pod(&requests::sandbox(node, "given"), &requests::idle("c")).await?;
        assert_eq!(node.shell(&id, "echo $GPU $SECOND $VENDOR $COLOUR").await?, "plugin yes example green");
        assert_eq!(node.output(&id, &["cat", "/opt/vendor/driver"]).await?, "the driver");
        assert!(node.shell(&id, "ls -l /dev/gpu0").await?.starts_with('c'));
        assert_eq!(node.container_info(&id).await?["runtimeSpec"]["process"]["ioPriority"]["priority"], 7);
        Ok(())
    })
    .await;
}
