# How the programs of Kubernetes are built: all from one module of our own, so that they share what is compiled. Sourced.
# shellcheck shell=bash
source "$(dirname "${BASH_SOURCE[0]}")/base.sh"

# Every command that any script of this folder builds; its module must know them all for their versions to agree.
KUBERNETES_COMMANDS=(
    k8s.io/kubernetes/cmd/kubelet
    k8s.io/kubernetes/cmd/kube-apiserver
    k8s.io/kubernetes/cmd/kube-controller-manager
    k8s.io/kubernetes/cmd/kube-scheduler
    k8s.io/kubernetes/cmd/kube-proxy
    k8s.io/kubernetes/cmd/kubectl
    k8s.io/kubernetes/cmd/kubeadm
    k8s.io/kubernetes/test/images/agnhost
    github.com/onsi/ginkgo/v2/ginkgo
    go.etcd.io/etcd/server/v3
)

# kubernetes_module: makes the module in $SCRATCH/src and goes there.
# k8s.io/kubernetes requires its staging modules as v0.0.0, which only its own tree can resolve: we take its list over
# and put the published v0.x of the same release in their place.
kubernetes_module() {
    local staging=v0.${KUBERNETES#*.} upstream
    mkdir "$SCRATCH/src"
    cd "$SCRATCH/src"
    upstream=$(cd "$SCRATCH" && go mod download -json "k8s.io/kubernetes@v$KUBERNETES" | sed -n 's/^\t"GoMod": "\(.*\)",$/\1/p')
    [[ -f $upstream ]] || die "the Go module client did not deliver k8s.io/kubernetes"
    {
        printf '//go:build tools\n\npackage tools\n\nimport (\n'
        printf '\t_ "%s"\n' "${KUBERNETES_COMMANDS[@]}"
        echo ')'
    } >tools.go
    {
        echo "module linkspan.invalid/kubernetes"
        grep -E '^(go|godebug) ' "$upstream"
        sed -n '/^godebug (/,/^)/p' "$upstream" | grep -v -E 'default=' || true
        echo "require k8s.io/kubernetes v$KUBERNETES"
        sed -n '/^require (/,/^)/p' "$upstream" | sed "s/ v0\.0\.0\( \|$\)/ $staging\1/"
        echo "replace ("
        sed -n '/^require (/,/^)/p' "$upstream" | awk -v v="$staging" '$2 == "v0.0.0" { print "\t" $1 " => " $1 " " v }'
        echo ")"
    } >go.mod
    go mod tidy >tidy.log 2>&1 || { tail -20 tidy.log >&2; die "go mod tidy failed"; }
    # Tidying leaves out what only the tests of others import.
    go get -t k8s.io/kubernetes/test/e2e >get.log 2>&1 || { tail -20 get.log >&2; die "go get of the e2e suite failed"; }
}

# What `kubectl version` and the node's status show.
kubernetes_ldflags() {
    local base=k8s.io/component-base/version minor=${KUBERNETES#*.}
    printf -- '-s -w -X %s.gitVersion=v%s -X %s.gitMajor=1 -X %s.gitMinor=%s' $base "$KUBERNETES" $base $base "${minor%.*}"
}

# kubernetes_build NAME PACKAGE: a static program in $SCRATCH/out.
kubernetes_build() {
    say "building $1"
    CGO_ENABLED=0 go build -ldflags "$(kubernetes_ldflags)" -o "$SCRATCH/out/$1" "$2"
}
