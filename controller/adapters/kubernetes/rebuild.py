"""What to go on from when a rollout's packed state is damaged or gone: stable alone, and nobody else without a person.

What people read of the rollout still names its stable version. Everything goes back to that one, and every other
version counts as failed until somebody asks to retry it: what it had proved is not known any more, and a share is
never raised because of something that was lost.
"""

from collections.abc import Mapping
from typing import Any, Final

from controller.core import draft, slots
from controller.core.draft import FAILED_MAX
from controller.core.spec import Spec
from controller.core.status import Cause, Failed, Status, VersionRef

ACTOR: Final = "headgate"


def from_fields(
    spec: Spec | str, fields: Mapping[str, Any], why: str, generation: int, now: float
) -> Status | str:
    """The status to go on from, with plans numbered after `generation`; or the sentence that says what a person must do.

    `spec` is a sentence where the rollout's spec is not accepted.
    """
    name = fields.get("stableVersion")
    if not isinstance(name, str):
        return f"{why}, and nothing says which version was stable: delete the rollout and apply it again"
    if isinstance(spec, str):
        return f"{why}, and the spec is not accepted either: {spec}"
    known = {version.name: version.identity for version in spec.versions}
    if name not in known:
        return f"{why}, and {name}, which was stable, is not among the versions: write it there again"
    others = [version for version in known if version != name][:FAILED_MAX]
    sentence = f"{why}: what it had proved is not known any more"
    return Status(
        stable=VersionRef(name, known[name]),
        is_stable_proven=True,
        slots=slots.all_to(name),
        salt=draft.salt(spec.key, known[name], 1),
        generation=generation,
        because=why,
        failed=tuple(Failed(other, known[other], 1, Cause.NO_DATA, sentence, now, ACTOR) for other in others),
    )
