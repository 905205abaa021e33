//! What a registry and its token server may answer.

use http::HeaderMap;
use reqwest::Url;

use super::challenge::Challenge;
use super::token;

/// What is made of challenges.
///
/// # Panics
/// On a fault.
pub(crate) fn challenged(headers: &HeaderMap) {
    let base = Url::parse("https://registry.example:5000/v2").expect("an address");
    let Some(Challenge::Bearer { realm, service, scope }) = Challenge::from_headers(headers) else { return };
    assert!(!realm.is_empty() && service.as_deref() != Some("") && scope.as_deref() != Some(""));
    if let Ok(url) = token::address(&base, &realm) {
        assert!(url.username().is_empty() && url.password().is_none(), "{url} has a user");
    }
}

/// The body of a token server's answer.
///
/// # Panics
/// If an error shows any of it.
pub fn token(data: &[u8]) {
    match token::parse("GET https://auth.example/token", data) {
        Ok(token) => {
            assert!(!token.token.is_empty());
            assert!(token.lifetime.is_none_or(|lifetime| !lifetime.is_zero()));
            if let Ok(value) = token::bearer(&token.token) {
                assert!(value.is_sensitive());
            }
        }
        Err(failure) => {
            let known = [
                "GET https://auth.example/token: malformed token answer at line ",
                "GET https://auth.example/token: the answer has no token",
            ];
            let text = failure.text;
            let rest = known.iter().find_map(|known| text.strip_prefix(known));
            let is_place = |rest: &str| rest.chars().all(|c| c.is_ascii_digit() || " column".contains(c));
            assert!(rest.is_some_and(is_place), "{text:?} may show a secret");
        }
    }
}
