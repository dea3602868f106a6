"""The requests of a warm-up that are kept in a ConfigMap; read live, and only when a version is to be warmed up."""

from typing import Any

from controller.adapters.kubernetes.api import Api, ApiError, NotFound, path_of
from controller.adapters.kubernetes.raw import mapping
from controller.core.spec import WarmRequest, Warmup
from controller.crd.warmups import requests_in


class WarmRequests:
    """Reads ConfigMaps; `found` is what a `Warmer` asks."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def found(self, key: str, warmup: Warmup) -> tuple[WarmRequest, ...] | str:
        """The requests of the rollout `namespace/name`, or why there are none and what to do."""
        if warmup.config_map is None:
            return (
                "recorded requests are kept by the routers, where the controller of a cluster cannot read them: write "
                "from: configMap or from: inline"
            )
        (namespace, _, _), (name, entry) = key.partition("/"), warmup.config_map
        what = f"the warm-up's ConfigMap {namespace}/{name}"
        try:
            found: dict[str, Any] = await self._api.get(path_of("", "v1", "configmaps", namespace, name))
        except NotFound:
            return f"{what} is not there: create it, or correct the rollout's warmup.requests"
        except ApiError as error:
            return f"{what} cannot be read: {error}"
        text = mapping(found, "data").get(entry)
        if not isinstance(text, str):
            return f"{what} has no {entry}: add it, or correct the rollout's warmup.requests.configMap.key"
        requests = requests_in(text)
        return f"{entry} in {what} cannot be sent: {requests}" if isinstance(requests, str) else requests
