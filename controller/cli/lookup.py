"""Which rollout is meant by a name, or by none."""

from collections.abc import Iterable
from typing import Final

from controller.cli.failures import Failure

NAMED_MAX: Final = 16
"""So many rollouts are named in a message."""


def pick(keys: Iterable[str], name: str | None, namespace: str | None) -> str:
    """The one key of that name and namespace, where None means any; Failure when it is not just one."""
    known = sorted(keys)
    meant = [key for key in known if _is_meant(key, name, namespace)]
    if len(meant) == 1:
        return meant[0]
    where = f" in namespace {namespace}" if namespace else ""
    if not known:
        do = "make one with `headgate apply -f rollout.yaml`"
        if namespace:
            raise Failure(f"there is no rollout{where}", f"{do}, or look elsewhere: -n NAMESPACE, or -A")
        raise Failure("there is no rollout yet", do)
    wanted = (f"rollout {name}" if name else "rollout") + where
    if not meant:
        raise Failure(f"there is no {wanted}", f"rollouts there are: {', '.join(known[:NAMED_MAX])}")
    raise Failure(
        f"there are {len(meant)} of them: which {wanted}?", f"name one of: {', '.join(meant[:NAMED_MAX])}"
    )


def _is_meant(key: str, name: str | None, namespace: str | None) -> bool:
    its_namespace, _, its_name = key.partition("/")
    return namespace in (None, its_namespace) and name in (None, its_name)
