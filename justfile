# Recipes that CI and people share. `just --list` shows them.

# Everything that CI runs: installs what is missing, builds, tests.
test *args:
    contrib/test {{args}}

# Release binaries: target/release/linkspan and target/release/linkspan-monitor.
build:
    cargo build --release -p linkspan-daemon -p linkspan-monitor

# The same, with the list of all crates that are linked in the binaries, for scanners that read it (`cargo audit bin`, Trivy, Grype).
build-auditable:
    contrib/tools/setup cargo-auditable
    PATH="$(contrib/tools/setup --path)" cargo auditable build --release -p linkspan-daemon -p linkspan-monitor

# Formatting, lints and the rules of the house.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test -q -p linkspan-tests --test tidy

# Unit tests of all crates; those that need root say so when they are skipped.
unit:
    cargo test --workspace --exclude linkspan-tests

# Licences, bans, sources, advisories.
deny:
    contrib/test --stage deny

# shellcheck over every script.
scripts:
    contrib/test --stage scripts

# Build, run a real pod, show its log and an exec, clean up.
quickstart:
    contrib/quickstart

# Pod start, teardown, exec, list, stats, logs, pull, memory; needs root.
bench *args:
    contrib/bench {{args}}

# The same beside containerd, built from its Go module, in one run.
bench-peers *args:
    contrib/bench --peers {{args}}

# A Kubernetes cluster of one node on Linkspan: `just cluster up`, `just cluster status`, `just cluster down`; needs root.
cluster *args:
    contrib/cluster {{args}}

# Kubernetes' whole [NodeConformance] on a cluster of one: half an hour; `--runtime containerd` for comparison, `--focus`, `--seed`.
node-conformance *args:
    cargo build -p linkspan-daemon -p linkspan-monitor -p linkspan-tests --bins
    contrib/stages/k8s --all {{args}}

# 200 pods through a cluster of one, 20 at a time, and nothing left of them.
cluster-waves *args:
    cargo build -p linkspan-daemon -p linkspan-monitor
    contrib/stages/k8s-waves {{args}}

# The daemon killed every 5 seconds for two minutes while a Deployment rolls back and forth.
cluster-restarts *args:
    cargo build -p linkspan-daemon -p linkspan-monitor
    contrib/stages/k8s-restarts {{args}}

# Kubelet and daemon killed together, the API server away, the network's configuration gone and back.
cluster-outages *args:
    cargo build -p linkspan-daemon -p linkspan-monitor
    contrib/stages/k8s-outages {{args}}

# A person's way with kubectl: exec, attach, port-forward, cp, logs through a rotation, debug, figures.
cluster-kubectl *args:
    cargo build -p linkspan-daemon -p linkspan-monitor
    contrib/stages/k8s-kubectl {{args}}

# Pod events and statistics from the runtime: how soon exits and OOM kills are seen, and figures beside the cgroups'.
cluster-figures *args:
    cargo build -p linkspan-daemon -p linkspan-monitor
    contrib/stages/k8s-figures {{args}}

# kubeadm's preflight, init, a pod on its node and reset, in folders of its own.
cluster-kubeadm:
    cargo build -p linkspan-daemon -p linkspan-monitor
    contrib/stages/k8s-kubeadm

# How long a Deployment of 20 pods takes to roll out, on Linkspan and on containerd.
cluster-rollout *args:
    cargo build --release -p linkspan-daemon -p linkspan-monitor
    contrib/stages/k8s-rollout {{args}}

# The cri suite's families and critest's specs for which cgroup v2 and AppArmor make a difference, in an emulated machine; needs root.
vm *args:
    cargo build -p linkspan-daemon -p linkspan-monitor
    contrib/stages/vm {{args}}

# A thousand exec sessions, a thousand forwarded connections, hundreds of attaches, and what they leave; needs root.
stress-streaming *args:
    contrib/stages/stress --full {{args}}

# Daemon, monitors, runtimes and plugins killed at 2,000 random instants under a churn of pods, then at each named one; needs root.
faults *args:
    cargo build -p linkspan-daemon -p linkspan-monitor -p linkspan-tests --bins
    contrib/stages/faults --full {{args}}
