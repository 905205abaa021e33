//! Artifacts (image-spec, manifest.md, "Guidelines for Artifact Usage"): each blob is one file, and each file one layer
//! of its own, so that they are fetched, shared, collected and mounted like those of images. Pure.

use std::collections::HashSet;

use super::layers::{Content, Layer};
use crate::layer::Name;
use crate::manifest::Descriptor;
use crate::{Digest, Error};

/// The file's name, as every tool that pushes files has it (image-spec, annotations.md).
const TITLE: &str = "org.opencontainers.image.title";

/// `what` names the manifest in errors.
pub(super) fn layers(blobs: &[Descriptor], what: &str) -> Result<Vec<Layer>, Error> {
    let bad = |reason: String| Error::BadManifest { what: what.to_owned(), reason };
    let mut taken = HashSet::new();
    let mut layers: Vec<Layer> = Vec::with_capacity(blobs.len());
    for blob in blobs {
        let title = match blob.annotations.get(TITLE).map(String::as_str) {
            None | Some("") => blob.digest.to_string().replace(':', "-"),
            Some(title) => title.to_owned(),
        };
        let name = Name::parse(title.as_bytes()).map_err(|fault| bad(format!("title of a file: {fault}")))?;
        if name.as_bytes().is_empty() || title.starts_with('/') {
            return Err(bad(format!("title {title:?} is not the name of a file")));
        }
        if !taken.insert(name.clone()) {
            return Err(bad(format!("two of its files are called {title:?}")));
        }
        let below = layers.last().map(|layer| layer.chain_id.clone());
        layers.push(Layer {
            chain_id: chain_id(below.as_ref(), &title, &blob.digest),
            diff_id: blob.digest.clone(),
            blob: blob.clone(),
            content: Content::File(name),
        });
    }
    Ok(layers)
}

/// Another text than that of an image's chain ID: the same bytes may be a layer there and a file here.
fn chain_id(below: Option<&Digest>, title: &str, blob: &Digest) -> Digest {
    let below = below.map(Digest::to_string).unwrap_or_default();
    Digest::of(format!("artifact {below} {blob} {title}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{TITLE, layers};
    use crate::Digest;
    use crate::manifest::Descriptor;

    fn blob(content: &str, title: Option<&str>) -> Descriptor {
        Descriptor {
            media_type: "text/plain".to_owned(),
            digest: Digest::of(content.as_bytes()),
            size: content.len() as u64,
            platform: None,
            urls: Vec::new(),
            annotations: title
                .map(|title| (TITLE.to_owned(), title.to_owned()))
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn files_with_the_same_beginning_share_their_layers() {
        let (one, two, other) = (blob("1", Some("a")), blob("2", Some("b/c")), blob("2", Some("d")));
        let ids = |blobs: &[Descriptor]| -> Vec<Digest> {
            layers(blobs, "it").unwrap().into_iter().map(|layer| layer.chain_id).collect()
        };
        let (first, second) = (ids(&[one.clone(), two]), ids(&[one, other]));
        assert_eq!(first[0], second[0]);
        assert_ne!(first[1], second[1], "the name belongs to it");
    }

    #[test]
    fn a_file_without_a_title_is_called_by_its_digest() {
        let blob = blob("1", None);
        let found = layers(std::slice::from_ref(&blob), "it").unwrap();
        let expected = format!("sha256-{}", blob.digest.hex());
        assert!(
            matches!(&found[0].content, super::Content::File(name) if name.as_bytes() == expected.as_bytes())
        );
    }

    #[test]
    fn titles_that_lead_elsewhere_or_name_no_file_are_refused() {
        for title in ["../x", "/etc/passwd", ".", "a/../..", "a\0b", &"x".repeat(300)] {
            let error = layers(&[blob("1", Some(title))], "manifest X").unwrap_err().to_string();
            assert!(error.contains("manifest X") && error.contains("title"), "{error}");
        }
        let twice = [blob("1", Some("a")), blob("2", Some("./a"))];
        assert!(layers(&twice, "it").unwrap_err().to_string().contains("two of its files"));
    }
}
