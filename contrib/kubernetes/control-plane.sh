# etcd, the API server, controller manager and scheduler of a cluster of one. Sourced after node.sh.
# shellcheck shell=bash

KUBERNETES_BIN=$(tool_dir kubernetes "$KUBERNETES")

kube() { "$KUBERNETES_BIN/kubectl" --kubeconfig "$CLUSTER/admin.kubeconfig" "$@"; }

control_plane_start() {
    mkdir -p "$CLUSTER/pki"
    control_plane_identities
    node_start etcd "$KUBERNETES_BIN/etcd" --data-dir "$CLUSTER/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380
    apiserver_start
    wait_for 900 "the API server" apiserver_is_ready
    node_start kube-controller-manager "$KUBERNETES_BIN/kube-controller-manager" --kubeconfig "$CLUSTER/controller-manager.kubeconfig" \
        --bind-address 127.0.0.1 --leader-elect=false --use-service-account-credentials \
        --service-account-private-key-file "$CLUSTER/pki/accounts.key" --root-ca-file "$CLUSTER/pki/ca.crt" \
        --cluster-signing-cert-file "$CLUSTER/pki/ca.crt" --cluster-signing-key-file "$CLUSTER/pki/ca.key"
    node_start kube-scheduler "$KUBERNETES_BIN/kube-scheduler" --kubeconfig "$CLUSTER/scheduler.kubeconfig" \
        --bind-address 127.0.0.1 --leader-elect=false
}

apiserver_start() {
    local pki=$CLUSTER/pki
    node_start kube-apiserver "$KUBERNETES_BIN/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
        --bind-address "$NODE_ADDRESS" --advertise-address "$NODE_ADDRESS" --secure-port 6443 --cert-dir "$pki" \
        --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
        --service-cluster-ip-range "$SERVICE_SUBNET" --service-account-issuer https://kubernetes.default.svc.cluster.local \
        --service-account-key-file "$pki/accounts.pub" --service-account-signing-key-file "$pki/accounts.key" \
        --token-auth-file "$CLUSTER/tokens.csv" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
        --kubelet-client-certificate "$pki/apiserver.crt" --kubelet-client-key "$pki/apiserver.key" \
        --kubelet-preferred-address-types InternalIP --allow-privileged
}

apiserver_is_ready() { kube get --raw /readyz; }

# One authority for all certificates, a key pair for service accounts, and a token with a kubeconfig for each component.
control_plane_identities() {
    local pki=$CLUSTER/pki
    apt_install openssl
    {
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=linkspan-cluster \
            -keyout "$pki/ca.key" -out "$pki/ca.crt"
        certificate apiserver /O=system:masters/CN=kube-apiserver \
            "IP:$NODE_ADDRESS,IP:${SERVICE_SUBNET%.*}.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
        certificate kubelet "/O=system:nodes/CN=system:node:$NODE_NAME" "IP:$NODE_ADDRESS,DNS:$NODE_NAME"
        openssl genrsa -out "$pki/accounts.key" 2048
        openssl rsa -in "$pki/accounts.key" -pubout -out "$pki/accounts.pub"
    } >"$CLUSTER/logs/openssl.log" 2>&1
    (umask 077 && : >"$CLUSTER/tokens.csv")
    identity admin admin system:masters
    identity controller-manager system:kube-controller-manager
    identity scheduler system:kube-scheduler
    identity kube-proxy system:kube-proxy
    identity kubelet "system:node:$NODE_NAME" system:nodes
}

# certificate NAME SUBJECT NAMES
certificate() {
    local file=$CLUSTER/pki/$1
    openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$file.key" -out "$file.csr"
    printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3" >"$file.ext"
    openssl x509 -req -in "$file.csr" -CA "$CLUSTER/pki/ca.crt" -CAkey "$CLUSTER/pki/ca.key" -CAcreateserial -days 3650 \
        -extfile "$file.ext" -out "$file.crt"
}

# identity NAME USER [GROUP]: a token, and NAME.kubeconfig that has it.
identity() {
    local token
    token=$(openssl rand -hex 16)
    printf '%s,%s,%s%s\n' "$token" "$2" "$2" "${3:+,\"$3\"}" >>"$CLUSTER/tokens.csv"
    (umask 077 && cat >"$CLUSTER/$1.kubeconfig") <<YAML
apiVersion: v1
kind: Config
clusters: [ { name: linkspan, cluster: { server: "https://$NODE_ADDRESS:6443", certificate-authority-data: $(base64 -w0 "$CLUSTER/pki/ca.crt") } } ]
users: [ { name: $1, user: { token: $token } } ]
contexts: [ { name: linkspan, context: { cluster: linkspan, user: $1 } } ]
current-context: linkspan
YAML
}
