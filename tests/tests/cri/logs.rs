//! Container logs in CRI's format, and ReopenContainerLog.

use std::fs;

use linkspan_cri_api::v1;
use linkspan_tests::host_mount::HostMount;
use linkspan_tests::{need, node, requests};
use tonic::Code;

#[tokio::test]
async fn lines_bear_time_stream_and_tag() {
    need!();
    node::run(async |node| {
        let line = "echo one; echo two >&2; echo; printf 'no newline'";
        let (_, id) = node
            .run_pod(&requests::sandbox(node, "lines"), &requests::container("c", &["sh", "-c", line]))
            .await?;
        node.exited(&id).await?;
        let lines = node.log_lines(&id, |lines| lines.len() == 4).await?;
        let mut told: Vec<(&str, bool, &str)> =
            lines.iter().map(|line| (line.stream.as_str(), line.full, line.text.as_str())).collect();
        told.sort();
        assert_eq!(
            told,
            [
                ("stderr", true, "two"),
                ("stdout", false, "no newline"),
                ("stdout", true, ""),
                ("stdout", true, "one"),
            ]
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn long_lines_are_split_and_can_be_put_together_again() {
    need!();
    node::run(async |node| {
        let line = "head -c 50000 /dev/zero | tr '\\0' a; echo; echo short";
        let (_, id) = node
            .run_pod(&requests::sandbox(node, "long"), &requests::container("c", &["sh", "-c", line]))
            .await?;
        node.exited(&id).await?;
        let lines =
            node.log_lines(&id, |lines| lines.last().is_some_and(|line| line.text == "short")).await?;
        let (last, parts) = lines.split_last().unwrap();
        assert!(last.full && parts.len() >= 4, "{} parts", parts.len());
        assert!(parts.iter().all(|part| part.text.len() <= 16 << 10));
        assert!(parts[..parts.len() - 1].iter().all(|part| !part.full) && parts[parts.len() - 1].full);
        assert_eq!(parts.iter().map(|part| part.text.as_str()).collect::<String>(), "a".repeat(50_000));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_hundred_thousand_lines_arrive_in_order() {
    need!();
    node::run(async |node| {
        let (_, id) = node
            .run_pod(&requests::sandbox(node, "many"), &requests::container("c", &["seq", "1", "100000"]))
            .await?;
        node.exited(&id).await?;
        let lines = node.log_lines(&id, |lines| lines.len() >= 100_000).await?;
        assert!(lines.iter().zip(1..).all(|(line, number)| line.text == number.to_string()));
        assert!(lines.is_sorted_by(|a, b| a.time <= b.time), "times go up");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn after_a_rotation_the_new_file_is_there_and_no_line_is_lost() {
    need!();
    node::run(async |node| {
        let line = "n=0; while :; do echo $((n+=1)); usleep 500; done";
        let (_, id) = node
            .run_pod(&requests::sandbox(node, "rotated"), &requests::container("c", &["sh", "-c", line]))
            .await?;
        let path = node.log_path(&id).await?;
        let rotated = path.with_extension("old");
        node.log_lines(&id, |lines| lines.len() > 20).await?;
        fs::rename(&path, &rotated)?;
        let request = v1::ReopenContainerLogRequest { container_id: id.clone() };
        node.runtime.reopen_container_log(request.clone()).await?;
        assert!(path.is_file(), "the new file is there when the call returns");
        let before = fs::read_to_string(&rotated)?;
        node.log_lines(&id, |lines| lines.len() > 20).await?;
        assert_eq!(fs::read_to_string(&rotated)?, before, "nothing more is written to the old file");
        node.stop_container(&id, 0).await?;
        let text = before + &fs::read_to_string(&path)?;
        let numbers: Vec<u64> =
            text.lines().map(|line| line.split(' ').nth(3).unwrap().parse().unwrap()).collect();
        assert!(numbers.iter().zip(1..).all(|(number, expected)| *number == expected), "lines are missing");
        let stopped = node.runtime.reopen_container_log(request).await.unwrap_err();
        assert_eq!(stopped.code(), Code::FailedPrecondition, "{stopped}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_terminals_output_is_one_stream() {
    need!();
    node::run(async |node| {
        let mut config = requests::container("c", &["sh", "-c", "tty; echo two >&2"]);
        config.tty = true;
        let (_, id) = node.run_pod(&requests::sandbox(node, "tty"), &config).await?;
        node.exited(&id).await?;
        let lines = node.log_lines(&id, |lines| lines.len() >= 2).await?;
        assert!(lines[0].text.starts_with("/dev/pts/"), "{lines:?}");
        assert!(
            lines[1].text.starts_with("two") && lines.iter().all(|line| line.stream == "stdout"),
            "{lines:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_daemon_says_once_how_much_output_a_full_disk_did_not_take() {
    need!();
    node::run(async |node| {
        let disk = HostMount::tmpfs(&node.prefix().join("disk"))?.size("64k")?;
        let mut sandbox = requests::sandbox(node, "full");
        sandbox.log_directory = disk.path().display().to_string();
        let talks = requests::container("c", &["sh", "-c", "yes | head -c 1000000"]);
        let (_, id) = node.run_pod(&sandbox, &talks).await?;
        node.exited(&id).await?;
        let log = node.log();
        let told: Vec<&str> =
            log.lines().filter(|line| line.contains(&id) && line.contains("log_bytes_dropped")).collect();
        assert_eq!(told.len(), 1, "{log}");
        assert!(told[0].contains("WARN") && told[0].contains("not all output is in the log"), "{}", told[0]);
        Ok(())
    })
    .await;
}
