"""What a rule is: a name, how this program finds what breaks it, and what the API server is told to look for.

One entry feeds `lint`, the API, local mode and the CRD, so that a spec is refused at each door by the same name.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from controller.crd import cel
from controller.crd.cel import Validation

Finding = tuple[str, str]
"""The field's path and the sentence."""

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Form:
    """A rule, or a part of it, in CEL: at every place where the model `on` is, `holds` must.

    `says` is the sentence, with %s and %d where there are `arguments` (CEL). The API server says where the model is;
    `path` adds the field below that. Where the field depends on what was written (an index), `says` begins with the
    rest of its path and `: `, and `path` is left out.
    """

    on: str
    holds: str
    says: str
    arguments: tuple[str, ...] = ()
    path: str = ""
    is_of_creation: bool = False
    """Is it also held against an object that was not there before, with `oldSelf` an optional?"""

    def validation(self, rule: str) -> Validation:
        """The entry of `x-kubernetes-validations`."""
        found = cel.validation(rule, self.holds, self.says, *self.arguments, path=self.path)
        return found | ({"optionalOldSelf": True} if self.is_of_creation else {})


@dataclass(frozen=True, slots=True)
class Rule(Generic[D]):
    """One rule: `find` yields a finding for each place that breaks it.

    `unseen` says what of it the API server cannot see, and why; what it lets through, the controller finds and says in
    the object's status. One of the two is there for every rule.
    """

    name: str
    find: Callable[[D], Iterator[Finding]]
    forms: tuple[Form, ...] = ()
    unseen: str = ""


def validations(rules: Iterable[Rule[D]]) -> dict[str, list[Validation]]:
    """All forms of the rules, by the model they stand at."""
    found: dict[str, list[Validation]] = {}
    for rule in rules:
        for form in rule.forms:
            found.setdefault(form.on, []).append(form.validation(rule.name))
    return found
