//! `WWW-Authenticate` (RFC 9110 §11.6.1), as registries use it.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// How a registry wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Fetch a token at `realm` first (distribution-spec, token authentication).
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
    /// User name and password with every request.
    Basic,
}

impl Challenge {
    /// The challenge to answer: bearer before basic, others are not spoken.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let found: Vec<Self> = values.flat_map(parse).collect();
        found.iter().find(|challenge| matches!(challenge, Self::Bearer { .. })).or(found.first()).cloned()
    }
}

/// One header may hold several challenges: `Basic realm="x", Bearer realm="y",service="z"`.
fn parse(header: &str) -> Vec<Challenge> {
    let mut schemes: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for item in split_items(header) {
        let (head, value) = item.split_once('=').map_or((item, None), |(head, value)| (head, Some(value)));
        let mut words = head.split_whitespace();
        match (words.next(), words.next()) {
            (Some(scheme), None) if value.is_none() => {
                schemes.push((scheme.to_ascii_lowercase(), Vec::new()))
            }
            (Some(scheme), Some(name)) => {
                let parameter = (name.to_ascii_lowercase(), unquote(value.unwrap_or_default()));
                schemes.push((scheme.to_ascii_lowercase(), vec![parameter]));
            }
            (Some(name), None) => {
                if let Some((_, parameters)) = schemes.last_mut() {
                    parameters.push((name.to_ascii_lowercase(), unquote(value.unwrap_or_default())));
                }
            }
            (None, _) => {}
        }
    }
    schemes.into_iter().filter_map(|(scheme, parameters)| challenge(&scheme, &parameters)).collect()
}

fn challenge(scheme: &str, parameters: &[(String, String)]) -> Option<Challenge> {
    let get = |name: &str| {
        let found = parameters.iter().find(|(key, value)| key == name && !value.is_empty());
        found.map(|(_, value)| value.clone())
    };
    match scheme {
        "bearer" => {
            Some(Challenge::Bearer { realm: get("realm")?, service: get("service"), scope: get("scope") })
        }
        "basic" => Some(Challenge::Basic),
        _ => None,
    }
}

/// Splits at commas outside quotes: scopes hold commas (`repository:a:pull,push`).
fn split_items(header: &str) -> Vec<&str> {
    let (mut items, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in header.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                items.push(header[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(header[start..].trim());
    items
}

fn unquote(value: &str) -> String {
    let value = value.trim();
    match value.strip_prefix('"').map(|rest| rest.strip_suffix('"').unwrap_or(rest)) {
        None => value.to_owned(),
        Some(inner) => {
            let mut text = String::with_capacity(inner.len());
            let mut characters = inner.chars();
            while let Some(character) = characters.next() {
                text.extend(if character == '\\' { characters.next() } else { Some(character) });
            }
            text
        }
    }
}

#[cfg(test)]
mod tests;
