use super::*;

fn proxies(variables: &[(&str, &str)]) -> Proxies {
    Proxies::new(|name| {
        let found = variables.iter().find(|(variable, _)| *variable == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn of(proxies: &Proxies, url: &str) -> Option<String> {
    proxies.of(&Url::parse(url).unwrap()).map(ToString::to_string)
}

/// Whether `url` is asked directly when `NO_PROXY` is `list`.
fn check(list: &str, url: &str, is_direct: bool) {
    let proxies = proxies(&[
        ("HTTP_PROXY", "http://p.example:3128"),
        ("HTTPS_PROXY", "http://p.example:3128"),
        ("NO_PROXY", list),
    ]);
    assert_eq!(of(&proxies, url).is_none(), is_direct, "NO_PROXY={list} {url}");
}

#[test]
fn domains_are_matched_as_go_does() {
    check("corp.example", "https://corp.example/v2", true);
    check("corp.example", "https://r.corp.example/v2", true);
    check("corp.example", "https://notcorp.example/v2", false);
    check(".corp.example", "https://r.corp.example/v2", true);
    check(".corp.example", "https://corp.example/v2", false);
    check("*.corp.example", "https://r.corp.example/v2", true);
    check("*.corp.example", "https://a.r.corp.example/v2", true);
    check("*.corp.example", "https://corp.example/v2", false);
    check("*corp.example", "https://corp.example/v2", false);
    check(" other , CORP.Example ", "https://R.corp.EXAMPLE/v2", true);
    check("bücher.example", "https://xn--bcher-kva.example/", true);
    check("example", "https://r.example/", true);
    check("10.0.0.1", "https://10.0.0.1.example/", false);
}

#[test]
fn an_entry_may_name_a_port() {
    check("r.corp:5000", "https://r.corp:5000/v2", true);
    check("r.corp:5000", "https://r.corp:5001/v2", false);
    check("r.corp:443", "https://r.corp/v2", true);
    check("r.corp:443", "http://r.corp/v2", false);
    check("*.corp:80", "http://r.corp/v2", true);
    check("10.0.0.1:5000", "http://10.0.0.1:5000/v2", true);
    check("10.0.0.1:5000", "http://10.0.0.1/v2", false);
    check("[fd00::1]:5000", "http://[fd00::1]:5000/v2", true);
    check("[fd00::1]:5000", "http://[fd00::1]:6000/v2", false);
    check("r.corp:", "https://r.corp:7/v2", true);
    check(":5000", "https://r.corp:5000/v2", false);
}

#[test]
fn addresses_and_networks_are_matched_by_number() {
    check("10.0.0.1", "https://10.0.0.1:5000/", true);
    check("10.0.0.0/8", "https://10.9.8.7/", true);
    check("10.0.0.0/8", "https://11.0.0.1/", false);
    check("10.1.2.3/8", "https://10.9.8.7/", true);
    check("0.0.0.0/0", "https://11.0.0.1/", true);
    check("0.0.0.0/0", "https://[fd00::1]/", false);
    check("fd00::/8", "https://[fd12::1]/", true);
    check("fd00::/8", "https://[fe80::1]/", false);
    check("fd00::1", "https://[fd00::1]:5000/", true);
    check("::ffff:10.0.0.1", "https://10.0.0.1/", true);
    check("10.0.0.0/8", "https://ten.example/", false);
    check("10.0.0.0/99", "https://10.0.0.1/", false);
}

#[test]
fn a_star_alone_is_everything_and_the_machine_itself_is_never_proxied() {
    check("a.example, * ,b.example", "https://r.example/", true);
    check("*", "http://10.0.0.1/", true);
    for url in ["http://localhost:5000/", "https://127.0.0.1/", "http://127.8.9.1:5000/", "https://[::1]:1/"]
    {
        check("", url, true);
    }
    check("", "https://localhost.example/", false);
    check("", "https://r.example/", false);
}

#[test]
fn each_scheme_has_its_variable_in_either_case() {
    let both = proxies(&[("HTTPS_PROXY", ""), ("https_proxy", "s.example:1"), ("http_proxy", "h.example:2")]);
    assert_eq!(of(&both, "https://r.example/").as_deref(), Some("http://s.example:1/"));
    assert_eq!(of(&both, "http://r.example/").as_deref(), Some("http://h.example:2/"));
    let upper = proxies(&[("HTTPS_PROXY", "http://u.example"), ("https_proxy", "http://l.example")]);
    assert_eq!(of(&upper, "https://r.example/").as_deref(), Some("http://u.example/"));
    assert_eq!(of(&upper, "http://r.example/"), None, "HTTPS_PROXY is not for HTTP");
    let all = proxies(&[("ALL_PROXY", "http://a.example"), ("all_proxy", "http://a.example")]);
    assert_eq!(of(&all, "https://r.example/"), None, "Go knows no ALL_PROXY");
    let direct = proxies(&[("HTTPS_PROXY", "http://u.example"), ("no_proxy", "r.example")]);
    assert_eq!(of(&direct, "https://r.example/"), None);
}

#[test]
fn proxies_have_several_forms() {
    let https = |value: &str| of(&proxies(&[("HTTPS_PROXY", value)]), "https://r.example/");
    assert_eq!(https("10.0.0.1:3128").as_deref(), Some("http://10.0.0.1:3128/"));
    assert_eq!(https("joe:pw@p.example:3128").as_deref(), Some("http://joe:pw@p.example:3128/"));
    assert_eq!(https("https://p.example").as_deref(), Some("https://p.example/"));
    assert_eq!(https("socks5://p.example:9").as_deref(), Some("socks5h://p.example:9"));
    for none in ["", "ftp://p.example", "http://", "http://a b/"] {
        assert_eq!(https(none), None, "{none:?}");
    }
}

#[test]
fn a_proxys_password_is_not_told() {
    let proxies = proxies(&[("HTTPS_PROXY", "http://joe:hush@p.example:3128")]);
    let told = proxies.told(&Url::parse("https://r.example/v2").unwrap());
    assert_eq!(told.as_deref(), Some("through the proxy http://p.example:3128"));
}
