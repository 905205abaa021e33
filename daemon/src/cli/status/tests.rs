use super::*;
use crate::admin::{Condition, Handler};

fn sample() -> StatusResponse {
    StatusResponse {
        version: "0.1.0".into(),
        pid: 42,
        conditions: vec![
            Condition { name: "RuntimeReady".into(), status: true, ..Condition::default() },
            Condition {
                name: "NetworkReady".into(),
                status: false,
                reason: "NetworkPluginNotReady".into(),
                message: "no configuration in /etc/cni/net.d".into(),
            },
        ],
        handlers: vec![Handler {
            name: "crun".into(),
            path: "/usr/bin/crun".into(),
            default: true,
            recursive_read_only_mounts: true,
            ..Handler::default()
        }],
        sandboxes: 3,
        sandboxes_ready: 2,
        ..StatusResponse::default()
    }
}

#[test]
fn a_person_sees_what_is_not_ready_and_why() {
    let text = as_text(&sample(), Duration::from_secs(3 * 3600 + 60));
    for line in [
        "process        42, up 3h 1m",
        "RuntimeReady   yes",
        "NetworkReady   no: NetworkPluginNotReady: no configuration in /etc/cni/net.d",
        "handler crun   /usr/bin/crun, default, recursive read-only mounts",
        "pods           2 ready of 3",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn a_program_gets_the_same() {
    let value: serde_json::Value =
        serde_json::from_str(&as_json(&sample(), Duration::from_secs(5))).expect("JSON");
    assert_eq!(value["uptime_s"], 5);
    assert_eq!(value["conditions"][1]["status"], false);
    assert_eq!(value["pods"]["ready"], 2);
}
