//! A list as a stream: CRI's `Stream*` RPCs, for lists beyond the size that one message may have.

use prost::Message;
use tonic::{Response, Status};

/// Far below what any client takes, and large enough for hundreds of pods.
const MOST_BYTES: usize = 1 << 20;

/// Every item once, in the list's order, then the end.
pub(crate) type Batches<R> = tokio_stream::Iter<std::vec::IntoIter<Result<R, Status>>>;

/// As many items in a message as fit, and one at least. An empty list has no message at all.
pub(crate) fn batches<T: Message, R>(items: Vec<T>, wrap: impl Fn(Vec<T>) -> R) -> Response<Batches<R>> {
    let messages: Vec<_> = cut(items, MOST_BYTES).into_iter().map(|batch| Ok(wrap(batch))).collect();
    Response::new(tokio_stream::iter(messages))
}

fn cut<T: Message>(items: Vec<T>, most_bytes: usize) -> Vec<Vec<T>> {
    let mut batches: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let bytes = item.encoded_len();
        match batches.last_mut() {
            Some(batch) if bytes <= room => {
                batch.push(item);
                room -= bytes;
            }
            _ => {
                batches.push(vec![item]);
                room = most_bytes.saturating_sub(bytes);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests;
