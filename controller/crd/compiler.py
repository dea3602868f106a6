"""Stored documents as the reconciler uses them, compiled once as long as they are the same."""

from collections.abc import Iterable, Mapping
from typing import Any

from controller.crd.convert import spec_of
from controller.crd.convert import version_documents as documents_of
from controller.crd.faults import Refused
from controller.crd.parse import parse
from controller.ports import Compiled, Stored


class Compiler:
    """Keeps what each rollout's document means until it changes; one entry a rollout.

    The generation alone does not tell: a rollout that was deleted and made anew may count from 1 again.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, Mapping[str, Any], Compiled | Refused]] = {}

    def compile(self, stored: Stored) -> Compiled | Refused:
        """What the document means, or every fault for which this release does not accept it."""
        known = self._known.get(stored.key)
        if known is None or known[0] != stored.generation or known[1] != stored.document:
            known = self._known[stored.key] = (stored.generation, stored.document, _compile(stored))
        return known[2]

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all rollouts but these."""
        kept = set(keys)
        self._known = {key: entry for key, entry in self._known.items() if key in kept}


def _compile(stored: Stored) -> Compiled | Refused:
    parsed = parse(stored.document)
    if isinstance(parsed, Refused):
        return parsed
    return Compiled(spec_of(parsed.rollout, stored.generation), documents_of(parsed.rollout, parsed.document))
