//! The OCI spec of one container: plain data in, `config.json` out, nothing read from the host.
//!
//! Source: runtime-spec, `config.md` and `config-linux.md`; where it leaves a choice, what Kubernetes relies on
//! (CRI `api.proto`) decides.

mod input;

pub use input::{
    CapabilityInput, DeviceInput, DeviceKind, HugepageLimit, IdMapping, MountInput, NamespaceInput,
    Namespaces, Propagation, Resources, Rlimit, SpecInput,
};
