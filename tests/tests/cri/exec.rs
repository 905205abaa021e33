//! ExecSync.

use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use linkspan_cri_api::v1;
use linkspan_cri_api::v1::runtime_service_client::RuntimeServiceClient;
use linkspan_tests::{need, node, requests};
use tonic::Code;

#[tokio::test]
async fn output_error_and_code_come_back_apart() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "exec"), &requests::idle("c")).await?;
        let said = node.exec(&id, &["sh", "-c", "echo out; echo err >&2; exit 7"]).await?;
        assert_eq!((said.stdout.as_str(), said.stderr.as_str(), said.exit_code), ("out\n", "err\n", 7));
        let said = node.exec(&id, &["true"]).await?;
        assert_eq!((said.stdout.as_str(), said.stderr.as_str(), said.exit_code), ("", "", 0));
        assert_eq!(node.output(&id, &["echo", "two  words", "*", ""]).await?, "two  words * ");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_ended_with_all_it_started() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "slow"), &requests::idle("c")).await?;
        let started = std::time::Instant::now();
        let outcome = node.exec_within(&id, &["sh", "-c", "sleep 5555 & sleep 5556"], 1).await;
        assert!(started.elapsed().as_secs() < 15, "{:?}", started.elapsed());
        match outcome {
            Ok(said) => assert_eq!(said.exit_code, -1, "{said:?}"),
            Err(status) => assert_eq!(status.code(), Code::DeadlineExceeded, "{status}"),
        }
        let processes = node.output(&id, &["ps"]).await?;
        assert!(!processes.contains("555"), "{processes}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_process_that_stays_in_the_background_does_not_hold_the_answer() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "background"), &requests::idle("c")).await?;
        let started = std::time::Instant::now();
        let said = node.exec(&id, &["sh", "-c", "sleep 300 & echo done"]).await?;
        assert_eq!((said.stdout.as_str(), said.exit_code), ("done\n", 0));
        assert!(started.elapsed().as_secs() < 15, "{:?}", started.elapsed());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn output_beyond_the_limit_is_dropped_and_the_command_still_ends() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "much"), &requests::idle("c")).await?;
        let said = node
            .exec_within(&id, &["sh", "-c", "head -c 30000000 /dev/zero | tr '\\0' x; exit 4"], 60)
            .await?;
        assert_eq!(said.exit_code, 4);
        assert!(said.stdout.len() > 10 << 20 && said.stdout.len() <= 16 << 20, "{} bytes", said.stdout.len());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn commands_that_cannot_run_are_told_apart() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "cannot"), &requests::idle("c")).await?;
        let missing = node.exec(&id, &["/no/such/program"]).await;
        let words = match missing {
            Ok(said) => {
                assert_ne!(said.exit_code, 0);
                said.stderr
            }
            Err(status) => status.message().to_owned(),
        };
        assert!(words.contains("/no/such/program"), "{words}");
        let unknown = node.exec(&"0".repeat(64), &["true"]).await.unwrap_err();
        assert_eq!(unknown.code(), Code::NotFound, "{unknown}");
        node.stop_container(&id, 5).await?;
        let stopped = node.exec(&id, &["true"]).await.unwrap_err();
        assert!(matches!(stopped.code(), Code::NotFound | Code::FailedPrecondition), "{stopped}");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn twenty_commands_at_once_do_not_mix_their_output() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "many"), &requests::idle("c")).await?;
        let commands = (0..20).map(|number| {
            let mut runtime = node.runtime.clone();
            let request = v1::ExecSyncRequest {
                container_id: id.clone(),
                cmd: vec!["sh".into(), "-c".into(), format!("seq 1 500 | sed s/^/{number}:/")],
                timeout: 60,
            };
            async move { runtime.exec_sync(request).await.map(|answer| (number, answer.into_inner())) }
        });
        for answer in futures_util::future::join_all(commands).await {
            let (number, answer) = answer?;
            let expected: String = (1..=500).map(|line| format!("{number}:{line}\n")).collect();
            assert_eq!(String::from_utf8_lossy(&answer.stdout), expected);
        }
        Ok(())
    })
    .await;
}

/// A client that names a time for a call, and does not look at the clock itself: most end the call when it is over, and never hear what the
/// server says of it.
#[tokio::test]
async fn a_call_whose_time_is_over_is_told_that() {
    need!();
    node::run(async |node| {
        let (_, id) = node.run_pod(&requests::sandbox(node, "late"), &requests::idle("c")).await?;
        let stream = tokio::net::UnixStream::connect(node.socket()).await?;
        let (sending, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let service = tower::service_fn(move |request| {
            let mut sending = sending.clone();
            async move { sending.send_request(request).await }
        });
        let mut client =
            RuntimeServiceClient::with_origin(service, http::Uri::from_static("http://localhost"));
        for milliseconds in [1, 2, 5, 100].into_iter().cycle().take(40) {
            let cmd = vec!["sleep".to_owned(), "6300".to_owned()];
            let asked = v1::ExecSyncRequest { container_id: id.clone(), cmd, timeout: 0 };
            let mut request = tonic::Request::new(asked);
            request.set_timeout(Duration::from_millis(milliseconds));
            let late = client.exec_sync(request).await.expect_err("its time is over");
            assert_eq!(late.code(), Code::DeadlineExceeded, "{late}");
        }
        Ok(())
    })
    .await;
}
