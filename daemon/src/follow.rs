//! What happens, as a stream without an end of its own: CRI GetContainerEvents.
//!
//! Nothing is kept for a listener but its place in the ring of the latest events. One that falls behind it is told so,
//! and has to list anew: a stream never has a gap.

use std::pin::Pin;

use futures_util::stream::{Stream, unfold};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tonic::Status;

use crate::wire::status;

/// Ends with an error, always.
pub(crate) type Followed<R> = Pin<Box<dyn Stream<Item = Result<R, Status>> + Send>>;

/// Everything from now on, until the listener is too slow or `ending` becomes true.
pub(crate) fn follow<T, R>(
    told: broadcast::Receiver<T>,
    ending: watch::Receiver<bool>,
    to_wire: fn(T) -> R,
) -> Followed<R>
where
    T: Clone + Send + 'static,
    R: 'static,
{
    let next = move |state: Option<(broadcast::Receiver<T>, watch::Receiver<bool>)>| async move {
        let (mut told, mut ending) = state?;
        let event = tokio::select! {
            biased;
            () = ended(&mut ending) => return Some((Err(status::ending()), None)),
            event = told.recv() => event,
        };
        match event {
            Ok(event) => Some((Ok(to_wire(event)), Some((told, ending)))),
            Err(RecvError::Lagged(missed)) => Some((Err(status::missed(missed)), None)),
            Err(RecvError::Closed) => Some((Err(status::ending()), None)),
        }
    };
    Box::pin(unfold(Some((told, ending)), next))
}

/// Waits until the daemon goes down.
pub(crate) async fn ended(ending: &mut watch::Receiver<bool>) {
    // Fails only when the sender is gone, which is an end too.
    let _ = ending.wait_for(|ending| *ending).await;
}

#[cfg(test)]
mod tests;
