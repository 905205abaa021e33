//! Images of the suites, built offline: nothing can be pulled where these tests run.

pub mod artifact;
pub mod base;
pub mod catalog;
pub mod content;
pub mod image;
pub mod kubernetes;
pub mod large;
pub mod layer;
pub mod layout;
pub mod odd;
pub mod storage;
pub mod tar;
