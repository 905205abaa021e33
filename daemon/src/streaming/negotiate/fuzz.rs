//! The request that opens a URL.

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{CONNECTION, MAX_PORTS, Subject, Transport, UPGRADE, choose, tokens};
use super::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, STREAM_PROTOCOL};

/// A byte that says for what, and lines of headers.
///
/// # Panics
/// On a fault.
pub fn negotiation(data: &[u8]) {
    let Some((what, lines)) = data.split_first() else { return };
    let mut headers = HeaderMap::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let subject = match what % 2 {
        0 => Subject::RemoteCommand,
        _ => Subject::PortForward { ports: usize::from(what / 4) },
    };
    let method = if what & 2 == 0 { Method::GET } else { Method::POST };
    match choose(&method, &headers, subject) {
        Err(refused) => {
            assert!(refused.status.is_client_error() && !refused.message.is_empty(), "{refused:?}");
            assert!(
                refused.message.len() <= 4 * data.len() + 1000,
                "{} bytes of message",
                refused.message.len()
            );
        }
        Ok(negotiated) => {
            let answer = &negotiated.headers;
            assert!(answer.contains_key(CONNECTION) && answer.contains_key(UPGRADE));
            let (offered, asked) = match negotiated.transport {
                Transport::Spdy => (answer.get(&STREAM_PROTOCOL), tokens(&headers, &STREAM_PROTOCOL)),
                Transport::SpdyInWebSocket | Transport::WebSocket(_) => {
                    assert!(method == Method::GET && answer.contains_key(SEC_WEBSOCKET_ACCEPT));
                    (answer.get(SEC_WEBSOCKET_PROTOCOL), tokens(&headers, &SEC_WEBSOCKET_PROTOCOL))
                }
            };
            match offered {
                Some(name) => {
                    assert!(asked.iter().any(|asked| *name == **asked), "{name:?} was not asked for")
                }
                None => assert!(asked.is_empty(), "{asked:?} were asked for"),
            }
            if let (Subject::PortForward { ports }, Transport::WebSocket(_)) = (subject, negotiated.transport)
            {
                assert!((1..=MAX_PORTS).contains(&ports), "{ports} ports");
            }
        }
    }
}
