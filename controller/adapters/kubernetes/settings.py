"""Which cluster to talk to, as whom, about which namespace."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """All optional, as with kubectl: `kubeconfig` is a path (several with `:`), None for $KUBECONFIG, ~/.kube/config or the
    pod's own account; `context` one of its contexts, None for the current one; `namespace` overrides the context's."""

    context: str | None = None
    kubeconfig: str | None = None
    namespace: str | None = None
