# A cgroup of our own in every hierarchy that this host has, v1 or v2. Sourced.
# shellcheck shell=bash

# Prints the root of each hierarchy with controllers.
cgroup_roots() {
    local root
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        echo /sys/fs/cgroup
        return
    fi
    for root in /sys/fs/cgroup/*/; do
        if [[ -w $root && $root != */unified/ ]]; then echo "${root%/}"; fi
    done
}

# make_cgroup /NAME
make_cgroup() {
    local root file
    while read -r root; do
        mkdir -p "$root$1"
        for file in cpuset.cpus cpuset.mems; do
            [[ ! -e $root/$file ]] || cat "$root/$file" >"$root$1/$file" 2>/dev/null || true
        done
    done < <(cgroup_roots)
}

# Prints the IDs of all processes in /NAME and below.
cgroup_processes() {
    find /sys/fs/cgroup -path "/sys/fs/cgroup*$1/*" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un
}

# remove_cgroup /NAME: what is empty of it.
remove_cgroup() {
    find /sys/fs/cgroup -depth -type d \( -path "/sys/fs/cgroup*$1" -o -path "/sys/fs/cgroup*$1/*" \) -exec rmdir {} + 2>/dev/null || true
}
