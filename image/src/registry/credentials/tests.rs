use serde_json::json;

use super::look_up;
use crate::{Credentials, Error};

async fn look(file: &serde_json::Value, host: &str, repository: &str) -> Result<Option<Credentials>, Error> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("auth.json");
    std::fs::write(&path, file.to_string()).unwrap();
    look_up(&path, host, repository).await
}

fn basic(username: &str, password: &str) -> Option<Credentials> {
    Some(Credentials::Basic { username: username.to_owned(), password: password.to_owned() })
}

#[tokio::test]
async fn the_longest_matching_key_wins() {
    let file = json!({"auths": {
        "quay.io": {"auth": "YTox"},
        "quay.io/team": {"auth": "Yjoy"},
        "quay.io/team/app": {"auth": "Yzoz"},
        "https://index.docker.io/v1/": {"auth": "ZDo0OjU="},
        "localhost:5000": {"username": "e", "password": "6"},
        "tok.io": {"identitytoken": "id", "auth": "eDp5"},
        "reg.io": {"registrytoken": "rt"},
        "empty.io": {},
        "null.io": null,
    }});
    let check = async |host: &str, repository: &str, expected: Option<Credentials>| {
        assert_eq!(look(&file, host, repository).await.unwrap(), expected, "{host}/{repository}");
    };
    check("quay.io", "team/app", basic("c", "3")).await;
    check("quay.io", "team/app2", basic("b", "2")).await;
    check("quay.io", "teams/app", basic("a", "1")).await;
    check("docker.io", "library/busybox", basic("d", "4:5")).await;
    check("localhost:5000", "x", basic("e", "6")).await;
    check("tok.io", "x", Some(Credentials::IdentityToken("id".to_owned()))).await;
    check("reg.io", "x", Some(Credentials::RegistryToken("rt".to_owned()))).await;
    check("empty.io", "x", None).await;
    check("null.io", "x", None).await;
    check("other.io", "x", None).await;
}

#[tokio::test]
async fn a_missing_file_has_no_credentials_and_a_broken_one_says_so() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(look_up(&dir.path().join("none"), "a.io", "b").await.unwrap(), None);
    let error = look(&json!({"auths": {"a.io": {"auth": "!!"}}}), "a.io", "b").await.unwrap_err();
    assert!(error.to_string().contains("a.io"), "{error}");
    assert!(look(&json!([1]), "a.io", "b").await.is_err());
    for hush in [json!("hush"), json!({"username": "a", "password": 1234}), json!([["hush"]])] {
        let error = look(&json!({"auths": {"a.io": hush}}), "a.io", "b").await.unwrap_err().to_string();
        assert!(error.contains("auth.json") && error.contains("line 1"), "{error}");
        assert!(!error.contains("hush") && !error.contains("1234"), "{error}");
    }
}

#[tokio::test]
async fn a_missing_credential_helper_is_named() {
    let file = json!({"credHelpers": {"a.io": "linkspan-test-none"}});
    let error = look(&file, "a.io", "b").await.unwrap_err().to_string();
    assert!(error.contains("docker-credential-linkspan-test-none") && error.contains("a.io"), "{error}");
    assert_eq!(look(&file, "b.io", "b").await.unwrap(), None);
}
