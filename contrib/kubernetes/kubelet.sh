# The kubelet and kube-proxy of the node. Sourced after node.sh and runtime.sh.
# shellcheck shell=bash

kubelet_start() {
    mkdir -p "$CLUSTER/kubelet"
    # Pods do not inherit the host's resolver: it is not to be reached from the node's network.
    echo "# no resolver outside the cluster" >"$CLUSTER/etc/resolv.conf"
    kubelet_config >"$CLUSTER/etc/kubelet.yaml"
    node_start kubelet "$(tool_dir kubelet "$KUBERNETES")/kubelet" --config "$CLUSTER/etc/kubelet.yaml" \
        --kubeconfig "$CLUSTER/kubelet.kubeconfig" --root-dir "$CLUSTER/kubelet" --cert-dir "$CLUSTER/pki" \
        --hostname-override "$NODE_NAME" --node-ip "$NODE_ADDRESS"
}

# KUBELET_GATES, if set, has feature gates of its own: NAME=true,…
kubelet_config() {
    local gates=${KUBELET_GATES:-}
    cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$RUNTIME_SOCKET
address: $NODE_ADDRESS
healthzBindAddress: 127.0.0.1
tlsCertFile: $CLUSTER/pki/kubelet.crt
tlsPrivateKeyFile: $CLUSTER/pki/kubelet.key
authentication: { anonymous: { enabled: false }, webhook: { enabled: true }, x509: { clientCAFile: $CLUSTER/pki/ca.crt } }
authorization: { mode: Webhook }
clusterDomain: cluster.local
clusterDNS: [ $DNS_ADDRESS ]
resolvConf: $CLUSTER/etc/resolv.conf
podLogsDir: $CLUSTER/pod-logs
volumePluginDir: $CLUSTER/kubelet/volume-plugins
serializeImagePulls: false
registryPullQPS: 0
# A node inside a host: groups below one of its own, on cgroup v1 too, with swap, without taking the host's disk for its own.
cgroupDriver: cgroupfs
cgroupRoot: $NODE_CGROUP
enforceNodeAllocatable: [ pods ]
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
featureGates: { ${gates//=/: } }
evictionHard: {}
imageGCHighThresholdPercent: 100
YAML
}

kube_proxy_start() {
    cat >"$CLUSTER/etc/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: { kubeconfig: $CLUSTER/kube-proxy.kubeconfig }
hostnameOverride: $NODE_NAME
mode: iptables
clusterCIDR: $POD_SUBNET
oomScoreAdj: 0
# These are the host's, not the network namespace's.
conntrack: { maxPerCore: 0, min: 0 }
YAML
    node_start kube-proxy "$KUBERNETES_BIN/kube-proxy" --config "$CLUSTER/etc/kube-proxy.yaml"
}
