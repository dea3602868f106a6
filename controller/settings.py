"""What a controller is started with, checked once; the command line and the environment are the only sources."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from controller.crd import Parsed
from controller.crd.providers import Provider
from headgate.reach import Reach

NOTHING_SPECIAL: Final = Reach((), "--allow-address")


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """Controller and routers on this machine.

    `rollouts` are applied at start, unless they are what was applied at the last one. `state_dir` holds all that survives: the database, the token, logs, each
    router's run directory with its records. `router_listen` is where the first rollout's clients come (HOST:PORT;
    further rollouts get free ports), `api_listen` where the API is; port 0 takes a free one and keeps it in
    `state_dir`. `providers` are Prometheus servers by name; `sinks` what
    notifications may name, name → URL; `allowed_hooks` prefixes of URLs that hooks may reach although they lead to this machine. Without `start_router` routers are somebody else's.
    """

    rollouts: tuple[Parsed, ...]
    state_dir: Path
    router_listen: str = "127.0.0.1:8080"
    api_listen: str = "127.0.0.1:0"
    workers: int = 1
    providers: Mapping[str, Provider] = field(default_factory=dict)
    sinks: Mapping[str, str] = field(default_factory=dict)
    allowed_hooks: tuple[str, ...] = ()
    start_router: bool = True


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """The controller of a cluster. `kubeconfig`, `context` and `namespace` are as kubectl's; `home` is the namespace of its own
    Lease and Secret, None for `namespace`; `api_listen` is HOST:PORT.
    Leadership lasts `lease_s` without being renewed. With `is_tls` the API is served by TLS, for `api_names` too: with the
    certificate in `tls_cert` and its key in `tls_key`, or without these with one of an authority of its own.

    `token_file`, if any, holds a token that may do everything, beside what the cluster knows; `providers`, `sinks` and `allowed_hooks` are as in local mode.
    `reach` says which special addresses rollouts may have this controller ask.
    """

    token_file: Path | None
    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    all_namespaces: bool = False
    home: str | None = None
    api_listen: str = "127.0.0.1:7000"
    leader_election: bool = True
    lease_s: float = 15.0
    is_tls: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    api_names: tuple[str, ...] = ()
    providers: Mapping[str, Provider] = field(default_factory=dict)
    sinks: Mapping[str, str] = field(default_factory=dict)
    allowed_hooks: tuple[str, ...] = ()
    reach: Reach = NOTHING_SPECIAL
