"""Warm-up: the rules for what spans its fields, and its conversion for the core."""

import json
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError

from controller.core import spec as core
from controller.crd import models
from controller.crd.faults import path_of

SENDERS_OWN: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-headgate-shadow",
    }
)
"""Headers that say how a request is sent, not what is asked: the sender's own."""

LISTED_MAX: Final = 1_000
"""Requests in a ConfigMap."""

_LISTED: Final = TypeAdapter(Annotated[list[models.WarmRequest], Field(min_length=1, max_length=LISTED_MAX)])


def requests(spec: models.RolloutSpec) -> Iterator[tuple[str, str]]:
    """Faults in where the requests come from: the field and the sentence."""
    if spec.warmup is None:
        return
    written, path = spec.warmup.requests, "spec.warmup.requests"
    if written.from_ == "inline":
        if written.inline is None:
            yield f"{path}.inline", "no request is there to send: write inline: [{path: /…, body: {…}}]"
        if written.path is not None:
            yield f"{path}.path", "each request of inline has a path of its own: leave this one out"
    if written.from_ == "recorded":
        if written.inline is not None:
            yield (
                f"{path}.inline",
                "recorded requests are sent, not these: write from: inline, or leave it out",
            )
        if written.path is None:
            yield f"{path}.path", "records keep a request's body, not its path: write where they are sent, /…"
        yield from ((f"{path}.from", why) for why in _nothing_recorded(spec.capture))
    yield from ((f"{path}.{field}", why) for field, why in _of_config_map(written))
    for index, request in enumerate(written.inline or ()):
        for name in request.headers:
            if name.lower() in SENDERS_OWN:
                yield (
                    f"{path}.inline[{index}].headers.{name}",
                    "it says how a request is sent and is written by the sender: leave it out",
                )


def _of_config_map(written: models.WarmRequests) -> Iterator[tuple[str, str]]:
    if written.from_ != "configMap":
        if written.config_map is not None:
            yield "configMap", "it is for from: configMap: write that, or leave it out"
        return
    if written.config_map is None:
        yield "configMap", "it says not which: write configMap: {name: …}"
    if written.inline is not None:
        yield "inline", "those of the ConfigMap are sent, not these: write from: inline, or leave it out"
    if written.path is not None:
        yield "path", "each request of the ConfigMap has a path of its own: leave this one out"


def _nothing_recorded(capture: models.Capture) -> Iterator[str]:
    if capture.store == "none":
        yield "nothing is recorded while capture.store is none: write capture: {store: full}, or from: inline"
    elif capture.store == "redacted" and not capture.redact:
        yield (
            "capture.store: redacted without capture.redact masks every value, and no model answers such requests: "
            "say in capture.redact what to hide, or write from: inline"
        )


def times(spec: models.RolloutSpec) -> Iterator[tuple[str, str]]:
    """Faults in how long it may take: the field and the sentence."""
    if spec.warmup is None:
        return
    stable, longest, most = spec.warmup.until.stable_for, spec.warmup.max_wait, spec.decision.max_duration
    if stable > longest:
        yield (
            "spec.warmup.until.stableFor",
            f"{stable:g}s is longer than maxWait ({longest:g}s), so nothing would ever be proven warm: shorten it",
        )
    elif longest > most:
        yield (
            "spec.warmup.maxWait",
            f"{longest:g}s is longer than decision.maxDuration ({most:g}s), which the whole rollout may last: shorten it",
        )


def warmup_of(written: models.Warmup | None) -> core.Warmup | None:
    """The warm-up as the core thinks of it."""
    if written is None:
        return None
    source = written.requests
    return core.Warmup(
        requests=tuple(_request(request) for request in source.inline or ()),
        recorded_path=source.path or "",
        config_map=(source.config_map.name, source.config_map.key) if source.config_map else None,
        count=source.count,
        concurrency=source.concurrency,
        p95_s=written.until.p95,
        stable_for_s=written.until.stable_for,
        max_wait_s=written.max_wait,
    )


def requests_in(text: str) -> tuple[core.WarmRequest, ...] | str:
    """The requests in the JSON that a ConfigMap holds; what is wrong with it, if it holds none that can be sent."""
    try:
        found = _LISTED.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = path_of(first["loc"])
        return f"{place}: {first['msg']}" if place else first["msg"]
    for index, request in enumerate(found):
        for name in request.headers:
            if name.lower() in SENDERS_OWN:
                return f"[{index}].headers.{name}: it is written by the sender: leave it out"
    return tuple(_request(request) for request in found)


def _request(request: models.WarmRequest) -> core.WarmRequest:
    body = json.dumps(request.body, ensure_ascii=False, separators=(",", ":")).encode()
    return core.WarmRequest(
        request.path, body, tuple((name.lower(), value) for name, value in request.headers.items())
    )
