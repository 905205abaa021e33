use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

fn check<T>(message: &T)
where
    T: Serialize + for<'de> Deserialize<'de> + PartialEq + std::fmt::Debug,
{
    let json = serde_json::to_vec(message).expect("serialise");
    assert_eq!(&serde_json::from_slice::<T>(&json).expect("parse"), message);
}

#[test]
fn every_message_survives_the_wire() {
    let process = Process { pid: 1, start_time: u64::MAX };
    let exit = ExitRecord {
        container_id: "c".into(),
        pid: 1,
        start_time: 2,
        code: 255,
        at_ns: i64::MAX,
        oom_killed: false,
        log_bytes_dropped: u64::MAX,
    };
    for call in [
        Call::Hello(HelloCall { version: 1, oldest_version: 1 }),
        Call::StartPause(PauseCall { network: Some("/n".into()), ..PauseCall::default() }),
        Call::Create(CreateCall { container_id: "c".into(), ..CreateCall::default() }),
        Call::Exec(ExecCall { timeout_ms: Some(5), ..ExecCall::default() }),
        Call::HangUpExec { exec_id: "e".into(), grace_ms: 1 },
        Call::Attach(AttachCall { attach_id: "a".into(), has_stdout: true, ..AttachCall::default() }),
        Call::EndStdin { container_id: "c".into(), attach_id: "a".into() },
        Call::Resize { container_id: "c".into(), columns: u16::MAX, rows: 1 },
        Call::ReopenLog { container_id: "c".into() },
        Call::Forget { container_id: "c".into() },
        Call::Shutdown,
    ] {
        check(&Request { id: u64::MAX, call });
    }
    let hello = HelloAnswer {
        version: 1,
        monitor: process,
        sandbox_id: "s".into(),
        pause: None,
        containers: vec![ContainerState {
            container_id: "c".into(),
            process: None,
            exited: false,
            log_bytes_dropped: 1,
        }],
        exits: vec![exit.clone()],
        execs: vec!["e".into()],
    };
    for answer in [
        Answer::Hello(hello),
        Answer::Started(process),
        Answer::ExecEnded { code: 1, timed_out: true },
        Answer::Done,
    ] {
        check(&FromMonitor::Reply(Reply { id: 1, outcome: Outcome::Ok(answer) }));
    }
    let failure = Failure { kind: FailureKind::Runtime, message: "no".into() };
    check(&FromMonitor::Reply(Reply { id: 1, outcome: Outcome::Err(failure) }));
    check(&FromMonitor::Event(Event::Exited(exit)));
    check(&FromMonitor::Event(Event::Oom { container_id: "c".into() }));
    check(&FromMonitor::Event(Event::ExecTerminal { exec_id: "e".into() }));
}

#[test]
fn a_newer_peer_is_understood_as_far_as_possible() {
    let json = r#"{"id":3,"call":{"reopen_log":{"container_id":"c","new_field":1}},"more":true}"#;
    let request: Request = serde_json::from_str(json).expect("unknown fields are ignored");
    assert_eq!(request.call, Call::ReopenLog { container_id: "c".into() });
    let failure: Failure = serde_json::from_str(r#"{"kind":"brand_new","message":"m"}"#).expect("kind");
    assert_eq!(failure.kind, FailureKind::Other);
    let event: FromMonitor = serde_json::from_str(r#"{"event":"brand_new"}"#).expect("event");
    assert_eq!(event, FromMonitor::Event(Event::Unknown));
}

proptest! {
    #[test]
    fn arguments_that_are_not_utf8_survive(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        check(&Text::from(OsString::from_vec(bytes)));
    }
}
