"""The controller's API by TLS on a real API server: its own authority, a real router that believes it, and its turnover."""

import base64
import json
import socket
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from controller.adapters.certificates import Pair, issued, made_authority
from controller.adapters.kubernetes.authority import OVERLAP_S, SECRET
from tests.cluster.relay import Relay
from tests.cluster.secured import Secured
from tests.cluster.testbed.cluster import Testbed
from tests.cluster.testbed.programs import free_port
from tests.cluster.whole import HEADGATE, NAME, install, rollout, until

pytestmark = pytest.mark.timeout(400)


def is_served_by(port: int, authority: bytes) -> bool:
    """Does the server prove itself to somebody who believes this authority only?"""
    context = ssl.create_default_context(cadata=authority.decode())
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
            context.wrap_socket(plain, server_hostname="localhost"),
        ):
            return True
    except OSError:  # it is not there, or not believed
        return False


def told(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """What a command says."""
    return subprocess.run([*words], capture_output=True, text=True, check=False, timeout=100)


def encoded(**parts: bytes) -> dict[str, str]:
    return {name: base64.b64encode(value).decode() for name, value in parts.items()}


def next_data(pair: Pair) -> dict[str, str]:
    return encoded(**{"next.crt": pair.certificate, "next.key": pair.key})


def test_a_router_follows_by_tls_through_a_turnover_and_its_token_is_never_in_clear(
    cluster: Testbed, namespace: str, tmp_path: Path
) -> None:
    install(cluster)
    stranger = made_authority(time.time()).certificate
    with Secured(cluster, namespace, tmp_path) as whole, Relay(whole.api_port) as relay:
        whole.router = whole.program_of_router(relay.port)
        whole.apply(rollout([whole.model("v1"), whole.model("v2")]))
        whole.ca.write_bytes(stranger)
        whole.start()
        until(
            "a stranger is refused", lambda: "certificate is refused" in whole.router_says(), says=whole.says
        )
        first = whole.mount()
        with whole.load() as load:
            old = base64.b64decode(whole.secret()["data"]["ca.crt"])
            assert first.encode() == old
            following = made_authority(time.time() - OVERLAP_S - 60)
            whole.ca.write_bytes(old + following.certificate)
            refused = whole.router_says().count("refused")
            patch = {"data": next_data(following)}
            whole.kubectl("patch", "secret", SECRET, "--type=merge", "--patch", json.dumps(patch))
            until(
                "the new one serves",
                lambda: is_served_by(whole.api_port, following.certificate),
                120,
                whole.says,
            )
            assert not is_served_by(whole.api_port, old)
            both = following.certificate + old
            until("both are published", lambda: whole.published().encode() == both, says=whole.says)
            whole.mount()
            whole.target("v2")
            until("v2 is promoted", lambda: whole.status().get("stableVersion") == "v2", 90, whole.says)
            load.stop()
        load.without_loss()
        assert whole.router_says().count("refused") == refused
        assert all(first.startswith(b"\x16\x03") for first in relay.beginnings), "a TLS handshake"
        assert len(relay.beginnings) > 1
        assert whole.token.read_text().strip().encode() not in relay.heard
        assert b"uthorization" not in relay.heard
        held = whole.secret()["data"]
        whole.controller.stop()
        whole.controller.start()
        until(
            "by the same authority",
            lambda: is_served_by(whole.api_port, following.certificate),
            60,
            whole.says,
        )
        assert whole.secret()["data"] == held
        whole.kubectl("delete", "mro", NAME, "--timeout=60s")
        until("nobody is told any more", lambda: not whole.published(), says=whole.says)


def test_somebody_elses_certificate_is_taken_from_files_and_followed_when_it_changes(
    cluster: Testbed, namespace: str, tmp_path: Path
) -> None:
    install(cluster)
    authority, other = made_authority(time.time()), made_authority(time.time())
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"

    def renew(issuer: Pair) -> None:
        pair = issued(issuer, ("localhost",), time.time())
        key.write_bytes(pair.key)
        certificate.write_bytes(pair.certificate)

    renew(authority)
    options = ("--tls-cert", str(certificate), "--tls-key", str(key))
    with Secured(cluster, namespace, tmp_path, options=options) as whole:
        whole.apply(rollout([whole.model("v1")]))
        whole.ca.write_bytes(authority.certificate + other.certificate)
        whole.start()
        whole.phase_is("Healthy")
        until("the router is ready", whole.ready.exists, 60, whole.says)
        asked = (
            HEADGATE,
            "get",
            "-A",
            "--api",
            f"https://localhost:{whole.api_port}",
            "--token-file",
            whole.token,
        )
        believing = told(*asked, "--api-ca", whole.ca)
        assert (believing.returncode, NAME in believing.stdout) == (0, True), believing.stderr
        doubting = told(*asked)
        assert doubting.returncode == 1
        assert "is refused" in doubting.stderr
        assert "--api-ca FILE" in doubting.stderr
        renew(other)
        until("the other one serves", lambda: is_served_by(whole.api_port, other.certificate), 60, whole.says)
        assert not whole.published()
        assert not whole.kubectl("get", "secret", SECRET, "--ignore-not-found").stdout


def test_a_certificate_that_is_none_is_refused_at_the_start(
    cluster: Testbed, namespace: str, tmp_path: Path
) -> None:
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_text("nothing")
    options = ("--tls-cert", str(tmp_path / "tls.crt"), "--tls-key", str(tmp_path / "tls.key"))
    with Secured(cluster, namespace, tmp_path, options=options) as whole:
        whole.controller = whole.program_of_controller("refused", free_port(), *options)
        whole.controller.start()
        until("it ends", lambda: not whole.controller.alive, 60)
        assert f"--tls-cert {tmp_path / 'tls.crt'}" in whole.controller.log.read_text()
