# How containerd is set up beside us: the same registry, network and OCI runtime, all below one folder. Sourced.
# shellcheck shell=bash

# containerd_config PREFIX OCI_RUNTIME_PATH: prints its configuration; its socket is PREFIX/containerd/containerd.sock.
containerd_config() {
    cat <<TOML
version = 3
root = '$1/containerd/root'
state = '$1/containerd/state'
[grpc]
address = '$1/containerd/containerd.sock'
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = '$1/etc/containers/certs.d'
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = 'registry.k8s.io/pause:3.10'
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
conf_dir = '$1/etc/cni/net.d'
bin_dirs = ['$(tool_dir cni-plugins "$CNI_PLUGINS")']
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = '$2'
TOML
}
