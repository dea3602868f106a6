"""From measurements to verdicts: `judge` is the one way in, pure and total."""

from controller.core.analysis.inputs import Inputs, Roles, StepContext
from controller.core.analysis.state import AnalysisState
from controller.core.checks import Check, CheckResult, Lack, Verdict


def judge(
    checks: tuple[Check, ...],
    names: tuple[str, ...],
    roles: Roles,
    state: AnalysisState,
    inputs: Inputs,
    step: StepContext,
    alpha: float,
    now: float,
) -> tuple[AnalysisState, tuple[CheckResult, ...]]:
    """The state with everything new in `inputs` counted once, and a result for each of `names`, in their order.

    `checks` are all of the rollout (they share `alpha`, 0 … 1, by their weight); `names` those judged in the present
    step. `now` is Unix seconds. Never raises; what was not or cannot be measured is Inconclusive and says why.
    """
    known = {check.name: check for check in checks}
    return state, tuple(_not_measured(known[name]) for name in names if name in known)


def _not_measured(check: Check) -> CheckResult:
    return CheckResult(
        check=check.name,
        verdict=Verdict.INCONCLUSIVE,
        lack=Lack.NO_DATA,
        text="nothing was measured yet → Inconclusive",
        required=check.required,
        dry_run=check.dry_run,
    )
