use http::header::AsHeaderName;

use super::*;

const FORWARD: Subject = Subject::PortForward { ports: 1 };
/// The example of RFC 6455, section 1.3.
const KEY: (&str, &str) = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
const SPDY_UPGRADE: [(&str, &str); 2] = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
const WS_UPGRADE: [(&str, &str); 4] =
    [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket"), ("sec-websocket-version", "13"), KEY];

fn ask(subject: Subject, method: Method, headers: &[&[(&str, &str)]]) -> Result<Negotiated, Refused> {
    let mut map = HeaderMap::new();
    for (name, value) in headers.iter().copied().flatten() {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    choose(&method, &map, subject)
}

fn value(headers: &HeaderMap, name: impl AsHeaderName) -> &str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

/// `expected`: how to go on and the name in the answer, or the status of the refusal.
fn check(subject: Subject, headers: &[&[(&str, &str)]], expected: Result<(Transport, Version, &str), u16>) {
    let outcome = ask(subject, Method::GET, headers).map(|negotiated| {
        let name = match negotiated.transport {
            Transport::Spdy => value(&negotiated.headers, STREAM_PROTOCOL).to_owned(),
            Transport::SpdyInWebSocket | Transport::WebSocket(_) => {
                value(&negotiated.headers, SEC_WEBSOCKET_PROTOCOL).to_owned()
            }
        };
        assert_eq!(value(&negotiated.headers, CONNECTION), "Upgrade");
        (negotiated.transport, negotiated.version, name)
    });
    let outcome = outcome.as_ref().map(|(t, v, name)| (*t, *v, name.as_str())).map_err(|r| r.status.as_u16());
    assert_eq!(outcome, expected, "{subject:?} {headers:?}");
}

#[test]
fn spdy_takes_the_clients_first_known_version() {
    use Subject::RemoteCommand;
    use Transport::Spdy;
    let protocols = |names: &'static [&'static str]| -> Vec<(&str, &str)> {
        names.iter().map(|name| ("x-stream-protocol-version", *name)).collect()
    };
    // kubectl and crictl repeat the header; the fifth version is WebSocket's.
    let all = protocols(&[
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v3.channel.k8s.io",
        "v2.channel.k8s.io",
        "channel.k8s.io",
    ]);
    check(RemoteCommand, &[&SPDY_UPGRADE, &all], Ok((Spdy, Version::V4, "v4.channel.k8s.io")));
    for (names, version, chosen) in [
        (&["v3.channel.k8s.io, v2.channel.k8s.io"][..], Version::V3, "v3.channel.k8s.io"),
        (&["v2.channel.k8s.io"], Version::V2, "v2.channel.k8s.io"),
        (&["unheard.of,,channel.k8s.io"], Version::V1, "channel.k8s.io"),
    ] {
        check(RemoteCommand, &[&SPDY_UPGRADE, &protocols(names)], Ok((Spdy, version, chosen)));
    }
    let forward = protocols(&["portforward.k8s.io"]);
    check(FORWARD, &[&SPDY_UPGRADE, &forward], Ok((Spdy, Version::V1, "portforward.k8s.io")));
    check(
        Subject::PortForward { ports: 0 },
        &[&SPDY_UPGRADE, &forward],
        Ok((Spdy, Version::V1, "portforward.k8s.io")),
    );
    check(RemoteCommand, &[&SPDY_UPGRADE, &forward], Err(403));
    check(FORWARD, &[&SPDY_UPGRADE, &all], Err(403));
    check(RemoteCommand, &[&SPDY_UPGRADE], Err(400));
    check(RemoteCommand, &[&SPDY_UPGRADE, &protocols(&[" , "])], Err(400));
}

#[test]
fn a_refused_spdy_client_is_told_what_there_is() {
    let refused =
        ask(FORWARD, Method::POST, &[&SPDY_UPGRADE, &[("x-stream-protocol-version", "channel.k8s.io")]])
            .unwrap_err();
    let accepted = HeaderValue::from_static("portforward.k8s.io");
    assert_eq!(refused.headers, [(ACCEPTED_STREAM_PROTOCOLS, accepted)]);
    assert!(
        refused.message.contains("channel.k8s.io") && refused.message.contains("portforward.k8s.io"),
        "{refused:?}"
    );
}

#[test]
fn upgrade_headers_are_lists_and_know_no_case() {
    let version = [("x-stream-protocol-version", "v4.channel.k8s.io")];
    let chosen = Ok((Transport::Spdy, Version::V4, "v4.channel.k8s.io"));
    for upgrade in [
        &[("connection", "upgrade"), ("upgrade", "spdy/3.1")][..],
        &[("connection", "keep-alive, UPGRADE"), ("upgrade", "SPDY/3.1")],
        &[("connection", "keep-alive"), ("connection", "Upgrade"), ("upgrade", "h2c, SPDY/3.1")],
    ] {
        check(Subject::RemoteCommand, &[upgrade, &version], chosen);
    }
    for upgrade in [&[("upgrade", "SPDY/3.1")][..], &[("connection", "Upgrade"), ("upgrade", "SPDY/3")], &[]]
    {
        check(Subject::RemoteCommand, &[upgrade, &version], Err(400));
    }
}

#[test]
fn websocket_takes_the_clients_first_known_protocol() {
    use Encoding::{Base64, Binary};
    use Subject::RemoteCommand;
    use Transport::{SpdyInWebSocket, WebSocket};
    for (subject, names, expected) in [
        (RemoteCommand, "v5.channel.k8s.io", Ok((WebSocket(Binary), Version::V5, "v5.channel.k8s.io"))),
        (
            RemoteCommand,
            "v9.channel.k8s.io, v4.channel.k8s.io",
            Ok((WebSocket(Binary), Version::V4, "v4.channel.k8s.io")),
        ),
        (
            RemoteCommand,
            "v4.base64.channel.k8s.io",
            Ok((WebSocket(Base64), Version::V4, "v4.base64.channel.k8s.io")),
        ),
        (
            RemoteCommand,
            "base64.channel.k8s.io",
            Ok((WebSocket(Base64), Version::V1, "base64.channel.k8s.io")),
        ),
        (
            RemoteCommand,
            "channel.k8s.io,v4.channel.k8s.io",
            Ok((WebSocket(Binary), Version::V1, "channel.k8s.io")),
        ),
        (RemoteCommand, "", Ok((WebSocket(Binary), Version::V1, ""))),
        (RemoteCommand, "portforward.k8s.io", Err(403)),
        (RemoteCommand, "SPDY/3.1+portforward.k8s.io", Err(403)),
        (
            FORWARD,
            "SPDY/3.1+portforward.k8s.io",
            Ok((SpdyInWebSocket, Version::V1, "SPDY/3.1+portforward.k8s.io")),
        ),
        (FORWARD, "v4.channel.k8s.io", Ok((WebSocket(Binary), Version::V4, "v4.channel.k8s.io"))),
        (
            FORWARD,
            "v4.base64.channel.k8s.io",
            Ok((WebSocket(Base64), Version::V4, "v4.base64.channel.k8s.io")),
        ),
        (FORWARD, "", Ok((WebSocket(Binary), Version::V1, ""))),
        (FORWARD, "v5.channel.k8s.io", Err(403)),
    ] {
        check(subject, &[&WS_UPGRADE, &[("sec-websocket-protocol", names)]], expected);
    }
    check(RemoteCommand, &[&WS_UPGRADE], Ok((WebSocket(Binary), Version::V1, "")));
}

#[test]
fn channels_want_ports_but_not_too_many_and_spdy_wants_none() {
    let none = Subject::PortForward { ports: 0 };
    let tunnel = "SPDY/3.1+portforward.k8s.io";
    let many = Subject::PortForward { ports: 40 };
    for subject in [none, many] {
        check(subject, &[&WS_UPGRADE, &[("sec-websocket-protocol", "v4.channel.k8s.io")]], Err(400));
    }
    let expected = Ok((Transport::SpdyInWebSocket, Version::V1, tunnel));
    check(none, &[&WS_UPGRADE, &[("sec-websocket-protocol", tunnel)]], expected);
}

#[test]
fn the_websocket_handshake_is_rfc_6455s() {
    let negotiated = ask(FORWARD, Method::GET, &[&WS_UPGRADE]).unwrap();
    assert_eq!(value(&negotiated.headers, SEC_WEBSOCKET_ACCEPT), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(value(&negotiated.headers, UPGRADE), "websocket");

    let refused = ask(FORWARD, Method::POST, &[&WS_UPGRADE]).unwrap_err();
    assert_eq!(refused.status, StatusCode::METHOD_NOT_ALLOWED);
    for (headers, status) in [
        (&[("sec-websocket-version", "8"), KEY][..], StatusCode::UPGRADE_REQUIRED),
        (&[KEY], StatusCode::UPGRADE_REQUIRED),
        (&[("sec-websocket-version", "13")], StatusCode::BAD_REQUEST),
        (&[("sec-websocket-version", "13"), ("sec-websocket-key", "c2hvcnQ=")], StatusCode::BAD_REQUEST),
        (
            &[("sec-websocket-version", "13"), ("sec-websocket-key", "not base64, not at all")],
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let refused = ask(FORWARD, Method::GET, &[&WS_UPGRADE[..2], headers]).unwrap_err();
        assert_eq!(refused.status, status, "{headers:?}");
    }
}
