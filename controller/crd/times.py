"""Cron expressions, time zones and moments as people write them, refused with what would be right."""

import difflib
import re
import zoneinfo
from typing import Annotated, Final

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from controller.core.schedule import never_begins
from controller.crd.cel import shape
from controller.crd.quantities import Duration

_MOMENT: Final = re.compile(
    r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:00)?(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


class Minutes(Duration):
    """A duration of whole minutes, read as seconds."""

    def read(self, value: object) -> float | int:
        """Seconds; PydanticCustomError when it is no duration, out of bounds, or finer than a minute."""
        amount = super().read(value)
        if amount % 60:
            raise PydanticCustomError(
                "unit",
                "{value} is finer than a minute, the smallest step: write 10m or 1h30m",
                {"value": str(value)},
            )
        return amount


def _cron(text: str) -> str:
    try:
        never_begins(text)
    except ValueError as error:
        raise PydanticCustomError(
            "cron",
            "{shown} is not a cron expression: {why}; write such as 0 9 * * MON-THU",
            {"shown": repr(text)[:80], "why": str(error)},
        ) from None
    return " ".join(text.split())


def _zone(name: str) -> str:
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise PydanticCustomError(
            "time-zone",
            "{shown} is not a time zone{hint}",
            {"shown": repr(name)[:80], "hint": _hint(name)},
        ) from None
    return name


def _hint(name: str) -> str:
    """A name that may have been meant, spelled alike or a place that ends like it; else what names look like."""
    known = sorted(zoneinfo.available_timezones())
    place = name.rpartition("/")[2].replace(" ", "_").lower()
    alike = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    found = alike or [zone for zone in known if place and zone.lower().endswith("/" + place)]
    return f"; did you mean {found[0]}?" if found else ": write a name such as Europe/Berlin or UTC"


def _moment(text: str) -> str:
    if _MOMENT.fullmatch(text) is None:
        raise PydanticCustomError(
            "moment",
            "{shown} is not a time: write 2026-12-24T18:00+01:00, or 2026-12-24T18:00 or 2026-12-24 in tz's own time",
            {"shown": repr(text)[:80]},
        )
    return text


_CRON_SHAPE: Final = shape(
    r"\s*[A-Za-z0-9*/,#?-]+(\s+[A-Za-z0-9*/,#?-]+){4}\s*",
    "is not a cron expression: write minute, hour, day of month, month and day of week, such as 0 9 * * MON-THU",
    rule="cron",
)
_ZONE_SHAPE: Final = shape(
    r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*",
    "is not a time zone: write a name such as Europe/Berlin or UTC",
    rule="time-zone",
)
_MOMENT_SHAPE: Final = shape(
    _MOMENT.pattern,
    "is not a time: write 2026-12-24T18:00+01:00, or 2026-12-24T18:00 or 2026-12-24 in tz's own time",
    rule="moment",
)
"""What the API server can tell of these; what they mean is read here and by the controller."""

Cron = Annotated[str, Field(max_length=128, json_schema_extra=_CRON_SHAPE), AfterValidator(_cron)]
Zone = Annotated[str, Field(max_length=64, json_schema_extra=_ZONE_SHAPE), AfterValidator(_zone)]
Moment = Annotated[str, Field(max_length=32, json_schema_extra=_MOMENT_SHAPE), AfterValidator(_moment)]
