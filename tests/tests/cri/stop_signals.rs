//! Signals that ask a container to end: real-time ones, and what an image names so that is none.

use linkspan_cri_api::v1;
use linkspan_tests::images::layout::Layout;
use linkspan_tests::images::tar::Entry;
use linkspan_tests::{need, node, requests, tools};
use serde_json::json;

/// What the image names, what the request does, and the number that comes.
const CASES: [(&str, v1::Signal, u32); 8] = [
    ("RTMIN+3", v1::Signal::RuntimeDefault, 37),
    ("SIGRTMIN+3", v1::Signal::RuntimeDefault, 37),
    ("37", v1::Signal::RuntimeDefault, 37),
    ("SIGUSR1", v1::Signal::Sigrtmax, 64),
    ("SIGNOPE", v1::Signal::RuntimeDefault, 15),
    ("0", v1::Signal::RuntimeDefault, 15),
    ("65", v1::Signal::RuntimeDefault, 15),
    ("SIGNOPE", v1::Signal::Sigrtminplus3, 37),
];

#[tokio::test]
async fn a_real_time_one_is_delivered_and_an_images_that_is_none_is_the_usual_one() {
    need!();
    node::run(async |node| {
        let mut layout = Layout::create(&node.prefix().join("layout"))?;
        let layer = layout.layer(&[Entry::copy("bin/busybox", 0o755, tools::busybox())])?;
        let image = |index: usize| format!("registry.linkspan.test/stop-signal:case-{index}");
        for (index, (signal, ..)) in CASES.iter().enumerate() {
            layout.image(&image(index), &[&layer], &json!({ "StopSignal": signal }))?;
        }
        node.load(&layout.finish()?).await?;
        let sandbox = requests::sandbox(node, "signals");
        let sandbox_id = node.run_sandbox(&sandbox, "").await?;
        for (index, (signal, asked, number)) in CASES.into_iter().enumerate() {
            let line = format!(
                "trap 'exit 42' {number}; echo ready; while :; do /bin/busybox sleep 1000 & wait; done"
            );
            let mut config = requests::container(&format!("c{index}"), &["/bin/busybox", "sh", "-c", &line]);
            config.image = Some(requests::image(&image(index)));
            config.log_path = format!("c{index}.log");
            config.stop_signal = asked.into();
            let id = node.create(&sandbox_id, &config, &sandbox).await?;
            node.start_container(&id).await?;
            node.log_lines(&id, |lines| !lines.is_empty()).await?;
            node.stop_container(&id, 20).await?;
            assert_eq!(node.container_status(&id).await?.exit_code, 42, "{signal}, {asked:?}");
        }
        Ok(())
    })
    .await;
}
