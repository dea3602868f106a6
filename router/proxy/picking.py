"""Who answers a request, chosen once, and which shadows get a copy of the exchange."""

from random import getrandbits

from headgate.wire.plan import SLOTS
from router.core import counters as c
from router.core.pick import hash_of, is_in_first_half, is_sampled, sample_bits
from router.proxy.capture import Capture, CopySink
from router.proxy.framing import Request
from router.proxy.routing import Live, Routing


def pick(routing: Routing, request: Request) -> tuple[Live, int, bool]:
    """The version, the group of counters the request belongs to, and whether its hash is in the first half.

    A pin goes before an override, an override before a match, and a match before the plan's own split.
    """
    key = routing.identity_of(request.headers, request.target) if routing.identity_of else None
    hashed = hash_of(routing.salt, key) if key else getrandbits(64)
    kind, picked = c.PICKED, routing.pinned
    if picked is None and routing.overrides:
        picked = routing.overrides.get(request.headers.get(routing.override_header, b""))
        kind = c.PICKED if picked is None else c.SELECTED
    if picked is None:
        match, owners = routing.match, routing.owners
        if match is not None and match.holds(request.headers, request.repeated):
            kind, owners = c.MATCHED, match.owners
        picked = routing.versions[owners[hashed % SLOTS]]
    if not routing.counts(request.target):
        kind = c.OTHER
    return picked, kind, is_in_first_half(hashed)


def copies(
    sink: CopySink, routing: Routing, request: Request, live: Live, request_id: bytes
) -> Capture | None:
    """The copy for the shadows that this request falls to; None if there are none, or no room for it."""
    rules, bits = [], 0
    for index, rule in enumerate(routing.shadows):
        if rule.identity == live.counted.identity:
            continue
        if rule.sample < 1_000_000:
            bits = bits or sample_bits(routing.salt, request_id)
            if not is_sampled(bits, index, rule.sample):
                sink.count(live.counted, [rule], c.SAMPLED_OUT)
                continue
        rules.append(rule)
    if not rules:
        return None
    bytes_max = routing.plan.capture.body_bytes_max
    if not sink.has_room():
        sink.count(live.counted, rules, c.QUEUE_FULL)
    elif request.length > bytes_max:
        sink.count(live.counted, rules, c.BODY_TOO_LARGE)
    else:
        return Capture(sink, live.counted, rules, bytes_max)
    return None
