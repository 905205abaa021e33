use http::{HeaderMap, HeaderValue};

use super::Challenge;

fn check(headers: &[&'static str], expected: Option<Challenge>) {
    let mut map = HeaderMap::new();
    for header in headers {
        map.append("www-authenticate", HeaderValue::from_static(header));
    }
    assert_eq!(Challenge::from_headers(&map), expected, "{headers:?}");
}

fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Some(Challenge::Bearer { realm: realm.to_owned(), service: owned(service), scope: owned(scope) })
}

#[test]
fn challenges_of_real_registries_are_understood() {
    check(
        &[
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
        ],
        bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:a/b:pull,push")),
    );
    check(&[r#"bearer Realm="https://x/y", service=z"#], bearer("https://x/y", Some("z"), None));
    check(&[r#"Basic realm="Registry, \"inner\"""#], Some(Challenge::Basic));
    check(&["Basic"], Some(Challenge::Basic));
    check(&[r#"Basic realm="a"#, r#"Bearer realm="https://x""#], bearer("https://x", None, None));
    check(
        &[r#"Basic realm="a", Bearer realm="https://x",service="s", Digest qop="auth""#],
        bearer("https://x", Some("s"), None),
    );
}

#[test]
fn what_is_not_understood_is_no_challenge() {
    check(&[], None);
    check(&["Negotiate"], None);
    check(&["Bearer"], None);
    check(&[r#"Bearer service="x""#], None);
    check(&[",,=,"], None);
}
