use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tokio::sync::watch;

use crate::manifest::{OCI_INDEX, OCI_MANIFEST};
use crate::registry::tests::server::{Answer, Server};
use crate::{Digest, Error, ImageId, PullProgress, PullRequest, PullStage};

mod fixture;

use fixture::{Content, Store};

async fn serve(content: &Content) -> Server {
    let content = content.clone();
    Server::start(move |seen| content.answer(seen)).await
}

async fn pull(store: &Store, reference: impl ToString) -> Result<ImageId, Error> {
    let request = PullRequest { reference: reference.to_string(), credentials: None, progress: None };
    store.images.pull(request).await
}

/// Names of all files in all layers.
fn files(store: &Store) -> Vec<String> {
    let mut names = Vec::new();
    for layer in std::fs::read_dir(store.dir.path().join("images/layers")).unwrap() {
        for file in std::fs::read_dir(layer.unwrap().path().join("diff")).unwrap() {
            names.push(file.unwrap().file_name().into_string().unwrap());
        }
    }
    names.sort();
    names
}

#[tokio::test]
async fn an_image_is_pulled_and_found_by_all_its_names() {
    let mut content = Content::default();
    let fixture = content.image("v1", &["a", "b", "c"]);
    let (server, store) = (serve(&content).await, Store::open().await);
    let (sender, progress) = watch::channel(PullProgress::default());
    let reference = server.reference("team/app:v1");
    let request = PullRequest { reference: reference.to_string(), credentials: None, progress: Some(sender) };
    let id = store.images.pull(request).await.unwrap();
    assert_eq!(id.to_string(), fixture.id);
    assert_eq!(files(&store), ["a", "b", "c"]);
    let name = reference.name();
    for key in [
        reference.to_string(),
        format!("{name}@{}", fixture.manifest),
        format!("{name}@{}", fixture.index),
        fixture.id.clone(),
        id.hex()[..4].to_owned(),
    ] {
        assert_eq!(store.images.find(&key).map(|image| image.id.clone()), Some(id.clone()), "{key}");
    }
    let image = store.images.find(&fixture.id).unwrap();
    assert_eq!(image.config.cmd, ["/bin/true"]);
    let last = *progress.borrow();
    assert_eq!((last.stage, last.layers_done, last.layers_total), (PullStage::Done, 3, 3));
    assert!(last.bytes_done > 0 && last.bytes_done == last.bytes_total, "{last:?}");
}

#[tokio::test]
async fn what_is_here_is_not_fetched_again() {
    let mut content = Content::default();
    let first = content.image("v1", &["a", "b"]);
    content.image("v2", &["a", "b", "c"]);
    let (server, store) = (serve(&content).await, Store::open().await);
    let id = pull(&store, server.reference("app:v1")).await.unwrap();
    let asked_before = server.seen().len();
    assert_eq!(pull(&store, server.reference("app:v1")).await.unwrap(), id);
    let asked: Vec<_> = server.seen()[asked_before..].iter().map(|seen| seen.method.clone()).collect();
    assert_eq!(asked, ["HEAD"], "the tag is asked after, and nothing else");
    assert_eq!(pull(&store, server.reference("other:v1")).await.unwrap(), id);
    pull(&store, server.reference("app:v2")).await.unwrap();
    for layer in &first.layers {
        assert_eq!(server.asked(&layer.to_string()).len(), 1, "shared layers are fetched once");
    }
    assert_eq!(files(&store), ["a", "b", "c"]);
}

#[tokio::test]
async fn a_tag_that_moved_is_followed() {
    let (mut old, mut new) = (Content::default(), Content::default());
    old.image("latest", &["old"]);
    let moved = new.image("latest", &["new"]);
    let has_moved = Arc::new(AtomicBool::new(false));
    let switch = has_moved.clone();
    let server = Server::start(move |seen| match switch.load(Ordering::Relaxed) {
        false => old.answer(seen),
        true => new.answer(seen),
    })
    .await;
    let store = Store::open().await;
    let before = pull(&store, server.reference("app")).await.unwrap();
    has_moved.store(true, Ordering::Relaxed);
    let after = pull(&store, server.reference("app")).await.unwrap();
    assert_eq!(after.to_string(), moved.id);
    assert!(store.images.find(before.as_str()).unwrap().repo_tags.is_empty());
    assert_eq!(
        store.images.find(after.as_str()).unwrap().repo_tags,
        [format!("{}/app:latest", server.address)]
    );
}

#[tokio::test]
async fn callers_of_the_same_pull_share_one_transfer() {
    let mut content = Content::default();
    let fixture = content.image("v1", &["a", "b"]);
    let (server, store) = (serve(&content).await, Store::open().await);
    let reference = server.reference("app:v1").to_string();
    let pulls = (0..8).map(|_| pull(&store, &reference));
    let results = futures_util::future::join_all(pulls).await;
    assert!(results.iter().all(|result| result.as_ref().is_ok_and(|id| id.to_string() == fixture.id)));
    assert_eq!(server.asked("/manifests/v1").len(), 1);
}

#[tokio::test]
async fn different_images_fetch_a_common_layer_once() {
    let mut content = Content::default();
    let images = [content.image("v1", &["base", "x"]), content.image("v2", &["base", "y"])];
    let server = serve(&content).await;
    // One slot: whoever waits for the other's layer must not hold it.
    for slots in [4, 1] {
        let store = Store::with_slots(slots).await;
        let before = server.asked(&images[0].layers[0].to_string()).len();
        let (one, two) =
            tokio::join!(pull(&store, server.reference("app:v1")), pull(&store, server.reference("app:v2")));
        assert_eq!(
            (one.unwrap().to_string(), two.unwrap().to_string()),
            (images[0].id.clone(), images[1].id.clone())
        );
        assert_eq!(server.asked(&images[0].layers[0].to_string()).len(), before + 1);
        assert_eq!(files(&store), ["base", "x", "y"]);
    }
}

#[tokio::test]
async fn a_pull_goes_on_when_its_caller_leaves() {
    let mut content = Content::default();
    let fixture = content.image("v1", &["a"]);
    let (server, store) = (serve(&content).await, Store::open().await);
    let reference = server.reference("app:v1").to_string();
    let (sender, mut progress) = watch::channel(PullProgress::default());
    let request = PullRequest { reference: reference.clone(), credentials: None, progress: Some(sender) };
    tokio::select! {
        biased;
        _ = store.images.pull(request) => panic!("too early"),
        begun = progress.changed() => begun.unwrap(),
    }
    progress.wait_for(|progress| progress.stage == PullStage::Done).await.unwrap();
    assert_eq!(store.images.find(&reference).unwrap().id.to_string(), fixture.id);
}

#[tokio::test]
async fn a_damaged_layer_is_fetched_once_more() {
    let mut content = Content::default();
    let fixture = content.image("v1", &["a"]);
    let bad = fixture.layers[0].to_string();
    for times in [1, usize::MAX] {
        let (content, bad) = (content.clone(), bad.clone());
        let server = Server::start(move |seen| match seen.path.ends_with(&bad) && seen.earlier < times {
            true => content.answer(seen).garbled(),
            false => content.answer(seen),
        })
        .await;
        let store = Store::open().await;
        let result = pull(&store, server.reference("app:v1")).await;
        if times == 1 {
            assert_eq!(result.unwrap().to_string(), fixture.id);
        } else {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
            assert!(store.images.list().is_empty());
            let staging = store.dir.path().join("images/staging");
            assert_eq!(std::fs::read_dir(staging).unwrap().count(), 0, "nothing is left half done");
        }
    }
}

#[tokio::test]
async fn the_registrys_error_comes_through_the_extractor() {
    let mut content = Content::default();
    let fixture = content.image("v1", &["a", "b"]);
    let bad = fixture.layers[0].to_string();
    let server = Server::start(move |seen| match seen.path.ends_with(&bad) {
        true => Answer::status(403, r#"{"errors":[{"code":"DENIED","message":"quota exceeded"}]}"#),
        false => content.answer(seen),
    })
    .await;
    let store = Store::open().await;
    let error = pull(&store, server.reference("app:v1")).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert!(error.to_string().contains("quota exceeded"), "{error}");
}

#[tokio::test]
async fn what_does_not_suit_this_machine_is_refused() {
    let mut content = Content::default();
    let other = json!({"os": "linux", "architecture": "mips"});
    let index = json!({"mediaType": OCI_INDEX, "manifests": [
        {"mediaType": OCI_MANIFEST, "digest": Digest::of(b"x"), "size": 1, "platform": other},
    ]});
    content.manifest(Some("other"), &index);
    content.manifest(
        Some("artifact"),
        &json!({
            "mediaType": OCI_MANIFEST, "layers": [{"digest": Digest::of(b"x"), "size": 1}],
            "config": {"digest": Digest::of(b"{}"), "size": 2},
        }),
    );
    let inner = content.clone();
    let empty = format!("blobs/{}", Digest::of(b"{}"));
    let server = Server::start(move |seen| match seen.path.ends_with(&empty) {
        true => Answer::ok("{}"),
        false => inner.answer(seen),
    })
    .await;
    let store = Store::open().await;
    let error = pull(&store, server.reference("app:other")).await.unwrap_err();
    assert!(matches!(error, Error::NoPlatform { .. }), "{error}");
    assert!(error.to_string().contains("linux/mips"), "{error}");
    let error = pull(&store, server.reference("app:artifact")).await.unwrap_err();
    assert!(error.to_string().contains("no container image"), "{error}");
    assert!(matches!(pull(&store, "UPPER").await, Err(Error::BadReference { .. })));
    assert!(matches!(pull(&store, server.reference("app:none")).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn an_image_by_digest_gets_no_tag() {
    let mut content = Content::default();
    let fixture = content.image("v1", &["a"]);
    let (server, store) = (serve(&content).await, Store::open().await);
    let reference = format!("{}/app@{}", server.address, fixture.index);
    let id = pull(&store, &reference).await.unwrap();
    let image = store.images.find(&reference).unwrap();
    assert_eq!((&image.id, image.repo_tags.len()), (&id, 0));
    assert!(image.repo_digests.contains(&reference), "{:?}", image.repo_digests);
}

#[tokio::test]
async fn short_names_mean_the_same_in_a_pull_and_in_a_look_up() {
    let mut content = Content::default();
    let fixture = content.image("v1", &["a"]);
    let (server, store) = (serve(&content).await, Store::open().await);
    let conf = format!("unqualified-search-registries = ['127.0.0.1:1', '{}']\n", server.address);
    std::fs::write(store.dir.path().join("registries.conf"), conf).unwrap();
    let id = pull(&store, "team/app:v1").await.unwrap();
    assert_eq!(id.to_string(), fixture.id);
    let image = store.images.find("team/app:v1").unwrap();
    assert_eq!(image.repo_tags, [format!("{}/team/app:v1", server.address)]);
    store.images.remove("team/app:v1", &|_| false).await.unwrap();
    assert!(store.images.list().is_empty());
}

#[tokio::test]
async fn an_artifact_is_pulled_as_its_files_and_told_apart_by_its_manifest() {
    let mut content = Content::default();
    let manifest = content.artifact("model", &[("weights.bin", "1"), ("docs/README", "2")]);
    let other = content.artifact("other", &[("weights.bin", "1"), ("docs/LICENSE", "3")]);
    let (server, store) = (serve(&content).await, Store::open().await);
    let id = pull(&store, server.reference("team/it:model")).await.unwrap();
    assert_eq!(id.to_string(), manifest.to_string());
    let again = pull(&store, server.reference("team/it:model")).await.unwrap();
    assert_eq!(again, id);
    let image = store.images.find(id.as_str()).unwrap();
    assert_eq!(image.artifact_type.as_deref(), Some("application/vnd.example.model"));
    assert_eq!(image.layers.len(), 2);
    assert_eq!(files(&store), ["docs", "weights.bin"]);
    let second = pull(&store, server.reference("team/it:other")).await.unwrap();
    assert_eq!(second.to_string(), other.to_string());
    assert_eq!(files(&store), ["docs", "docs", "weights.bin"], "the file that both begin with is there once");
    store.images.remove(id.as_str(), &|_| false).await.unwrap();
    assert_eq!(files(&store), ["docs", "weights.bin"]);
}

#[tokio::test]
async fn a_file_of_an_artifact_that_is_not_what_was_promised_is_refused() {
    let mut content = Content::default();
    content.artifact("model", &[("weights.bin", "the right bytes")]);
    let right = Digest::of(b"the right bytes").to_string();
    let honest = content.clone();
    let server = Server::start(move |seen| match seen.path.ends_with(&right) {
        true => Answer::ranged(b"the wrong bytes", seen),
        false => honest.answer(seen),
    })
    .await;
    let store = Store::open().await;
    let error = pull(&store, server.reference("team/it:model")).await.unwrap_err();
    assert!(matches!(error, Error::DigestMismatch { .. }), "{error}");
    assert!(files(&store).is_empty());
}
