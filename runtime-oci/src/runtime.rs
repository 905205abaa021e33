//! The command line of an OCI runtime.

/// What a runtime's binary can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Highest spec version that the runtime takes.
    pub oci_version: String,
    /// Mount options it knows, `rro` among them or not; empty if it does not say.
    pub mount_options: Vec<String>,
    /// It can make user namespaces and map the IDs of mounts.
    pub user_namespaces: bool,
    pub idmapped_mounts: bool,
}

/// One runtime handler: a binary and its directory of states.
#[derive(Clone, Debug)]
pub struct Runtime {
    _name: String,
}
