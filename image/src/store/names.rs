//! Which records change when an image is named or unnamed. Pure.

use std::sync::Arc;

use super::records::{ImageRecord, Records, repository_of};
use crate::{Error, ImageId};

/// Records to write, in order.
pub(crate) type Changes = Vec<Arc<ImageRecord>>;

/// An image came in: it gets its names beside those it has, and a tag that another image has moves.
pub(crate) fn add(records: &Records, mut new: ImageRecord) -> Changes {
    if let Some(known) = records.get(&new.id) {
        for (tag, since) in &known.tags {
            new.tags.entry(tag.clone()).or_insert(*since);
        }
        let mut digests = known.digests.clone();
        digests.extend(new.digests.iter().filter(|digest| !known.digests.contains(digest)).cloned());
        new.digests = digests;
    }
    // The new owner first: between the two writes the tag has two owners, never none.
    let moved = records
        .values()
        .filter(|other| other.id != new.id && other.tags.keys().any(|tag| new.tags.contains_key(tag)));
    let losers: Vec<Arc<ImageRecord>> = moved
        .map(|other| {
            let mut other = ImageRecord::clone(other);
            other.tags.retain(|tag, _| !new.tags.contains_key(tag));
            Arc::new(other)
        })
        .collect();
    std::iter::once(Arc::new(new)).chain(losers).collect()
}

/// How an image was named when its removal was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NamedBy {
    Id,
    /// Canonical.
    Tag(String),
    /// Canonical `name@digest`.
    Digest(String),
}

/// What a removal comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The image loses names and stays.
    Rename(Arc<ImageRecord>),
    /// The image goes, with all its names.
    Delete(ImageId),
}

/// By tag: the image goes when it has no other tag and no name in another repository. By digest: all names of
/// that repository are taken away, and the image goes when none is left. By ID: it goes. An image that a
/// container uses may lose names, but it does not go: what cannot be pulled again must stay to restart it.
pub(crate) fn remove(record: &ImageRecord, named_by: &NamedBy, in_use: bool) -> Result<Removal, Error> {
    let mut rest = record.clone();
    match named_by {
        NamedBy::Id => {
            rest.tags.clear();
            rest.digests.clear();
        }
        NamedBy::Tag(tag) => {
            rest.tags.remove(tag);
            if rest.tags.is_empty() {
                rest.digests.retain(|digest| repository_of(digest) != repository_of(tag));
            }
        }
        NamedBy::Digest(digest) => {
            let repository = repository_of(digest);
            rest.tags.retain(|tag, _| repository_of(tag) != repository);
            rest.digests.retain(|digest| repository_of(digest) != repository);
        }
    }
    if !rest.digests.is_empty() {
        return Ok(Removal::Rename(Arc::new(rest)));
    }
    if in_use {
        return Err(Error::InUse { image: record.id.to_string() });
    }
    Ok(Removal::Delete(record.id.clone()))
}
