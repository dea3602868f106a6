"""Which request meets which fault: by verb, resource and the how-manieth it is, so that a run can be repeated.

Pure but for the counts that an `Active` rule keeps.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.faults.proxy.kube import WRITES, Asked


@dataclass(frozen=True, slots=True)
class Delay:
    """Forward the request after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reset:
    """Break the connection (RST) instead of forwarding."""


@dataclass(frozen=True, slots=True)
class Blackhole:
    """Never answer; the connection stays open until the client gives up. `forwards`: the server still does it."""

    forwards: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer with this status and a Status object, without asking the API server."""

    status: int
    message: str = "the proxy says so"
    retry_after_s: int | None = None


@dataclass(frozen=True, slots=True)
class Truncate:
    """Forward, then break the connection after so many bytes of the answer's body (of a watch: of its events)."""

    bytes_passed: int


@dataclass(frozen=True, slots=True)
class KillBefore:
    """Call the hook (which kills the client, say) and do not forward: the write never happened."""

    hook: Callable[[], None]


@dataclass(frozen=True, slots=True)
class KillAfter:
    """Forward, call the hook when the API server has answered, and do not pass the answer: the write happened."""

    hook: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Gone:
    """Tell a watch that its resourceVersion is too old: 410, as an ERROR event or as the answer's status."""

    in_stream: bool = True


@dataclass(frozen=True, slots=True)
class Stale:
    """Answer a read as its like was answered first in the rule's time: an API server that lags behind.

    Like is what has the same path and query. Watches and writes are not met; `Stall` makes watches lag.
    """

    answers: dict[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class DropEvents:
    """Leave the event out of the watch."""


@dataclass(frozen=True, slots=True)
class DelayEvents:
    """Hold the event, and so all behind it, for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class DuplicateEvents:
    """Send the event twice."""


@dataclass(frozen=True, slots=True)
class Stall:
    """From this event on the watch is silent, with its connection open (half-open), and stays so."""


RequestFault = Delay | Reset | Blackhole | Answer | Truncate | KillBefore | KillAfter | Gone | Stale
EventFault = DropEvents | DelayEvents | DuplicateEvents | Stall

_VERBS_MET: Final[Mapping[type, Collection[str]]] = {Gone: ("watch",), Stale: ("get", "list")}


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault and what meets it: requests, or events of watches (also of those under way); what is not said, all.

    `resources` are plurals, with their subresource if that is meant: `pods`, `pods/status`; `pods/*` is every
    subresource. `agent` is a part of the User-Agent, `says` of the body, `types` are types of events. `nth` = 1 is the
    first that matches and no other; `every` = 2 is the second, fourth, …; `times` is how often at most.
    """

    fault: RequestFault | EventFault
    verbs: Collection[str] = ()
    resources: Collection[str] = ()
    besides: Collection[str] = ()
    namespace: str = ""
    name: str = ""
    agent: str = ""
    says: str = ""
    types: Collection[str] = ()
    nth: int | None = None
    every: int = 1
    times: int | None = None

    def matches(self, asked: Asked, agent: str, body: bytes = b"") -> bool:
        """Whether it is one of those requests, apart from its number; `agent` is its User-Agent."""
        return (
            (not self.verbs or asked.verb in self.verbs)
            and (not self.resources or _named(asked.resource, self.resources))
            and not _named(asked.resource, self.besides)
            and self.namespace in ("", asked.namespace)
            and self.name in ("", asked.name)
            and self.agent in agent
            and self.says.encode() in body
        )


def _named(resource: str, names: Collection[str]) -> bool:
    main, slash, _ = resource.partition("/")
    return resource in names or (bool(slash) and f"{main}/*" in names)


class Active:
    """A rule in force, with the counts that tell a test whether its fault was ever met."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.matched = 0
        self.applied = 0

    def takes(self, asked: Asked, agent: str, body: bytes = b"") -> bool:
        """Count the request, and say whether it meets the fault."""
        fault = self.rule.fault
        if isinstance(fault, EventFault) or asked.verb not in _VERBS_MET.get(type(fault), (asked.verb,)):
            return False
        return self.rule.matches(asked, agent, body) and self._counted()

    def takes_event(self, asked: Asked, agent: str, kind: str) -> bool:
        """Count an event of that type in the watch that `asked` began, and say whether it meets the fault."""
        if not isinstance(self.rule.fault, EventFault) or (self.rule.types and kind not in self.rule.types):
            return False
        return self.rule.matches(asked, agent) and self._counted()

    def _counted(self) -> bool:
        rule = self.rule
        self.matched += 1
        chosen = self.matched == rule.nth if rule.nth is not None else self.matched % rule.every == 0
        if not chosen or (rule.times is not None and self.applied >= rule.times):
            return False
        self.applied += 1
        return True


def conflicts_on_every_second_write(**more: Any) -> Rule:
    """409 on the second, fourth, … write: what a controller meets whose cache is always behind."""
    message = "the object has been modified; please apply your changes to the latest version and try again"
    return Rule(Answer(409, message), verbs=WRITES, every=2, **more)
