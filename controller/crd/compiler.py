"""Stored documents as the reconciler uses them, compiled once as long as they are the same."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from controller.crd.convert import spec_of
from controller.crd.convert import version_documents as documents_of
from controller.crd.faults import Fault, Refused
from controller.crd.parse import parse
from controller.crd.revisions import Revision
from controller.ports import Compiled, Stored

Revisions = Callable[[str, Mapping[str, Any]], Sequence[Revision] | Fault]
_Asked = tuple[int, Mapping[str, Any], tuple[Revision, ...]]
"""Generation, document and versions."""


class Compiler:
    """Keeps what each rollout's document means until it changes; one entry a rollout.

    The generation alone does not tell: a rollout that was deleted and made anew may count from 1 again.
    """

    def __init__(self, revisions: Revisions = lambda key, document: ()) -> None:
        """`revisions` gives the versions of a rollout with pods of its own (see `spec_of`), or why it has none; what it
        raises, `compile` does."""
        self._revisions = revisions
        self._known: dict[str, tuple[_Asked, Compiled | Refused]] = {}

    def compile(self, stored: Stored) -> Compiled | Refused:
        """What the document means, or every fault for which this release does not accept it."""
        found = self._revisions(stored.key, stored.document)
        if isinstance(found, Fault):
            parsed = parse(stored.document)
            return parsed if isinstance(parsed, Refused) else Refused((found,))
        revisions = tuple(found)
        asked = (stored.generation, stored.document, revisions)
        known = self._known.get(stored.key)
        if known is None or known[0] != asked:
            known = self._known[stored.key] = (asked, _compile(stored, revisions))
        return known[1]

    def keep(self, keys: Iterable[str]) -> None:
        """Forget all rollouts but these."""
        kept = set(keys)
        self._known = {key: entry for key, entry in self._known.items() if key in kept}


def _compile(stored: Stored, revisions: Sequence[Revision]) -> Compiled | Refused:
    parsed = parse(stored.document)
    if isinstance(parsed, Refused):
        return parsed
    return Compiled(
        spec_of(parsed.rollout, stored.generation, revisions),
        documents_of(parsed.rollout, parsed.document, revisions),
    )
