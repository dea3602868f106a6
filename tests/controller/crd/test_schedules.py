"""Schedules as people write them: what they mean, and every refusal with what would be right."""

from datetime import UTC, datetime

import pytest

from controller.core import schedule as core
from controller.core.spec import Spec, Supersede
from controller.crd import Fault, Refused, parse, to_core
from tests.controller.crd.specs import Document, changed

NINE = {"cron": "0 9 * * MON-THU", "for": "6h", "tz": "Europe/Berlin"}


def with_schedule(**fields: object) -> Document:
    return changed(lambda spec: spec.update(schedule=fields))


def faults(**fields: object) -> list[Fault]:
    found = parse(with_schedule(**fields))
    return list(found.faults) if isinstance(found, Refused) else []


def compiled(**fields: object) -> Spec:
    found = to_core(with_schedule(**fields), 1)
    assert isinstance(found, Spec), found
    return found


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_window_opens_in_its_own_time_zone() -> None:
    spec = compiled(windows=[NINE], supersede="queue")
    assert spec.supersede is Supersede.QUEUE
    assert core.state(spec.schedule, at("2026-11-23 08:00")) == core.Open(at("2026-11-23 14:00"))
    assert isinstance(core.state(spec.schedule, at("2026-11-23 07:59")), core.Closed)


@pytest.mark.parametrize(
    ("start", "until", "zone"),
    [
        ("2026-12-24T12:00+01:00", "2026-12-27T00:00Z", "UTC"),
        ("2026-12-24T12:00", "2026-12-27T01:00", "Europe/Berlin"),
    ],
)
def test_a_freeze_is_written_with_its_offset_or_in_the_time_of_its_zone(
    start: str, until: str, zone: str
) -> None:
    (freeze,) = compiled(freeze=[{"from": start, "until": until, "tz": zone}]).schedule.freezes
    assert isinstance(freeze.span, core.Fixed)
    assert (freeze.span.from_s, freeze.span.until_s) == (at("2026-12-24 11:00"), at("2026-12-27 00:00"))


def test_a_freeze_may_come_again_and_again() -> None:
    spec = compiled(freeze=[{"cron": "0 12 * * fri", "for": "1d12h", "reason": "the weekend is near"}])
    closed = core.state(spec.schedule, at("2026-11-20 13:00"))
    assert closed == core.Closed(
        at("2026-11-22 00:00"), "frozen until 2026-11-22 00:00 UTC: the weekend is near"
    )


def test_without_a_schedule_it_is_always_open() -> None:
    assert compiled().schedule == core.ALWAYS


@pytest.mark.parametrize(
    ("window", "field", "sentence"),
    [
        ({"tz": "Europe/Berln"}, "tz", "did you mean Europe/Berlin?"),
        ({"tz": "Berlin"}, "tz", "did you mean Europe/Berlin?"),
        ({"tz": "MESZ"}, "tz", "write a name such as Europe/Berlin or UTC"),
        ({"tz": "../../etc/passwd"}, "tz", "is not a time zone"),
        ({"tz": ""}, "tz", "is not a time zone"),
        ({"cron": "0 9 * *"}, "cron", "it has 4 fields, not 5"),
        ({"cron": "0 25 * * *"}, "cron", "bad hour"),
        ({"cron": "0 9 * * FUN"}, "cron", "bad day-of-week"),
        ({"for": "90s"}, "for", "finer than a minute"),
        ({"for": "40d"}, "for", "from 1m to 31d"),
    ],
)
def test_a_window_that_means_nothing_is_refused(window: Document, field: str, sentence: str) -> None:
    (fault,) = faults(windows=[{**NINE, **window}])
    assert fault.path == f"spec.schedule.windows[0].{field}"
    assert sentence in fault.message


@pytest.mark.parametrize(
    "moment", ["tomorrow", "2026-12-24 18:00", "2026-12-24T18:00:30", "1999-01-01", "24.12.2026"]
)
def test_a_moment_that_means_nothing_is_refused(moment: str) -> None:
    (fault,) = faults(freeze=[{"from": moment, "until": "2027-01-02"}])
    assert (fault.rule, fault.path) == ("moment", "spec.schedule.freeze[0].from")
