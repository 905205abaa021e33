# What every script of this folder starts with: versions, cache, logging, locks, apt. Sourced, never run.
# shellcheck shell=bash
set -euo pipefail

TOOLS_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034
REPO_DIR=$(cd "$TOOLS_DIR/../.." && pwd)
# shellcheck source=contrib/tools/versions.sh
source "$TOOLS_DIR/versions.sh"
LINKSPAN_CACHE=${LINKSPAN_CACHE:-${HOME:-/root}/.cache/linkspan}
mkdir -p "$LINKSPAN_CACHE"

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# The folder that holds (or shall hold) one version of one tool.
tool_dir() { printf '%s/%s-%s' "$LINKSPAN_CACHE" "$1" "$2"; }

# runtime_path NAME: the binary of an OCI runtime that is built here.
runtime_path() {
    local version=${1^^}
    case $1 in
    crun | runc | youki) printf '%s/%s' "$(tool_dir "$1" "${!version}")" "$1" ;;
    *) die "$1: crun, runc or youki" ;;
    esac
}

# One build of a tool at a time, whoever asks for it: `exec` keeps the lock until this script ends.
lock_tool() {
    exec {tool_lock}>"$LINKSPAN_CACHE/.lock-$1"
    flock -n "$tool_lock" || { say "waiting for another build of $1"; flock "$tool_lock"; }
}

# is_built DIR FILE...: true if all the files are there; a folder is moved into place whole, so one look is enough.
is_built() {
    local dir=$1 file
    shift
    for file in "$@"; do [[ -e $dir/$file ]] || return 1; done
}

# An empty folder to build in, in the cache's own file system so that the result can be moved into place.
scratch_dir() {
    SCRATCH=$(mktemp -d "$LINKSPAN_CACHE/.build-$1.XXXXXX")
    trap 'chmod -R u+w "$SCRATCH" 2>/dev/null || true; rm -rf "$SCRATCH"' EXIT
}

# publish FROM TO: TO appears whole or not at all.
publish() {
    rm -rf "$2"
    mv "$1" "$2"
    say "built $2"
}

# wait_for TENTHS WHAT COMMAND...: until the command succeeds, with a deadline.
wait_for() {
    local tenths=$1 what=$2
    shift 2
    for ((i = 0; i < tenths; i++)); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.1
    done
    die "$what did not come within $((tenths / 10)) s"
}

need_root() { [[ $(id -u) == 0 ]] || die "needs root: $*"; }

# Installs what is missing, and nothing else; no service is started by it.
apt_install() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    need_root "apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    exec {apt_lock}>"$LINKSPAN_CACHE/.lock-apt"
    flock "$apt_lock"
    apt_update_once
    local policy=/usr/sbin/policy-rc.d ours=
    if [[ ! -e $policy ]]; then
        ours=yes
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    local status=0
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >"$LINKSPAN_CACHE/apt.log" 2>&1 || status=$?
    [[ -z $ours ]] || rm -f "$policy"
    exec {apt_lock}>&-
    [[ $status == 0 ]] || { tail -20 "$LINKSPAN_CACHE/apt.log" >&2; die "apt-get install ${missing[*]} failed"; }
}

# Package lists older than a day, or none: fetch them. A third party's list that fails is not our concern.
apt_update_once() {
    if [[ -z $(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -mmin -1440 2>/dev/null | head -1) ]]; then
        apt-get update -q >/dev/null 2>&1 || say "apt-get update reported errors; going on with what it has"
        find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' -exec touch {} + 2>/dev/null || true
    fi
}

# The URI of the Debian mirror this machine uses (the one that serves its own release).
debian_mirror() {
    apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(SITE)' 2>/dev/null |
        awk '$1 == "Packages" && $2 == "main" { print $3; exit }'
}

# debian_source SUITE PACKAGE [VERSION]: fetches and unpacks a source package into the present folder,
# with apt settings of its own so that the machine's sources stay as they are.
debian_source() {
    local suite=$1 package=$2${3:+=$3} mirror apt=$PWD/.apt
    mirror=$(debian_mirror)
    [[ -n $mirror ]] || die "no Debian mirror among the machine's apt sources"
    mkdir -p "$apt/lists/partial" "$apt/parts" "$apt/cache/archives/partial"
    printf 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$mirror" "$suite" >"$apt/sources.list"
    local options=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/parts"
        -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root -q)
    apt-get "${options[@]}" update >/dev/null && apt-get "${options[@]}" source "$package" >/dev/null
}

# build_crate NAME VERSION PROGRAM [ARGUMENT...]: builds a program of a crate into the cache, with further arguments of `cargo install`.
build_crate() {
    local name=$1 version=$2 program=$3 out rust_bin
    shift 3
    out=$(tool_dir "$name" "$version")
    lock_tool "$name"
    is_built "$out" "$program" && return
    rust_bin=$("$TOOLS_DIR/rust")
    scratch_dir "$name"
    mkdir "$SCRATCH/out"
    say "building $name"
    PATH=$rust_bin:$PATH CARGO_TARGET_DIR=$SCRATCH/target cargo install --quiet --locked --version "$version" --root "$SCRATCH/install" \
        ${LINKSPAN_BUILD_JOBS:+--jobs "$LINKSPAN_BUILD_JOBS"} "$@" "$name" >"$SCRATCH/build.log" 2>&1 ||
        { tail -20 "$SCRATCH/build.log" >&2; die "building $name failed"; }
    install -s -m 755 "$SCRATCH/install/bin/$program" "$SCRATCH/out/$program"
    publish "$SCRATCH/out" "$out"
}

# copy_libraries ROOT PROGRAM...: the shared libraries of programs, each where the loader found it, since the loader's
# own path is absolute and must stay where it is.
copy_libraries() {
    local root=$1 libraries library
    shift
    libraries=$(ldd "$@" 2>/dev/null)
    ! grep 'not found' <<<"$libraries" >&2 || die "libraries of $* are missing"
    # With several programs `ldd` also prints their names, each with a colon.
    grep -o '/[^ ]* (' <<<"$libraries" | sort -u | while read -r library _; do
        mkdir -p "$root$(dirname "$library")"
        install -m 755 "$(readlink -f "$library")" "$root$library"
    done
}

# A Go that is recent enough, on PATH; jobs as LINKSPAN_BUILD_JOBS says (all cores otherwise).
use_go() {
    local go_bin
    go_bin=$("$TOOLS_DIR/go")
    export PATH=$go_bin:$PATH GOTOOLCHAIN=local GOFLAGS="-buildvcs=false -trimpath${LINKSPAN_BUILD_JOBS:+ -p=$LINKSPAN_BUILD_JOBS}"
}

# go_install OUT TAGS PACKAGE@VERSION [LDFLAGS]: builds one command of a published module.
go_install() {
    say "building $3"
    GOBIN=$1 go install -tags "$2" -ldflags "-s -w ${4:-}" "$3"
}
