"""The file of metric providers: what is read, and what is refused with the field and the way out."""

from pathlib import Path

import pytest

from controller.crd import Refused
from controller.crd.providers import Provider, read_providers


def read(folder: Path, text: str) -> dict[str, Provider] | str:
    """The providers, or all that is wrong in one text."""
    file = folder / "providers.yaml"
    file.write_text(text)
    found = read_providers(file)
    return str(found) if isinstance(found, Refused) else dict(found)


def one(fields: str) -> str:
    return "providers:\n  main:\n" + "".join(f"    {line}\n" for line in fields.strip().splitlines())


def test_all_that_can_be_said_is_read_and_files_are_taken_from_the_folder(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        one("""
url: https://prometheus.example:9090/team
headers: {X-Scope-OrgID: team-a}
auth: {basic: {username: headgate, passwordFile: secrets/password}}
tls: {caFile: ca.crt, certFile: /etc/headgate/tls.crt, keyFile: /etc/headgate/tls.key}
limits: {concurrency: 2, perSecond: 5, timeout: 2s}
"""),
    )
    assert not isinstance(found, str), found
    main = found["main"]
    assert main.auth.basic is not None
    assert main.auth.basic.password_file == str(tmp_path / "secrets/password")
    assert (main.tls.ca_file, main.tls.key_file) == (str(tmp_path / "ca.crt"), "/etc/headgate/tls.key")
    assert (main.limits.concurrency, main.limits.per_second, main.limits.timeout) == (2, 5, 2.0)
    assert main.headers == {"X-Scope-OrgID": "team-a"}


def test_an_address_alone_is_enough(tmp_path: Path) -> None:
    found = read(tmp_path, one("url: http://127.0.0.1:9090"))
    assert found == {"main": Provider(url="http://127.0.0.1:9090")}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("url: ftp://x", "providers.main.url: "),
        ("url: http://me:secret@prometheus:9090", "without user"),
        ("urll: http://x", "did you mean url?"),
        ("{url: https://x, auth: {bearerFile: a, basic: {username: b, passwordFile: c}}}", "not both"),
        ("{url: http://prometheus:9090, auth: {bearerFile: token}}", "travel readable: write https"),
        ("{url: https://x, tls: {certFile: a}}", "write both"),
        ("{url: http://x, tls: {caFile: a}}", "this would do nothing: write https"),
        ("{url: https://x, headers: {Authorization: Bearer x}}", "for credentials: auth"),
        ('{url: https://x, headers: {"X Y": z}}', "is not a header"),
        ('{url: https://x, headers: {X-Y: "a\\r\\nb"}}', "is not a header"),
        ("{url: https://x, limits: {concurrency: 0}}", "at least 1"),
        ("{url: https://x, limits: {timeout: 5}}", "is not a duration"),
        ('{url: https://x, auth: {basic: {username: "a:b", passwordFile: c}}}', "providers.main.auth.basic"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(tmp_path: Path, fields: str, said: str) -> None:
    found = read(tmp_path, one(fields))
    assert isinstance(found, str)
    assert said in found
    assert "secret" not in found


def test_a_credential_may_travel_readable_where_that_is_said_or_it_stays_here(tmp_path: Path) -> None:
    meant = "{url: http://prometheus:9090, auth: {bearerFile: token}, allowPlaintext: true}"
    assert not isinstance(read(tmp_path, one(meant)), str)
    assert not isinstance(read(tmp_path, one("{url: http://127.0.0.1:9090, auth: {bearerFile: token}}")), str)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("providers: {}", "at least 1"),
        ("providers: {Main_1: {url: http://x}}", "is not a name"),
        ("a: [", "line 2"),
        ("providers: {a: {url: http://x}}\n---\nproviders: {}", "2 documents"),
        ("[]", "mapping"),
    ],
)
def test_what_is_no_file_of_providers_is_refused(tmp_path: Path, text: str, said: str) -> None:
    found = read(tmp_path, text)
    assert isinstance(found, str)
    assert said in found


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    found = read_providers(tmp_path / "nowhere.yaml")
    assert isinstance(found, Refused)
    assert str(found) == "it cannot be read: no such file or directory (file)"
