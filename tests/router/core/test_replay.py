"""The request that a shadow gets."""

import gzip
import json
from typing import Any

import pytest

from headgate.wire.plan import Endpoint, PlanVersion, Rewrite
from router.core.channel import Copy
from router.core.join import Refused
from router.core.replay import refusal, request_for

ENDPOINT = Endpoint("127.0.0.1", 8080)
HEAD = b"\r\n".join(
    [
        b"Host: live.example",
        b"Content-Type: application/json",
        b"Content-Length: 99",
        b"Authorization: Bearer secret-1",
        b"Proxy-Authorization: Basic secret-2",
        b"Cookie: sid=secret-3",
        b"X-Request-Id: from-client",
        b"x-headgate-version: v9",
        b"Expect: 100-continue",
        b"X-Tenant: a",
        b"Traceparent: 00-aa-bb-01",
    ]
)


def copy(**changes: Any) -> Copy:
    fields: dict[str, Any] = {
        "generation": 1,
        "live": "v1",
        "live_identity": "i1",
        "shadows": ("v2",),
        "request_id": "r-1",
        "at": 1.0,
        "method": b"POST",
        "target": b"/v2/models/m/infer?trace=1",
        "request_head": HEAD,
        "request_body": b'{"model": "a", "inputs": [1]}',
        "status": 200,
        "latency_s": 0.1,
        "answer_head": b"",
        "answer_body": b"",
    }
    return Copy(**(fields | changes))


def sent(
    copied: Copy, rewrite: Rewrite | None = None, base_path: str = ""
) -> tuple[str, dict[str, str], bytes]:
    version = PlanVersion("v2", "i2", "candidate", (ENDPOINT,), base_path=base_path, rewrite=rewrite)
    request = request_for(copied, version, ENDPOINT, 1 << 20)
    assert isinstance(request, bytes)
    head, _, body = request.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    names = [line.split(":")[0] for line in lines]
    assert len(names) == len(set(names))
    return start, dict(line.split(": ", 1) for line in lines), body


def test_a_shadow_gets_the_request_without_credentials_marked_and_under_the_same_id() -> None:
    start, headers, body = sent(copy())
    assert start == "POST /v2/models/m/infer?trace=1 HTTP/1.1"
    assert headers == {
        "host": "127.0.0.1:8080",
        "content-type": "application/json",
        "x-tenant": "a",
        "traceparent": "00-aa-bb-01",
        "x-request-id": "r-1",
        "x-headgate-shadow": "true",
        "content-length": "29",
    }
    assert body == copy().request_body


@pytest.mark.parametrize(
    ("rewrite", "base_path", "target"),
    [
        (None, "", "/v2/models/m/infer?trace=1"),
        (None, "/fraud9", "/fraud9/v2/models/m/infer?trace=1"),
        (Rewrite(path="/other/infer"), "", "/other/infer?trace=1"),
        (Rewrite(path="/other/infer"), "/fraud9", "/fraud9/other/infer?trace=1"),
    ],
)
def test_the_path_is_the_clients_or_the_rewritten_one_below_the_base_path(
    rewrite: Rewrite | None, base_path: str, target: str
) -> None:
    assert sent(copy(), rewrite, base_path)[0] == f"POST {target} HTTP/1.1"


def test_body_fields_are_rewritten_and_the_length_follows() -> None:
    _, headers, body = sent(copy(), Rewrite(body={"/model": "fraud-8", "/extra": [1]}))
    assert json.loads(body) == {"model": "fraud-8", "inputs": [1], "extra": [1]}
    assert headers["content-length"] == str(len(body))


def test_a_compressed_body_is_rewritten_and_sent_as_it_then_is() -> None:
    compressed = copy(
        request_body=gzip.compress(b'{"model": "a"}'), request_head=HEAD + b"\r\nContent-Encoding: gzip"
    )
    assert sent(compressed)[1]["content-encoding"] == "gzip"
    _, headers, body = sent(compressed, Rewrite(body={"/model": "b"}))
    assert json.loads(body) == {"model": "b"}
    assert "content-encoding" not in headers


def test_binary_tensors_are_sent_as_they_are_but_not_rewritten() -> None:
    binary = copy(request_body=b'{"inputs": []}\x00\x01', request_head=b"Inference-Header-Content-Length: 14")
    assert sent(binary)[2] == binary.request_body
    version = PlanVersion("v2", "i2", "candidate", (ENDPOINT,), rewrite=Rewrite(body={"/model": "b"}))
    refused = request_for(binary, version, ENDPOINT, 1 << 20)
    assert isinstance(refused, Refused)
    assert "binary tensors" in refused.why


@pytest.mark.parametrize("body", [b"not json", b"[1]", b'{"a": 1}', b""])
def test_a_body_that_cannot_be_rewritten_is_undecodable_and_not_sent(body: bytes) -> None:
    version = PlanVersion("v2", "i2", "candidate", (ENDPOINT,), rewrite=Rewrite(body={"/deep/field": 1}))
    refused = request_for(copy(request_body=body), version, ENDPOINT, 1 << 20)
    assert isinstance(refused, Refused)
    assert refused.reason == "undecodable"
    assert "rewrite.body" in refused.why


def test_a_request_id_cannot_add_a_header() -> None:
    assert sent(copy(request_id="a\r\nx-evil: 1 ü"))[1]["x-request-id"] == "ax-evil:1"


def test_an_ipv6_endpoint_is_named_in_brackets() -> None:
    version = PlanVersion("v2", "i2", "candidate")
    request = request_for(copy(), version, Endpoint("::1", 80), 1 << 20)
    assert isinstance(request, bytes)
    assert b"\r\nhost: [::1]:80\r\n" in request


@pytest.mark.parametrize(
    ("method", "target", "counted", "is_sent"),
    [
        (b"POST", "/anything", (), True),
        (b"POST", "/v2/models/m/infer?x=1", ("/v2/*/infer",), True),
        (b"POST", "/admin/delete", ("/v2/*/infer",), False),
        (b"GET", "/v2/models/m", (), False),
        (b"GET", "/v2/models/m/infer", (), True),
        (b"GET", "/score", ("/score",), True),
        (b"HEAD", "/v2/models/m/infer", (), False),
        (b"PUT", "/v2/models/m/infer", (), False),
        (b"DELETE", "/score", ("/score",), False),
        (b"POST", "http://elsewhere/infer", (), False),
        (b"POST", "/a b", (), False),
        (b"POST", "/a\r\nx: y", (), False),
        (b"POST", "*", (), False),
    ],
)
def test_only_inferences_are_sent_a_second_time(
    method: bytes, target: str, counted: tuple[str, ...], is_sent: bool
) -> None:
    refused = refusal(method, target, counted)
    assert (refused is None) == is_sent
    assert refused is None or refused.reason == "method_not_safe"
