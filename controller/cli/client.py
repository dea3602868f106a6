"""What the verbs ask of Headgate, wherever it runs: one protocol, kept by the API of this machine and by a cluster.

The verbs know nothing else of the two worlds. What comes back is the same JSON from both, so there is one set of
tables; what fails becomes a `Failure` that says what to do.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from controller.cli.adopting import (
        Found,  # not above: a rollback must not wait for all that a cluster needs
    )

Json = dict[str, Any]


class Client(Protocol):
    """One place where rollouts are. A key is `namespace/name`."""

    log_hint: str
    """Where the controller says why it does not answer, as an advice."""

    def give_up_after(self, seconds: float) -> None:
        """No call lasts longer than until then, whoever does not answer."""
        ...

    def find(self, name: str | None) -> str:
        """The key of the one rollout that is meant; Failure, with the names there are, when it is not just one."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there (still) is such a rollout."""
        ...

    def rollouts(self) -> list[Json]:
        """Every rollout that is looked at, in one line's worth of fields."""
        ...

    def rollouts_again(self) -> list[Json]:
        """The same, when something may have changed or a while went by."""
        ...

    def status(self, key: str) -> Json:
        """All that is known of one rollout."""
        ...

    def status_after(self, key: str, tag: str, wait_s: float) -> tuple[Json | None, str]:
        """The status and its tag when it is another than `tag`; (None, tag) when `wait_s` went by without a change."""
        ...

    def listing(self, key: str, what: str, limit: int) -> list[Json]:
        """`events` or `decisions`, newest first."""
        ...

    def explanation(self, key: str) -> Json:
        """Why the rollout is where it is, what it waits for, what would roll it back."""
        ...

    def arithmetic(self, key: str) -> Json:
        """What stands behind the verdict of each check."""
        ...

    def forecast(self, key: str) -> Json:
        """How long each step of the rollout needs, at the present request rate where that is known."""
        ...

    def placed(self, content: Json, folder: Path) -> Json:
        """The document of a file in `folder` as it is meant here, before it is checked."""
        ...

    def apply(self, key: str, document: Mapping[str, Any], *, force: bool) -> Json:
        """Make the rollout what the document says; with `force` also where somebody else wrote a field."""
        ...

    def set_target(self, key: str, version: str) -> Json:
        """Make another version the target."""
        ...

    def set_images(self, key: str, images: Mapping[str, str]) -> Json:
        """Give the named containers of the rollout's template other images."""
        ...

    def workload(self, rollout: str, deployment: str) -> "Found":
        """A Deployment that is to become this rollout's (NAME or NAMESPACE/NAME), and what is around it."""
        ...

    def delete(self, key: str) -> None:
        """Ask for the end of the rollout."""
        ...

    def forget(self, key: str, router: str) -> None:
        """This router is gone, and counts no more."""
        ...

    def act(self, key: str, action: Json) -> str:
        """Ask for an action in the person's name; what `answer` knows it by."""
        ...

    def answer(self, key: str, action_id: str, wait_s: float) -> Json:
        """What became of the action, as soon as it is decided or `wait_s` went by: Pending, Accepted or Refused."""
        ...
