//! Any message of CRI that is valid on the wire.

#[path = "../../../fuzz/structure.rs"]
mod structure;

use linkspan_cri_api::{FILE_DESCRIPTOR_SET, v1};
use prost::Message;
use structure::{Anything, Choices, Protocol};

use super::field::{BadField, Inside, not_empty, required, seconds};
use super::{checkpoint, container, filter, image, node, sandbox, streaming};

thread_local! {
    static CRI: Protocol = Protocol::new(FILE_DESCRIPTOR_SET);
}

/// One request of one RPC, converted as its handler does it.
///
/// # Panics
/// If a refusal names no field of the request.
pub fn cri_request(data: &[u8]) {
    let mut choices = Choices(data);
    CRI.with(|cri| {
        let (rpc, request) = &cri.requests[usize::from(choices.next()) % cri.requests.len()];
        let wire = cri.message(request, &mut choices, &Anything);
        if let Err(BadField { field, reason }) = convert(rpc, &wire) {
            assert!(cri.has_field(request, &field), "{rpc}: {request} has no field {field}");
            assert!(!reason.is_empty() && reason.len() < wire.len() * 6 + 200, "{rpc}: {field}: {reason}");
        }
    });
}

fn read<M: Message + Default + PartialEq + std::fmt::Debug>(wire: &[u8]) -> M {
    let message = M::decode(wire).expect("a message that keeps to its descriptor is read");
    let again = M::decode(&*message.encode_to_vec()).expect("a message is read as it was written");
    assert_eq!(again, message);
    message
}

fn convert(rpc: &str, wire: &[u8]) -> Result<(), BadField> {
    match rpc {
        "RunPodSandbox" => {
            let request: v1::RunPodSandboxRequest = read(wire);
            sandbox::config(required(request.config, "config")?).inside("config")?;
        }
        "CreateContainer" => {
            let request: v1::CreateContainerRequest = read(wire);
            not_empty(request.pod_sandbox_id, "pod_sandbox_id")?;
            container::config(required(request.config, "config")?).inside("config")?;
        }
        "RestorePod" => drop(checkpoint::restore(read(wire))?),
        "UpdateRuntimeConfig" => {
            node::pod_cidr(read(wire)).inside("runtime_config.network_config")?;
        }
        "ListPodSandbox" => drop(filter::sandboxes(read::<v1::ListPodSandboxRequest>(wire).filter)?),
        "ListContainers" => drop(filter::containers(read::<v1::ListContainersRequest>(wire).filter)?),
        "ListContainerStats" => {
            drop(filter::container_stats(read::<v1::ListContainerStatsRequest>(wire).filter))
        }
        "ListPodSandboxStats" => {
            drop(filter::sandbox_stats(read::<v1::ListPodSandboxStatsRequest>(wire).filter))
        }
        "StopContainer" => {
            seconds(read::<v1::StopContainerRequest>(wire).timeout, "timeout")?;
        }
        "ExecSync" => {
            seconds(read::<v1::ExecSyncRequest>(wire).timeout, "timeout")?;
        }
        "Exec" => {
            streaming::exec(&read(wire))?;
        }
        "Attach" => {
            streaming::attach(&read(wire))?;
        }
        "PortForward" => {
            let ports = streaming::ports(&read::<v1::PortForwardRequest>(wire).port)?;
            assert!(!ports.contains(&0));
        }
        "ImageStatus" => drop(image::name(read::<v1::ImageStatusRequest>(wire).image)?),
        "RemoveImage" => drop(image::name(read::<v1::RemoveImageRequest>(wire).image)?),
        "PullImage" => {
            let request: v1::PullImageRequest = read(wire);
            image::name(request.image)?;
            image::credentials(request.auth)?;
        }
        "UpdateContainerResources" => {
            let request: v1::UpdateContainerResourcesRequest = read(wire);
            super::resources::resources(required(request.linux, "linux")?);
        }
        "UpdatePodSandboxResources" => drop(read::<v1::UpdatePodSandboxResourcesRequest>(wire)),
        // An ID, or nothing: there is nothing to convert.
        _ => {}
    }
    Ok(())
}
