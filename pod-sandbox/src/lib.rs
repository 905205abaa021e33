//! Pods and containers over time: the story that the kubelet tells through CRI.
//!
//! Owns:
//! - sandboxes and containers, their states and what each request may do to them ([`Pods`]);
//! - their records on disk, recovery after a restart, the events of their changes;
//! - namespaces ([`namespaces`]) and the network of a pod ([`network`]);
//! - statistics put together from cgroups, images and interfaces.
//!
//! Must never know:
//! - gRPC, HTTP and protobuf;
//! - how an image is fetched or laid out on disk;
//! - the command line of an OCI runtime, or how its monitor works inside.

mod error;
pub mod model;
pub mod namespaces {
    //! A pod's namespaces.
    mod error;
    pub use error::Error;

    /// Counters of one interface since it was made, as the pod sees it.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct InterfaceStats {
        pub name: String,
        pub rx_bytes: u64,
        pub rx_packets: u64,
        pub rx_errors: u64,
        pub rx_dropped: u64,
        pub tx_bytes: u64,
        pub tx_packets: u64,
        pub tx_errors: u64,
        pub tx_dropped: u64,
    }
}
pub mod network {
    //! A pod's network.
    mod attachment;
    mod error;
    pub use attachment::{Attachment, DnsConfig, INTERFACE, NetworkStatus, PortMapping, Protocol, Readiness};
    pub use error::Error;
}

pub use error::{Error, Refusal};
