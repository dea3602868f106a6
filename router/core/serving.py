"""Whether a worker may run a plan: sound, its versions countable, and not older than what it runs."""

from typing import Final

from headgate.wire.plan import Applied, faults
from router.core.channel import Assignment
from router.core.counters import COLUMNS

_FAULTS_NAMED_MAX: Final = 8


def refusal(assignment: Assignment, running: Applied) -> str:
    """Why a worker that runs `running` does not apply this assignment, in one sentence; empty if it does."""
    plan = assignment.plan
    if plan.epoch < running.epoch:
        return f"plan {plan.triple} refused: epoch {plan.epoch} is older than {running.epoch}, which runs"
    if plan.epoch == running.epoch and plan.generation < running.generation:
        return (
            f"plan {plan.triple} refused: generation {plan.generation} is older than {running.generation}, "
            f"which runs in the same epoch"
        )
    found = (*faults(plan), *_column_faults(assignment))
    if found:
        return f"plan {plan.triple} refused: " + "; ".join(found[:_FAULTS_NAMED_MAX])
    return ""


def _column_faults(assignment: Assignment) -> tuple[str, ...]:
    """What is wrong with the columns: one is missing, out of range, or given to two identities."""
    found: list[str] = []
    taken: dict[int, str] = {}
    for version in assignment.plan.versions:
        column = assignment.columns.get(version.identity)
        if column is None:
            found.append(f"columns: none for {version.name}, identity {version.identity}")
        elif not 0 <= column < COLUMNS:
            found.append(f"columns: {column} of {version.name} is not in 0 … {COLUMNS - 1}")
        elif taken.setdefault(column, version.identity) != version.identity:
            found.append(f"columns: {column} of {version.name} is also that of identity {taken[column]}")
    return tuple(found)
