use proptest::prelude::*;

use super::Reference;

const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// `input` normalises to `canonical` and is shown as `familiar`.
fn check(input: &str, canonical: &str, familiar: &str) {
    let reference: Reference = input.parse().unwrap_or_else(|error| panic!("{input}: {error}"));
    assert_eq!(reference.to_string(), canonical, "canonical form of {input}");
    assert_eq!(reference.familiar(), familiar, "familiar form of {input}");
}

fn refuse(input: &str, why: &str) {
    match input.parse::<Reference>() {
        Ok(reference) => panic!("{input:?} was read as {reference}"),
        Err(error) => assert!(error.to_string().contains(why), "{input:?}: {error}"),
    }
}

#[test]
fn names_are_normalised_as_docker_does() {
    check("busybox", "docker.io/library/busybox", "busybox");
    check("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36");
    check("library/busybox", "docker.io/library/busybox", "busybox");
    check("docker.io/busybox", "docker.io/library/busybox", "busybox");
    check("index.docker.io/library/busybox", "docker.io/library/busybox", "busybox");
    check("dmcgowan/myapp", "docker.io/dmcgowan/myapp", "dmcgowan/myapp");
    check("library/a/b", "docker.io/library/a/b", "library/a/b");
    check("test_com/foo", "docker.io/test_com/foo", "test_com/foo");
    check("test.com/foo", "test.com/foo", "test.com/foo");
    check("localhost/foo", "localhost/foo", "localhost/foo");
    check("localhost", "docker.io/library/localhost", "localhost");
    check("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000");
    check("localhost:5000/foo:Tag", "localhost:5000/foo:Tag", "localhost:5000/foo:Tag");
    check("127.0.0.1:5000/foo", "127.0.0.1:5000/foo", "127.0.0.1:5000/foo");
    check("[::1]:5000/foo:a", "[::1]:5000/foo:a", "[::1]:5000/foo:a");
    check("[2001:db8::1]/foo", "[2001:db8::1]/foo", "[2001:db8::1]/foo");
    check("UPPER/foo", "UPPER/foo", "UPPER/foo");
    check(
        "xn--n3h.com/myimage:xn--n3h.com",
        "xn--n3h.com/myimage:xn--n3h.com",
        "xn--n3h.com/myimage:xn--n3h.com",
    );
    check("a__b/c---d.e", "docker.io/a__b/c---d.e", "a__b/c---d.e");
    check("foo_bar.com:8080", "docker.io/library/foo_bar.com:8080", "foo_bar.com:8080");
    check("quay.io/a/b:v1_2.3-rc", "quay.io/a/b:v1_2.3-rc", "quay.io/a/b:v1_2.3-rc");
}

/// What a fuzzer sent: such a name has matched pins of the other registry's images.
#[test]
fn a_name_of_docker_io_is_never_shown_as_one_of_another_registry() {
    for name in
        ["docker.io/registry.k8s.io/pause:3.10", "docker.io/localhost/a", &format!("docker.io/library/{HEX}")]
    {
        check(name, name, name);
    }
}

#[test]
fn digests_stay_beside_tags() {
    let text = format!("foo:tag@sha256:{HEX}");
    let reference: Reference = text.parse().unwrap();
    assert_eq!((reference.tag(), reference.digest().unwrap().hex()), (Some("tag"), HEX));
    assert_eq!(reference.to_string(), format!("docker.io/library/foo:tag@sha256:{HEX}"));
    assert_eq!(reference.manifest_key(), format!("sha256:{HEX}"));
    assert_eq!(reference.without_digest().to_string(), "docker.io/library/foo:tag");
    check(
        &format!("sha256@sha256:{HEX}"),
        &format!("docker.io/library/sha256@sha256:{HEX}"),
        &format!("sha256@sha256:{HEX}"),
    );
}

#[test]
fn a_tag_is_added_only_where_nothing_pins_the_image() {
    let latest = |text: &str| text.parse::<Reference>().unwrap().or_latest().to_string();
    assert_eq!(latest("busybox"), "docker.io/library/busybox:latest");
    assert_eq!(latest("busybox:1"), "docker.io/library/busybox:1");
    assert_eq!(latest(&format!("busybox@sha256:{HEX}")), format!("docker.io/library/busybox@sha256:{HEX}"));
}

#[test]
fn malformed_references_are_refused() {
    refuse("", "empty");
    refuse(HEX, "image ID");
    refuse("Busybox", "lower-case");
    refuse("docker.io/Foo/bar", "lower-case");
    refuse("test:5000/Uppercase/lowercase", "lower-case");
    refuse("https://github.com/docker/docker", "registry");
    refuse("docker/Docker", "lower-case");
    for text in [
        "-docker",
        "-docker/docker",
        "-docker.io/docker/docker",
        "docker///docker",
        "docker.io/docker/",
        "docker.io//x",
        "/foo",
        "foo/",
        ":tag",
        "foo:",
        "foo:@x",
        "@sha256:",
        "foo@",
        "foo bar",
        "a..b",
        "a___b",
        "foo_",
        "fo$z$",
        "föö",
        "foo\n",
        "[::1/foo",
        "[fe80::1%eth0]:80/foo",
        "[]/foo",
        "host.:5000/foo",
        "host:port/foo",
        "aa/asdf$$^/aa",
        "foo:.tag",
        "foo:-tag",
        "..:5000/foo",
        "a@b@c",
        "foo@sha256:AAAA",
    ] {
        refuse(text, "");
    }
    refuse(&format!("foo:{}", "t".repeat(129)), "tag");
    refuse(&format!("foo@sha256:{}", &HEX[1..]), "digest");
    refuse(&format!("foo@md5:{HEX}"), "digest");
    refuse(&format!("quay.io/{}", "a".repeat(256)), "255");
    refuse(&format!("quay.io/{}", "a/".repeat(3000)), "too long");
}

#[test]
fn limits_are_inclusive() {
    let longest = format!("quay.io/{}:{}", "a".repeat(255), "t".repeat(128));
    check(&longest, &longest, &longest);
}

proptest! {
    #[test]
    fn anything_that_parses_round_trips(text in "[a-zA-Z0-9./:@_\\[\\]-]{0,60}") {
        if let Ok(reference) = text.parse::<Reference>() {
            let canonical = reference.to_string();
            prop_assert_eq!(&canonical.parse::<Reference>().unwrap(), &reference);
            prop_assert_eq!(&reference.familiar().parse::<Reference>().unwrap(), &reference);
        }
    }

    #[test]
    fn no_input_panics(text in "\\PC{0,80}") {
        let _ = text.parse::<Reference>();
    }

    #[test]
    fn well_formed_names_are_taken(
        registry in "(localhost/|[a-z]{1,5}\\.[a-z]{2,3}(:[0-9]{1,5})?/)",
        path in "[a-z0-9]{1,8}((__|_|\\.|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,6}){0,3}",
        tag in "(|:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})",
    ) {
        let text = format!("{registry}{path}{tag}");
        let reference: Reference = text.parse().unwrap();
        let end = format!("{path}{tag}");
        prop_assert!(reference.to_string().ends_with(&end));
    }
}
