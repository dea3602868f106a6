"""What two predictions differ in: one comparator per task, all total, all pure.

`compare` gives a `Compared` or, where the live prediction does not hold what the comparison asks for, an
`Undecodable`. A shadow that lacks what the live version said disagrees: that is a difference users would feel.
"""

from headgate.wire.plan import Comparison
from router.core.compare import classification, jsondiff, regression
from router.core.compare.result import Compared, RowChange
from router.core.protocols import Prediction, Undecodable

__all__ = ["Compared", "RowChange", "compare"]


def compare(live: Prediction, shadow: Prediction, policy: Comparison) -> Compared | Undecodable:
    """How `shadow` differs from `live` under `policy`; both were read by the same protocol."""
    match policy.task:
        case "classification":
            return classification.compare(live, shadow, policy)
        case "regression":
            return regression.compare(live, shadow, policy)
        case "json":
            return jsondiff.compare(live, shadow, policy)
