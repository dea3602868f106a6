"""The line to the controller by TLS: who is believed, what is said when somebody is not, and what changes while it runs."""

import time
from pathlib import Path

import pytest

from controller.adapters.certificates import Pair, ServerTls, issued, made_authority
from router.agent.line import trusting
from router.settings import Invalid, Settings
from router.supervisor.sockets import Address
from tests.router.agent.bench import Bench

NAMES = ("127.0.0.1", "localhost")


def serving(authority: Pair, *names: str) -> ServerTls:
    """The TLS of a controller with a certificate of this authority."""
    tls = ServerTls()
    tls.use(issued(authority, names or NAMES, time.time()))
    return tls


def test_a_plan_is_fetched_and_reports_are_sent_by_tls(bench: Bench, tmp_path: Path) -> None:
    authority, ca = made_authority(time.time()), tmp_path / "ca.crt"
    ca.write_bytes(authority.certificate)
    controller, agent = bench.controller(tls=serving(authority).context), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller, "--controller-ca", str(ca))
    bench.until(lambda: controller.acknowledged(controller.plan), "the plan is acknowledged")
    bench.until(lambda: controller.telemetry, "a report arrives")
    assert controller.polls[0]["header authorization"] == "Bearer s3cret"


def test_a_stranger_is_refused_by_name_and_gets_no_token_until_its_authority_is_believed(
    bench: Bench, tmp_path: Path
) -> None:
    mine, other, ca = made_authority(time.time()), made_authority(time.time()), tmp_path / "ca.crt"
    ca.write_bytes(other.certificate)
    controller, agent = bench.controller(tls=serving(mine).context), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller, "--controller-ca", str(ca))
    bench.until(lambda: "certificate is refused" in agent.log(), "it is said")
    assert f"believed: {ca}" in agent.log()
    assert not controller.polls
    ca.write_bytes(other.certificate + mine.certificate)
    bench.until(lambda: controller.acknowledged(controller.plan), "it is believed without a restart")


def test_a_certificate_for_another_name_is_refused(bench: Bench, tmp_path: Path) -> None:
    authority, ca = made_authority(time.time()), tmp_path / "ca.crt"
    ca.write_bytes(authority.certificate)
    controller = bench.controller(tls=serving(authority, "headgate-controller.ml").context)
    controller.plan = bench.plan()
    agent = bench.agent()
    agent.follow(controller, "--controller-ca", str(ca))
    bench.until(lambda: "IP address mismatch" in agent.log(), "it is said")
    assert not controller.polls


def test_without_the_file_the_machines_authorities_are_believed_and_no_other(bench: Bench) -> None:
    controller, agent = bench.controller(tls=serving(made_authority(time.time())).context), bench.agent()
    agent.follow(controller)
    bench.until(lambda: "believed: the machine's own authorities" in agent.log(), "it is said")
    assert not controller.polls


def test_the_file_may_come_later_and_may_be_unreadable_for_a_while(bench: Bench, tmp_path: Path) -> None:
    authority, ca = made_authority(time.time()), tmp_path / "ca.crt"
    controller, agent = bench.controller(tls=serving(authority).context), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller, "--controller-ca", str(ca))
    bench.until(lambda: f"authorities in {ca}" in agent.log(), "it is said")
    ca.write_bytes(authority.certificate)
    bench.until(lambda: controller.acknowledged(controller.plan), "the plan is acknowledged")
    ca.write_text("half a certif")
    reports = len(controller.telemetry)
    controller.plan = bench.plan(1, 2)
    bench.until(lambda: controller.acknowledged(controller.plan), "what was believed is believed still")
    bench.until(lambda: len(controller.telemetry) > reports, "reports go on")


def test_an_authority_that_is_replaced_while_a_poll_hangs_is_followed(bench: Bench, tmp_path: Path) -> None:
    old, new, ca = made_authority(time.time()), made_authority(time.time()), tmp_path / "ca.crt"
    ca.write_bytes(old.certificate)
    tls = serving(old)
    controller, agent = bench.controller(tls=tls.context), bench.agent()
    controller.plan = bench.plan()
    bench.worker(agent.run)
    agent.follow(controller, "--controller-ca", str(ca))
    bench.until(lambda: controller.acknowledged(controller.plan), "the plan is acknowledged")
    ca.write_bytes(old.certificate + new.certificate)
    tls.use(issued(new, NAMES, time.time()))
    reports = len(controller.telemetry)
    bench.until(lambda: len(controller.telemetry) > reports + 1, "reports go on")
    ca.write_bytes(new.certificate)
    controller.plan = bench.plan(1, 2)
    bench.until(lambda: controller.acknowledged(controller.plan), "so do plans")
    assert "refused" not in agent.log()


def test_a_leader_at_another_address_must_prove_to_be_who_was_asked_for(bench: Bench, tmp_path: Path) -> None:
    authority, ca = made_authority(time.time()), tmp_path / "ca.crt"
    ca.write_bytes(authority.certificate)
    follower = bench.controller(tls=serving(authority, "localhost").context)
    stranger = bench.controller(tls=serving(authority, "somebody-else").context)
    leader = bench.controller(tls=serving(authority, "localhost").context)
    stranger.plan = leader.plan = bench.plan()
    follower.url = f"https://localhost:{follower.port}"
    follower.answer_status, follower.location = 421, stranger.url
    agent = bench.agent()
    bench.worker(agent.run)
    agent.follow(follower, "--controller-ca", str(ca))
    bench.until(lambda: "Hostname mismatch" in agent.log(), "the stranger is refused")
    assert not stranger.polls
    follower.location = leader.url
    bench.until(lambda: leader.acknowledged(leader.plan), "the leader, at its own address, is followed")


@pytest.mark.parametrize(
    "text", [b"nothing", b"\xff", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_what_is_no_certificate_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(ValueError, match="no certificate in PEM form"):
        trusting(text)


def settings(tmp_path: Path, url: str, **more: object) -> Settings:
    token = tmp_path / "token"
    token.write_text("s3cret")
    given: dict[str, object] = {"controllers": (url,), "token_file": token, **more}
    local = Address("127.0.0.1", 0)
    return Settings("ml/fraud", local, local, tmp_path / "run", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("https://headgate-controller.headgate:7000", {}),
        ("http://127.0.0.1:7000", {}),
        ("http://[::1]:7000", {}),
        ("http://localhost:7000", {}),
        ("http://headgate-controller:7000", {"token_file": None}),
        ("http://headgate-controller:7000", {"allows_plain_controller": True}),
    ],
)
def test_the_token_may_go_by_tls_to_this_machine_or_where_somebody_said_so(
    tmp_path: Path, url: str, more: dict[str, object]
) -> None:
    settings(tmp_path, url, **more).check()


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("http://headgate-controller:7000", {}, "in clear"),
        ("http://127.0.0.1:7000", {"controller_hosts": ("10.0.0.1",)}, "in clear"),
        ("http://127.0.0.1:7000", {"controller_ca": Path("ca.crt")}, "of no use"),
    ],
)
def test_the_token_goes_nowhere_else_in_clear(
    tmp_path: Path, url: str, more: dict[str, object], said: str
) -> None:
    with pytest.raises(Invalid, match=said):
        settings(tmp_path, url, **more).check()
