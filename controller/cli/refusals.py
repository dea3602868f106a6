"""What an API server refuses, as this command says everything that went wrong: what, where, and what to do.

Its own sentences are made for programs; the ones of our rules and of our admission policy carry the rule's name in
brackets, and are shown as `headgate lint` shows a fault.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from controller.adapters.kubernetes.errors import (
    ApiError,
    Conflict,
    Forbidden,
    Invalid,
    Misconfigured,
    NotFound,
    Unavailable,
)
from controller.cli.failures import Away, Failure

ANOTHER: Final = (
    "--context chooses another cluster, --state or --api the controller of this machine (`headgate up`)"
)

_CALL: Final = re.compile(r"[A-Z]+ \S+: (?:\d+ \w+: )?")
_RULE: Final = re.compile(r"\[([a-z-]+)\] (?:(spec\S*): )?(.*)", re.DOTALL)
_VALUE: Final = re.compile(
    r'^(?:Invalid value|Unsupported value|Too long|Too many): (?:"(?:[^"\\]|\\.)*"|\S+): '
)
_UNKNOWN: Final = re.compile(r'unknown field "([^"]+)"')
_RBAC: Final = re.compile(
    r'User "([^"]+)" cannot (\S+) resource "([^"]+)"(?: in API group "([^"]*)")?(?: in the namespace "([^"]+)")?'
)
_OWN_WORDS: Final = (
    (r"must be of type|Checked value must be", "type"),
    (r"Required value", "required"),
    (r"Unsupported value", "choice"),
    (r"should (be|have)|Too many|Too long", "bounds"),
)
"""The API server's own words for what a schema says, and the rule by which lint refuses the same."""

Json = dict[str, Any]


def failure(error: ApiError, about: str = "") -> Failure:
    """The error as this command ends with it; `about` is the rollout that was meant."""
    said = _CALL.sub("", error.message, count=1)
    match error:
        case Misconfigured():
            return Failure(error.message, ANOTHER)
        case Unavailable():
            return _away(said)
        case Forbidden():
            return _forbidden(error, said)
        case NotFound():
            return _not_found(said, about)
        case Conflict() if error.causes:
            return _conflict(error, about)
        case Invalid():
            return _invalid(error, said, about)
    return Failure(f"{about}: the API server refused: {said}".removeprefix(": "), ANOTHER)


def owners(error: ApiError) -> set[str]:
    """Who wrote the fields that an apply wants otherwise."""
    named = (re.search(r'conflict with "([^"]+)"', str(one.get("message", ""))) for one in error.causes)
    return {found[1] for found in named if found}


def faults(error: ApiError, said: str) -> list[Json]:
    """Path, rule and sentence of each thing that the API server found wrong."""
    unknown = [
        {"path": path, "rule": "unknown-field", "message": "there is no such field"}
        for path in _UNKNOWN.findall(said)
    ]
    return unknown + [_fault(one) for one in error.causes]


def _fault(cause: Mapping[str, Any]) -> Json:
    message, path = " ".join(str(cause.get("message", "")).split()), str(cause.get("field", ""))
    ours = _RULE.search(message)
    if ours is not None:
        return {"path": ours[2] or path, "rule": ours[1], "message": ours[3]}
    rule = next((rule for words, rule in _OWN_WORDS if re.search(words, message)), "api-server")
    return {"path": path, "rule": rule, "message": _VALUE.sub("", message)}


def _away(said: str) -> Failure:
    return Away(
        f"the API server of the cluster does not answer: {said}",
        f"`kubectl cluster-info` tells whether it is there; {ANOTHER}. When it burns, a router obeys directly: "
        "`headgate router pin VERSION` in its pod",
    )


def _forbidden(error: ApiError, said: str) -> Failure:
    if error.status == 401:
        return Failure(
            "the API server does not know who you are", f"sign in again (`kubectl auth whoami`); {ANOTHER}"
        )
    denied = said.partition("denied request: ")[2]
    ours = _RULE.search(denied)
    if ours is not None:
        what, _, do = ours[3].partition(": ")
        return Failure(what, do)
    found = _RBAC.search(said)
    if found is None:
        return Failure(f"the API server forbids it: {denied or said}", "ask who administers this cluster")
    user, verb, resource, group, namespace = found.groups()
    kind = f"{resource}.{group}" if group else resource
    where, flag = (
        (f"in namespace {namespace}", f"-n {namespace}") if namespace else ("in all namespaces", "-A")
    )
    return Failure(
        f"{user} may not {verb} {resource} {where}",
        f"a Role needs the verb {verb} on {kind} (`kubectl auth can-i {verb} {kind} {flag}`); "
        "ask who administers this cluster",
    )


def _not_found(said: str, about: str) -> Failure:
    if "could not find the requested resource" in said:
        return Failure(
            "this cluster does not know ModelRollouts: Headgate is not installed there",
            f"`kubectl apply --server-side -f manifests/crds` installs the kinds; {ANOTHER}",
        )
    namespace, _, name = about.partition("/")
    return Failure(
        f"there is no rollout {name} in namespace {namespace}",
        "`headgate get -A` lists all there are; -n names another namespace",
    )


def _conflict(error: ApiError, about: str) -> Failure:
    lines = [
        f"{one.get('field', '')}: {', '.join(owners(ApiError('', causes=[one]))) or 'somebody else'} wrote it (conflict)"
        for one in error.causes
    ]
    return Failure(
        f"others wrote fields of {about} otherwise; nothing was changed",
        "write what they wrote, or leave the field out; with --force-conflicts the files win",
        [line.lstrip(".") for line in lines],
    )


def _invalid(error: ApiError, said: str, about: str) -> Failure:
    found = faults(error, said)
    if not found:
        return Failure(f"{about}: the API server refused it: {said}", "mend it, and try again")
    count = "one thing is" if len(found) == 1 else f"{len(found)} things are"
    lines = [f"{one['path']}: {one['message']} ({one['rule']})" for one in found]
    return Failure(f"{count} wrong with {about}; nothing was changed", "mend the fields named", lines)
