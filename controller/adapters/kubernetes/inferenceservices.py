"""A copy of KServe's InferenceServices, kept from the first time that a version names one.

On a cluster without KServe nobody asks for them, and a rollout that does is told; the others do not notice.
"""

import asyncio
from typing import Final

from controller.adapters.kubernetes.api import Api, ApiError, NotFound, path_of
from controller.adapters.kubernetes.mirror import Object, OnChange
from controller.adapters.kubernetes.reflector import Reflector
from controller.errors import StoreUnavailable
from headgate.log import Log

GROUP: Final = "serving.kserve.io"
VERSION: Final = "v1beta1"
PLURAL: Final = "inferenceservices"

READ_S: Final = 3.0
"""A first list may keep a reconcile waiting for so long; then it is tried again later."""

_STEP_S: Final = 0.02


class InferenceServices:
    """InferenceServices of one namespace, or of all (None). `run` has to be running; it does nothing until `wait_read`."""

    def __init__(self, api: Api, namespace: str | None, on_change: OnChange, log: Log) -> None:
        self._copy = Reflector(api, path_of(GROUP, VERSION, PLURAL, namespace), on_change, log=log)
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Keep them up to date, once they are wanted, until cancelled."""
        await self._wanted.wait()
        await self._copy.run()

    async def wait_read(self) -> None:
        """Until they were read, or cannot be, which is then told (`missing`); StoreUnavailable if neither is known soon."""
        self._wanted.set()
        try:
            async with asyncio.timeout(READ_S):
                while not self._copy.is_synced and not _is_final(self._copy.trouble):
                    await asyncio.sleep(_STEP_S)
        except TimeoutError:
            why = self._copy.trouble or f"{self._copy.path} is not read yet"
            raise StoreUnavailable(f"InferenceServices cannot be read: {why}") from None

    def get(self, name: str) -> Object | None:
        """The InferenceService `namespace/name` as last heard; None if there is none."""
        return self._copy.get(name)

    def missing(self, name: str) -> str:
        """Why there is no InferenceService `namespace/name`, and what to do."""
        trouble = self._copy.trouble
        if isinstance(trouble, NotFound):
            return (
                f"there is no InferenceService {name}: this cluster does not know the kind: install KServe, or write "
                "service or url"
            )
        if trouble is not None:
            return f"InferenceService {name} cannot be read: {trouble}"
        return f"there is no InferenceService {name}: create it, or correct the version's inferenceService"


def _is_final(trouble: ApiError | None) -> bool:
    """Is it a fault that asking again at once does not mend?"""
    return trouble is not None and trouble.status in (401, 403, 404)
