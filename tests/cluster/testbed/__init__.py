"""A real Kubernetes API for tests and for trying things out: etcd, kube-apiserver, kube-controller-manager, kubectl.

There is no node: Deployments get ReplicaSets and pods, but nothing runs a pod. `kubelet` stands in for that.
"""
