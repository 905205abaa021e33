# The container runtime of the node: Linkspan, or containerd to compare with. Sourced after node.sh.
# shellcheck shell=bash disable=SC2034

# runtime_choose linkspan|containerd crun|runc
runtime_choose() {
    RUNTIME=$1 OCI_RUNTIME=$2
    case $2 in
    crun) OCI_RUNTIME_PATH=$(tool_dir crun "$CRUN")/crun ;;
    runc) OCI_RUNTIME_PATH=$(tool_dir runc "$RUNC")/runc ;;
    *) die "$2: crun or runc" ;;
    esac
    case $1 in
    linkspan) RUNTIME_SOCKET=$CLUSTER/run/linkspan/linkspan.sock ;;
    containerd) RUNTIME_SOCKET=$CLUSTER/containerd/containerd.sock ;;
    *) die "$1: linkspan or containerd" ;;
    esac
}

# A network without a bridge: each pod has a route of its own, so that what a service translates is always seen on its way back.
runtime_network() {
    cat >"$CLUSTER/etc/cni/net.d/10-cluster.conflist" <<JSON
{ "cniVersion": "1.0.0", "name": "cluster", "plugins": [
  { "type": "ptp", "mtu": 1500, "ipam": { "type": "host-local", "dataDir": "$CLUSTER/cni-addresses",
    "ranges": [[{ "subnet": "$POD_SUBNET" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
  { "type": "portmap", "capabilities": { "portMappings": true } } ] }
JSON
}

runtime_start() {
    "${RUNTIME}_start"
    wait_for 300 "$RUNTIME" runtime_answers
}

runtime_answers() { node_pid "$RUNTIME" && cri version; }

cri() { "$(tool_dir cri-tools "$CRI_TOOLS")/crictl" --config /dev/null --timeout 60s --runtime-endpoint "unix://$RUNTIME_SOCKET" --image-endpoint "unix://$RUNTIME_SOCKET" "$@"; }

linkspan_start() {
    local group
    # The daemon names its cgroup after its prefix.
    group=$("$LINKSPAN_BIN/linkspan" config show --prefix "$CLUSTER" | sed -n '/^\[cgroup\]/,/^\[/s/^name = "\([^"]*\)".*/\1/p')
    [[ -n $group ]] || die "linkspan config show names no cgroup"
    grep -qsx "/$group" "$CLUSTER/cgroups" || echo "/$group" >>"$CLUSTER/cgroups"
    node_start linkspan "$LINKSPAN_BIN/linkspan" serve --prefix "$CLUSTER" --runtime "$OCI_RUNTIME=$OCI_RUNTIME_PATH" \
        --cni-bin-dir "$(tool_dir cni-plugins "$CNI_PLUGINS")"
}

containerd_start() {
    # shellcheck source=contrib/kubernetes/containerd.sh
    source "$REPO_DIR/contrib/kubernetes/containerd.sh"
    containerd_config "$CLUSTER" "$OCI_RUNTIME_PATH" >"$CLUSTER/etc/containerd.toml"
    PATH=$(tool_dir containerd "$CONTAINERD"):$PATH node_start containerd containerd -c "$CLUSTER/etc/containerd.toml"
}
