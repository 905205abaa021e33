//! What CNI plugins and their configuration may say.

pub use super::cni::fuzz::{cni_conf, cni_result};
