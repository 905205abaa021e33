# A node of a stage's own: registry, CNI network and daemon below one folder, and the proof that nothing of it is left.
# Sourced by the stages that drive the daemon from outside; the Rust suites have their own harness in tests/src.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/../tools/base.sh"
need_root "the stages make namespaces, mounts and cgroups"

PATH=$("$TOOLS_DIR/setup" --path)
export PATH
LINKSPAN_BIN=${LINKSPAN_BIN:-${CARGO_TARGET_DIR:-$REPO_DIR/target}/debug}

# node_prepare NAME: an empty node below NODE, with the suites' registry answering under their own hosts' names.
node_prepare() {
    NODE=$(mktemp -d "/var/tmp/linkspan-$1.XXXXXX")
    # As /run and /var are: users of pods' user namespaces pass through.
    chmod 711 "$NODE"
    NODE_SOCKET=$NODE/run/linkspan/linkspan.sock
    NODE_BRIDGE=lst$((BASHPID % 100000))
    NODE_SUBNET=10.$((100 + BASHPID % 100)).$((BASHPID / 100 % 250)).0/24
    NODE_DAEMON='' NODE_REGISTRY=''
    trap node_cleanup EXIT
    mkdir -p "$NODE/etc/cni/net.d"
    "$TOOLS_DIR/registry" start "$NODE" >/dev/null
    NODE_REGISTRY=$(<"$NODE/registry.pid")
    cat >"$NODE/etc/cni/net.d/10-stage.conflist" <<JSON
{ "cniVersion": "1.0.0", "name": "$NODE_BRIDGE", "plugins": [
  { "type": "bridge", "bridge": "$NODE_BRIDGE", "isGateway": true, "ipMasq": true, "hairpinMode": true,
    "ipam": { "type": "host-local", "dataDir": "$NODE/cni-addresses", "ranges": [[{ "subnet": "$NODE_SUBNET" }]], "routes": [{ "dst": "0.0.0.0/0" }] } },
  { "type": "portmap", "capabilities": { "portMappings": true } } ] }
JSON
}

free_port() {
    local port
    while port=$((20000 + RANDOM % 20000)); do
        ss -Hltn "sport = :$port" | grep -q . || { echo "$port"; return; }
    done
}

# node_serve NAME=PATH...: starts (or starts again) the daemon with these runtimes.
node_serve() {
    local runtimes=() runtime
    for runtime in "$@"; do runtimes+=(--runtime "$runtime"); done
    "$LINKSPAN_BIN/linkspan" serve --prefix "$NODE" "${runtimes[@]}" --cni-bin-dir "$(tool_dir cni-plugins "$CNI_PLUGINS")" \
        2>>"$NODE/daemon.log" &
    NODE_DAEMON=$!
    wait_for 300 "the daemon's socket" node_ready
}

node_ready() { kill -0 "$NODE_DAEMON" && crictl_node version; }

# The node's network is ready too, so that pods start at once.
crictl_node() {
    crictl --config /dev/null --timeout 60s --runtime-endpoint "unix://$NODE_SOCKET" --image-endpoint "unix://$NODE_SOCKET" "$@"
}

# The cgroup name that the daemon made of the prefix.
node_cgroup() { "$LINKSPAN_BIN/linkspan" config show --prefix "$NODE" | sed -n '/^\[cgroup\]/,/^\[/s/^name = "\([^"]*\)".*/\1/p'; }

# Removes all pods and images through the API, stops the daemon, and fails if anything is left of them.
node_finish() {
    local pod left=() cgroup
    for pod in $(crictl_node pods -q); do crictl_node rmp -f "$pod" >/dev/null; done
    cgroup=$(node_cgroup)
    kill "$NODE_DAEMON"
    wait "$NODE_DAEMON" || die "the daemon ended with an error"
    NODE_DAEMON=''
    # What the CNI bridge plugin itself leaves by design is its bridge.
    ip link delete "$NODE_BRIDGE" 2>/dev/null || true
    wait_for 50 "the end of the node's processes" node_has_no_process
    mapfile -t left < <(node_leftovers "$cgroup")
    [[ ${#left[@]} == 0 ]] || { printf 'LEFT: %s\n' "${left[@]}" >&2; die "something of the node is left"; }
    say "nothing is left of the node"
}

node_has_no_process() { ! node_processes | grep -q .; }

node_processes() {
    local pid command
    for pid in /proc/[0-9]*; do
        command=$({ tr "\0" " " <"$pid/cmdline"; } 2>/dev/null) || continue
        [[ $command == *"$NODE/run"* || $command == *"$NODE/var"* ]] && echo "${pid#/proc/} $command"
    done
    true
}

node_leftovers() {
    grep -F " $NODE/" /proc/self/mountinfo | sed 's/^/mount: /' || true
    node_processes | sed 's/^/process: /'
    find /sys/fs/cgroup -mindepth 2 -maxdepth 4 -type d -name "$1*" 2>/dev/null | sed 's/^/cgroup: /'
    # What is known of the node itself outlasts its pods.
    find "$NODE/run/linkspan/pods" "$NODE/var/lib/linkspan/state" -mindepth 1 -type f ! -path "*/state/node/*" 2>/dev/null | sed 's/^/file: /' || true
    find "$NODE/cni-addresses" -type f ! -name lock ! -name 'last_reserved_ip*' 2>/dev/null | sed 's/^/address: /' || true
    ip -o link show type veth 2>/dev/null | grep -F "master $NODE_BRIDGE" | sed 's/^/veth: /' || true
}

# At any end: no process of ours survives, and a failed node's daemon log is shown.
node_cleanup() {
    local status=$? pid pod
    trap - EXIT
    # Everything here is tried, whatever fails before it.
    set +e
    if [[ -n $NODE_DAEMON ]]; then
        for pod in $(crictl_node pods -q 2>/dev/null); do crictl_node rmp -f "$pod" >/dev/null 2>&1; done
        kill "$NODE_DAEMON" 2>/dev/null && wait "$NODE_DAEMON" 2>/dev/null
        [[ $status == 0 ]] || { echo "--- end of the daemon's log ---"; tail -n 60 "$NODE/daemon.log"; } >&2
    fi
    for pid in $(node_processes | cut -d' ' -f1); do kill -9 "$pid" 2>/dev/null; done
    [[ -z $NODE_REGISTRY ]] || kill "$NODE_REGISTRY" 2>/dev/null
    grep -F " $NODE/" /proc/self/mountinfo | awk '{ print $5 }' | sort -r | xargs -r -n1 umount -l 2>/dev/null
    ip link delete "$NODE_BRIDGE" 2>/dev/null
    if [[ $status == 0 || -z ${LINKSPAN_KEEP:-} ]]; then rm -rf "$NODE"; else say "kept: $NODE"; fi
    exit "$status"
}
