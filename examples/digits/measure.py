"""What the story says about itself, computed from records alone: the users' (traffic.py) and the observer's.

Pure: lists in, numbers out. Nothing here asks Headgate how well it did.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from traffic import Answer

from headgate.wire.record import ComparisonRecord


@dataclass(frozen=True, slots=True)
class Agreement:
    """How often two versions gave the same digit, 0 to 1, over `pairs` decoded pairs.

    `worst_digit` is the digit, as the live version read it, on which they agreed least.
    """

    pairs: int
    overall: float
    worst_digit: int
    on_worst_digit: float


def answered(answers: Iterable[Answer], version: str) -> list[Answer]:
    """The live answers of one version, good and bad, in the order in which they were sent."""
    return sorted((answer for answer in answers if answer.version == version), key=lambda answer: answer.sent)


def auto_rollback_s(answers: Iterable[Answer], version: str) -> float | None:
    """Seconds from the first bad answer a user got from `version` to the last request that it got.

    None when it gave no bad answer. 0 when nobody was sent to it any more.
    """
    live = answered(answers, version)
    failures = [answer.ended for answer in live if answer.outcome != "ok"]
    return max(0.0, live[-1].sent - min(failures)) if failures else None


def operator_rollback_ms(answers: Iterable[Answer], version: str, since: float | None) -> float | None:
    """Milliseconds from `since` to the last request that `version` got; None without either."""
    live = answered(answers, version)
    return max(0.0, live[-1].sent - since) * 1000 if live and since is not None else None


def agreement(pairs: Iterable[tuple[int, int]]) -> Agreement | None:
    """Agreement over pairs of digits (live, shadow); None without pairs."""
    right: dict[int, list[bool]] = defaultdict(list)
    for live, shadow in pairs:
        right[live].append(live == shadow)
    if not right:
        return None
    count = sum(len(each) for each in right.values())
    by_digit = {digit: sum(each) / len(each) for digit, each in right.items()}
    worst = min(by_digit, key=lambda digit: (by_digit[digit], digit))
    return Agreement(count, sum(sum(each) for each in right.values()) / count, worst, by_digit[worst])


def digit_pairs(records: Iterable[ComparisonRecord], shadow: str) -> list[tuple[int, int]]:
    """The digits that the live version and `shadow` read, for every record in which both answers were decoded.

    A record has the live digit as its class; where the digits differ it has the direction, `4->9`.
    """
    mine = [each for each in records if each.shadow.version == shadow and each.verdict in DECODED]
    return [digits(each.slices["class"], each.direction) for each in mine]


DECODED = ("agree", "soft", "disagree")


def digits(live: str, direction: str | None) -> tuple[int, int]:
    """The two digits of one record."""
    before, _, after = (direction or f"{live}->{live}").partition("->")
    return int(before), int(after)
