# A cluster of a stage's own, and the proof that nothing of its pods is left. Sourced by the stages that drive one.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../kubernetes/node.sh"
# shellcheck source=contrib/kubernetes/runtime.sh
source "$REPO_DIR/contrib/kubernetes/runtime.sh"
# shellcheck source=contrib/kubernetes/control-plane.sh
source "$REPO_DIR/contrib/kubernetes/control-plane.sh"
# shellcheck source=contrib/kubernetes/kubelet.sh
source "$REPO_DIR/contrib/kubernetes/kubelet.sh"
need_root "the stages make namespaces, mounts and cgroups"
export LINKSPAN_BIN=${LINKSPAN_BIN:-${CARGO_TARGET_DIR:-$REPO_DIR/target}/debug}

# stage_up NAME [RUNTIME [OCI_RUNTIME]]
stage_up() {
    node_at "$(mktemp -d "/var/tmp/linkspan-$1.XXXXXX")"
    runtime_choose "${2:-linkspan}" "${3:-crun}"
    trap stage_cleanup EXIT
    "$REPO_DIR/contrib/cluster" up --dir "$CLUSTER" --runtime "$RUNTIME" --oci-runtime "$OCI_RUNTIME" >/dev/null
}

# At any end. A failed stage's logs go to the results, and the runtime's last lines to the reader.
stage_cleanup() {
    local status=$?
    trap - EXIT
    set +e
    if [[ $status != 0 && -d $CLUSTER/logs ]]; then
        [[ -z ${LINKSPAN_RESULTS:-} ]] || cp -r "$CLUSTER/logs" "$LINKSPAN_RESULTS/${0##*/}-logs"
        grep -E ' (WARN|ERROR) |panicked' "$CLUSTER/logs/$RUNTIME.log" | tail -n 20 >&2
    fi
    if [[ $status != 0 && -n ${LINKSPAN_KEEP:-} ]]; then say "kept: $CLUSTER"; else node_remove; rm -rf "$CLUSTER"; fi
    exit "$status"
}

# Prints what there is of pods on the node, one a line; with nothing left of them it prints nothing.
pods_left() {
    cri pods -q | sed 's/^/sandbox: /'
    cri ps -aq | sed 's/^/container: /'
    # The kubelet mounts its own folder over itself.
    { node_mounts | grep -vx -e "$CLUSTER/netns" -e "$CLUSTER/kubelet" || true; } | sed 's/^/mount: /'
    find /sys/fs/cgroup -path "*$NODE_CGROUP/kubepods/*" -type d -name 'pod*' | sed 's/^/cgroup: /'
    find "$CLUSTER/cni-addresses" -type f -name '10.*' 2>/dev/null | sed 's/^/address: /' || true
    in_node ip -o link show type veth | { grep -v ' eth0@' || true; } | sed 's/^/veth: /'
    linkspan_left
}

linkspan_left() {
    [[ $RUNTIME == linkspan ]] || return 0
    find "$CLUSTER/run/linkspan/pods" -mindepth 1 -maxdepth 1 | sed 's/^/bundle: /'
    find "$CLUSTER/var/lib/linkspan/state" -type f ! -path "*/state/node/*" | sed 's/^/record: /'
    { pgrep -af "linkspan-monitor.*$CLUSTER/" || true; } | sed 's/^/process: /'
}

# stage_finish: the cluster's last pods go, and nothing of any pod may be left once the kubelet has collected.
stage_finish() {
    kube -n kube-system delete --wait=false deployment/coredns >/dev/null
    if ! (wait_for 1800 "the end of all pods" nothing_left); then
        pods_left | sed 's/^/LEFT: /' >&2
        die "something of the pods is left"
    fi
    say "nothing is left of any pod"
}

nothing_left() { [[ -z $(pods_left) ]]; }

# What an operator would have to explain.
daemon_errors() { { grep -E ' ERROR |panicked' "$CLUSTER/logs/linkspan.log" || true; } | cut -c1-400; }
