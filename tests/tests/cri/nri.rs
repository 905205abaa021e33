//! NRI: plugins on the official stub, beside the real daemon.

mod adjust;
mod events;
mod failures;
mod updates;

use linkspan_tests::node::Options;

/// A node whose daemon has these lines in its section `nri`.
fn options(lines: &str) -> Options {
    Options { configuration: format!("[nri]\n{lines}"), ..Options::default() }
}
