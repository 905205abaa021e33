# The node of a cluster of one: its folder, its network namespace, its processes, and how all of it goes away. Sourced.
# Everything is found again from the folder alone, so that `down` works whatever was killed and whenever.
# shellcheck shell=bash disable=SC2034
source "$(dirname "${BASH_SOURCE[0]}")/../tools/base.sh"
# shellcheck source=contrib/kubernetes/cgroups.sh
source "$(dirname "${BASH_SOURCE[0]}")/cgroups.sh"

NODE_NAME=linkspan
POD_SUBNET=10.244.0.0/24
SERVICE_SUBNET=10.96.0.0/16
DNS_ADDRESS=10.96.0.10
# What the kubelet sets on the host.
NODE_SYSCTLS=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

# node_at DIR: names that follow from the folder, so that clusters in different folders do not meet.
node_at() {
    CLUSTER=$(realpath -m "$1")
    local tag
    tag=$(cksum <<<"$CLUSTER" | cut -d' ' -f1)
    NODE_CGROUP=/linkspan-cluster-$tag
    NODE_VETH=lsk$((tag % 1000000))
    # Of the range that is shared by carriers: no user's own network is there.
    HOST_ADDRESS=100.127.$((tag % 256)).1
    NODE_ADDRESS=100.127.$((tag % 256)).2
}

# Makes the folder, the network namespace with a veth pair to the host, and the cgroup.
node_make() {
    local sysctl
    if [[ -e $CLUSTER && ! -e $CLUSTER/.cluster ]] && [[ -n $(ls -A "$CLUSTER") ]]; then
        die "$CLUSTER is not empty, and no cluster of ours"
    fi
    mkdir -p "$CLUSTER"
    : >"$CLUSTER/.cluster"
    mkdir -p "$CLUSTER"/{pids,logs,etc/cni/net.d}
    for sysctl in "${NODE_SYSCTLS[@]}"; do sysctl "$sysctl" 2>/dev/null || true; done >"$CLUSTER/sysctls"
    : >"$CLUSTER/netns"
    unshare --net="$CLUSTER/netns" true
    ip link add "$NODE_VETH" type veth peer name eth0 netns "$CLUSTER/netns"
    ip address add "$HOST_ADDRESS/30" dev "$NODE_VETH"
    ip link set "$NODE_VETH" up
    in_node ip link set lo up
    in_node ip address add "$NODE_ADDRESS/30" dev eth0
    in_node ip link set eth0 up
    in_node ip route add default via "$HOST_ADDRESS"
    in_node sysctl -q net.ipv4.ip_forward=1
    echo "$NODE_CGROUP" >>"$CLUSTER/cgroups"
    make_cgroup "$NODE_CGROUP"
}

# in_node COMMAND...: in the node's network. Not by `ip netns exec`, which hides mounts.
in_node() { nsenter --net="$CLUSTER/netns" "$@"; }

# node_start NAME COMMAND...: in the background, in the node's network, its output in logs/NAME.log.
node_start() {
    local name=$1
    shift
    setsid nsenter --net="$CLUSTER/netns" "$@" >>"$CLUSTER/logs/$name.log" 2>&1 </dev/null &
    node_note "$name" $!
    # Its end is nobody's news here.
    disown
}

# node_note NAME PID: keeps a process's ID, with its start since IDs come again.
node_note() { printf '%s %s\n' "$2" "$(start_of "$2")" >"$CLUSTER/pids/$1"; }

# When a process began, if it has not ended: man 5 proc, /proc/pid/stat, starttime. Its name, before that, may hold anything.
start_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" && $1 != "X" { print $20 }'; }

# node_pid NAME: prints the ID of a process of ours that runs.
node_pid() {
    local pid start
    read -r pid start 2>/dev/null <"$CLUSTER/pids/$1" || return 1
    [[ -n $start && $(start_of "$pid") == "$start" ]] || return 1
    echo "$pid"
}

# node_end NAME [SIGNAL]: ends a process and waits for its end.
node_end() {
    local pid
    pid=$(node_pid "$1") || return 0
    kill -"${2:-TERM}" "$pid" 2>/dev/null || true
    wait_for 100 "the end of $1" node_has_ended "$1"
}

node_has_ended() { ! node_pid "$1"; }

# Prints the ID of every process that belongs to the node: in its cgroups, in its network, or with its folder in the command line.
node_processes() {
    local group pid netns
    if [[ -e $CLUSTER/cgroups ]]; then
        while read -r group; do cgroup_processes "$group"; done <"$CLUSTER/cgroups"
    fi
    netns=$(stat -L -c %i "$CLUSTER/netns" 2>/dev/null || echo none)
    for pid in /proc/[0-9]*; do
        if [[ $(stat -L -c %i "$pid/ns/net" 2>/dev/null) == "$netns" ]]; then echo "${pid#/proc/}"; fi
    done
    { grep -lsF -- "$CLUSTER/" /proc/[0-9]*/cmdline || true; } | cut -d/ -f3
}

# Those of them that are not this script and its parents.
node_foreign_processes() {
    local pid=$$ ours=" $BASHPID "
    while [[ $pid -gt 1 ]]; do
        ours+="$pid "
        pid=$(sed 's/.*) //' "/proc/$pid/stat" | cut -d' ' -f2)
    done
    node_processes | sort -un | while read -r pid; do
        if [[ $ours != *" $pid "* && -e /proc/$pid ]]; then echo "$pid"; fi
    done
}

node_kill() {
    local pid
    for pid in $(node_foreign_processes); do kill -9 "$pid" 2>/dev/null || true; done
    [[ -z $(node_foreign_processes) ]]
}

node_mounts() { { grep -F " $CLUSTER/" /proc/self/mountinfo || true; } | awk '{ print $5 }' | sort -r; }

# Ends and removes all there is, in whatever state it is.
node_remove() {
    [[ -e $CLUSTER/.cluster ]] || { say "no cluster in $CLUSTER"; return 0; }
    local mount group
    wait_for 300 "the end of the node's processes" node_kill
    for mount in $(node_mounts); do umount "$mount" 2>/dev/null || umount -l "$mount"; done
    [[ -z $(node_mounts) ]] || die "mounts are left below $CLUSTER: $(node_mounts)"
    # The veth pair goes with the namespace, but that can take the kernel a moment.
    ip link delete "$NODE_VETH" 2>/dev/null || true
    while read -r group; do remove_cgroup "$group"; done <"$CLUSTER/cgroups"
    sysctl -q -p "$CLUSTER/sysctls" >/dev/null 2>&1 || true
    # The kubelet links the containers' logs from there.
    find /var/log/containers -lname "$CLUSTER/*" -delete 2>/dev/null || true
    rm -rf --one-file-system "$CLUSTER"
}
