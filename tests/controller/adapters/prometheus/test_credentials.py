"""A real Prometheus that asks who one is, and a limit on how much it is asked."""

import asyncio
import socket
from pathlib import Path

import pytest

from controller.adapters.prometheus.counters import PrometheusCounters
from controller.core.analysis.inputs import Counts, Missing
from controller.crd.providers import Auth, Limits, Provider, Tls
from tests.controller.adapters.prometheus.servers import (
    QUERY,
    answering,
    ask,
    matrix,
    misbehaving,
    patient,
    prometheus,
)
from tests.router.authority import Authority

HASH = "$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay"
"""What bcrypt makes of `test`."""


@pytest.mark.needs("prometheus")
def test_a_password_and_a_certificate_open_a_real_prometheus_and_both_may_be_rotated(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server, ours = authority.make("server", "127.0.0.1"), authority.make("headgate")
    password = tmp_path / "password"
    password.write_text("wrong\n")
    web = {
        "tls_server_config": {
            "cert_file": str(server.certificate),
            "key_file": str(server.key),
            "client_auth_type": "RequireAndVerifyClientCert",
            "client_ca_file": str(authority.ca),
        },
        "basic_auth_users": {"headgate": HASH},
    }
    auth = Auth.model_validate({"basic": {"username": "headgate", "passwordFile": str(password)}})
    only_ca = {"caFile": str(authority.ca)}
    tls = Tls.model_validate({**only_ca, "certFile": str(ours.certificate), "keyFile": str(ours.key)})
    with prometheus(tmp_path, [], web) as url:
        asyncio.run(_story(patient(url, auth=auth, tls=tls), password, tmp_path))
        unknown = ask(url, provider=patient(url, auth=auth, tls=Tls.model_validate(only_ca)))
        assert isinstance(unknown, Missing)
        untrusted = ask(url, provider=patient(url, auth=auth))
        assert isinstance(untrusted, Missing)
        assert "certificate verify failed" in untrusted.why.lower()


async def _story(provider: Provider, password: Path, folder: Path) -> None:
    counters = PrometheusCounters({"main": provider})
    try:
        refused = await counters.counts(QUERY, "v8")
        assert isinstance(refused, Missing)
        assert "status 401" in refused.why
        assert "wrong" not in refused.why
        password.write_text("test\n")
        assert await counters.counts(QUERY, "v8") == Counts({}, {})
        stranger = Authority(folder, "stranger").make("headgate")  # writes over our certificate
        assert isinstance(await counters.counts(QUERY, "v8"), Missing), stranger
    finally:
        await counters.close()


def test_headers_of_the_configuration_are_sent_with_every_query() -> None:
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        answering(matrix())(connection)

    with misbehaving(talk, heard=heard.append) as url:
        provider = patient(url, headers={"X-Scope-OrgID": "team-a"})
        assert ask(url, provider=provider) == Counts({}, {})
    assert len(heard) == 2
    assert all(b"X-Scope-OrgID: team-a\r\n" in head for head in heard)


@pytest.mark.parametrize("name", ["caFile", "certFile", "keyFile"])
def test_a_certificate_that_is_not_there_is_missing_and_names_the_file(tmp_path: Path, name: str) -> None:
    tls = Tls.model_construct(
        **{"ca_file": None, "cert_file": None, "key_file": None, name: "/nowhere/x.pem"}
    )
    found = ask("https://127.0.0.1:1", provider=patient("https://127.0.0.1:1", tls=tls))
    assert isinstance(found, Missing)
    assert "/nowhere/x.pem cannot be read (no such file or directory)" in found.why


def test_who_asks_for_more_than_the_limit_waits_and_a_flood_is_told_so() -> None:
    async def look(url: str) -> list[Counts | Missing]:
        limits = Limits.model_validate({"perSecond": 4, "timeout": "30s"})
        counters = PrometheusCounters({"main": Provider(url=url, limits=limits)})
        loop = asyncio.get_running_loop()
        try:
            began = loop.time()
            crowd = [asyncio.create_task(counters.counts(QUERY, f"v{n}")) for n in range(300)]
            found = await asyncio.gather(*crowd[:5])
            assert loop.time() - began >= 0.9, "the fifth waited for a second"
            assert isinstance(await crowd[-1], Missing)
            for one in crowd:
                one.cancel()
            return [*found, await crowd[-2]]
        finally:
            await counters.close()

    with misbehaving(answering(matrix())) as url:
        *served, refused = asyncio.run(look(url))
    assert served == [Counts({}, {})] * 5
    assert refused == Missing("prometheus 'main': more is asked than its limit of 4 a second")
