# What a pod's author gets to see of the node through pause: nothing. Sourced by the stages that have a cluster.
# What is in single quotes is for a shell in a pod.
# shellcheck shell=bash disable=SC2016

# Everything that it prints on its standard output is what may be seen; `/proc/1` is pause where processes are shared.
CLOSED_LOOK='cat /proc/1/comm; ls -A /proc/1/root/; ls -A /proc/1/cwd/; ls -A /proc/1/fd/; cat /proc/1/root/etc/shadow; cat /proc/1/environ
echo x >/proc/1/root/written && echo written; wc -l </proc/1/mountinfo; echo looked'
CLOSED_SEEN=$'pause\n1\nlooked'

# The example of Kubernetes' documentation of shareProcessNamespace, and what `kubectl debug` adds to any pod.
check_pause_is_closed() {
    local seen
    kube apply -f - >/dev/null <<'YAML'
apiVersion: v1
kind: Pod
metadata: { name: closed }
spec:
  shareProcessNamespace: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: tracer
    image: docker.io/library/busybox:latest
    command: [ sleep, "3600" ]
    securityContext: { capabilities: { add: [ SYS_PTRACE ] } }
YAML
    kube wait --for=condition=Ready pod/closed --timeout=60s >/dev/null
    seen=$(kube exec closed -c tracer -- sh -c "$CLOSED_LOOK" 2>/dev/null)
    [[ $seen == "$CLOSED_SEEN" ]] || die "a container with SYS_PTRACE sees of pause: $seen"
    kube debug closed --image=docker.io/library/busybox:latest --container=debugger --profile=general -- \
        sh -c "{ $CLOSED_LOOK; } 2>/dev/null; sleep 3600" >/dev/null 2>&1
    wait_for 600 'what kubectl debug sees' eval 'kube logs closed -c debugger | grep -qx looked'
    seen=$(kube logs closed -c debugger)
    [[ $seen == "$CLOSED_SEEN" ]] || die "kubectl debug --profile=general sees of pause: $seen"
    kube delete pod closed --wait=false >/dev/null
    say "pause shows nothing to SYS_PTRACE, nor to kubectl debug"
}
