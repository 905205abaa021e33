//! Kind `oci`: the sandbox's own process is a container too, made by the runtime, which may put a kernel of its own or a
//! virtual machine around the pod then. Its root file system holds one file, our pause; no image is pulled for it.
//!
//! ```text
//! bundle ─ runtime's create (network and namespaces are there by then) ─ runtime's start ─▶ Ready
//! ```

mod apply;
mod facts;
mod plan;

pub(in crate::sandbox) use apply::delete;
pub(super) use apply::run;
pub(super) use facts::read;
pub(super) use plan::{FirstContainerPlan, decide};
