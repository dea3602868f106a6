"""What a router may be started with."""

from pathlib import Path

import pytest

from headgate.reach import Reach
from router.proxy.options import Options
from router.settings import Invalid, Settings, default_router, is_loopback, parse_address
from router.supervisor.sockets import Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("127.0.0.1", 80)),
        (":0", Address("127.0.0.1", 0)),
        ("[::1]:65535", Address("::1", 65_535)),
        ("router.example:80", Address("router.example", 80)),
    ],
)
def test_an_address_is_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "80", "host", "host:", "host:65536", "host:-1", "::1:80", "host:8O", "host:٣"]
)
def test_anything_else_is_refused_with_what_was_given(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_address(text)
    assert repr(text) in str(caught.value)


def test_only_this_machine_reaches_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.example"))  # noqa: S104 - not bound


def test_the_default_id_is_the_same_after_a_restart_and_fit_for_the_wire() -> None:
    first, again = (default_router(Address("127.0.0.1", 8080)) for _ in range(2))
    assert first == again
    assert first.endswith(":8080")


@pytest.mark.parametrize(
    ("controllers", "is_here"),
    [((), True), (("http://127.0.0.1:7000",), True), (("https://headgate.ml.svc:7000",), False)],
)
def test_model_servers_may_be_on_this_machine_if_plan_or_controller_are(
    controllers: tuple[str, ...], is_here: bool
) -> None:
    found = Settings(
        rollout="ml/fraud",
        listen=(Address("127.0.0.1", 0),),
        admin=Address("127.0.0.1", 0),
        run=Path("run"),
        controllers=controllers,
        serving=Options(reach=Reach(())),
    )
    assert (found.reach.refusal("127.0.0.1") == "") == is_here
    assert found.reach.refusal("169.254.169.254")
