use super::*;

fn image(tags: &[&str], digests: &[&str]) -> v1::Image {
    v1::Image {
        id: format!("sha256:{}", "ab".repeat(32)),
        repo_tags: tags.iter().map(ToString::to_string).collect(),
        repo_digests: digests.iter().map(ToString::to_string).collect(),
        size: 3 * 1024 * 1024,
        ..v1::Image::default()
    }
}

#[test]
fn every_tag_has_its_line() {
    let images = [
        image(&["localhost:5000/a/b:1", "docker.io/library/busybox:latest"], &[]),
        image(&[], &["quay.io/x/y@sha256:00"]),
    ];
    let expected = "\
IMAGE                      TAG     ID            SIZE
localhost:5000/a/b         1       abababababab  3.0 MiB
docker.io/library/busybox  latest  abababababab  3.0 MiB
quay.io/x/y                <none>  abababababab  3.0 MiB
";
    assert_eq!(table(&images), expected);
}

#[test]
fn credentials_may_have_colons_in_the_password() {
    assert_eq!(credentials(Some("me:a:b".into())), ("me".to_owned(), "a:b".to_owned()));
    assert_eq!(credentials(None), (String::new(), String::new()));
}
