"""A whole product on a real API server whose controller speaks TLS, as it does in a pod."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controller.adapters.kubernetes.authority import SECRET
from controller.adapters.kubernetes.trust import CONFIG_MAP
from tests.cluster.testbed.cluster import ADMIN, Testbed
from tests.cluster.testbed.programs import Program
from tests.cluster.whole import HEADGATE, NAME, Whole, until


class Secured(Whole):
    """A product whose controller speaks TLS only; its router believes what is in the file `ca`."""

    def __init__(
        self,
        cluster: Testbed,
        namespace: str,
        folder: Path,
        *,
        user: str = ADMIN,
        options: Sequence[str] = (),
    ) -> None:
        self.ca = folder / "ca.crt"
        super().__init__(cluster, namespace, folder, user=user, options=["--tls", *options])

    def program_of_router(self, *ports: int) -> Program:
        addresses = [word for port in ports for word in ("--controller", f"https://localhost:{port}")]
        return Program(
            "router",
            [HEADGATE, "router", "--rollout", f"{self.namespace}/{NAME}", *addresses, "--controller-ca", self.ca,
             "--token-file", self.token, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--id", "r1",
             "--run", self.folder / "run", "--ready-file", self.ready],
            self.folder,
        )  # fmt: skip

    def published(self) -> str:
        """The authorities in the ConfigMap; "" if there is none."""
        found = self.kubectl("get", "configmap", CONFIG_MAP, "--ignore-not-found", "--output", "json").stdout
        return str(json.loads(found)["data"]["ca.crt"]) if found else ""

    def mount(self) -> str:
        """Do the kubelet's work: what is published comes into the router's file."""
        bundle: str = until("the authorities are published", self.published, says=self.says)
        self.ca.write_text(bundle)
        return bundle

    def secret(self) -> dict[str, Any]:
        return self.get("secret", SECRET)

    def router_says(self) -> str:
        return self.router.log.read_text()
