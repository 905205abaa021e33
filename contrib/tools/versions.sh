# The pinned version of every tool that the tests use. A new version here builds into a cache folder of its own.
# shellcheck shell=bash disable=SC2034
RUST_MINIMUM=1.90
GO_MINIMUM=1.26
GO_TOOLCHAIN=1.26.8
CRI_TOOLS=1.36.0
RUNC=1.5.2
CRUN=1.21
YOUKI=0.7.0
CRIU=4.1.1
CNI_PLUGINS=1.9.1
KUBERNETES=1.37.2
CONTAINERD=2.4.2
COREDNS=1.15.0
CARGO_DENY=0.20.2
CARGO_AUDITABLE=0.7.7
# The number behind the hyphen is ours: of the options that it is built with.
BUSYBOX=1.35.0-2
NGINX=1.22.1
# The module that it is built with; the number behind the hyphen is that of tests/fixtures/nri, to be raised with its changes.
NRI_PLUGIN=0.12.0-2
# The Debian that it is; the number behind the hyphen is ours: raise it with every change of that script.
VIRTUAL_MACHINE=trixie-2
# Not versions of others': raise one with every change of what that script makes.
NETWORK_PROGRAMS=1
KUBERNETES_IMAGES=4
# Not a version of others': raise it with every change of what tests/src/images builds.
IMAGES=5
