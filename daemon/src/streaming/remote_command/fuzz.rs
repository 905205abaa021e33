//! What comes on the stream of a terminal's sizes.

use futures_util::FutureExt;

use super::resize::Sizes;

/// # Panics
/// If something waits for more than there is.
pub fn terminal_sizes(data: &[u8]) {
    let read = async {
        let (mut sizes, mut count) = (Sizes::new(data), 0);
        while sizes.next().await.is_some() {
            count += 1;
        }
        count
    };
    let count = read.now_or_never().expect("what is there is read at once");
    // The shortest that is taken is `[1,1]`.
    assert!(count <= data.len() / 5, "{count} sizes in {} bytes", data.len());
}
