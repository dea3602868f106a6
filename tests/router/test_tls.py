"""What files TLS is spoken with, what is said of those that are of no use, and that changes are noticed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from headgate.log import Log
from router.tls import Client, Followed, Pair, Server, Unusable, shown
from tests.router.authority import Authority


def test_a_certificate_says_for_whom_it_is_and_how_long(tmp_path: Path):
    pair = Authority(tmp_path).make("a", "a.test", "*.a.test", "192.0.2.7")
    said = shown(pair, Server((pair,)).context())
    assert said.names == ("a.test", "*.a.test", "192.0.2.7")
    assert said.until.endswith("GMT")


def test_an_expired_certificate_can_be_looked_at(tmp_path: Path):
    pair = Authority(tmp_path).make("old", "old.test", days=-1)
    assert shown(pair, Server((pair,)).context()).names == ("old.test",)


def _other_key(folder: Path) -> Pair:
    authority = Authority(folder)
    return Pair(authority.make("a").certificate, authority.make("b").key)


def _encrypted(folder: Path) -> Pair:
    pair = Authority(folder).make("a")
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    pair.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    return pair


def _damaged(folder: Path) -> Pair:
    pair = Authority(folder).make("a")
    pair.certificate.write_text(pair.certificate.read_text().replace("A", "B"))
    return pair


def _swapped(folder: Path) -> Pair:
    pair = Authority(folder).make("a")
    return Pair(pair.key, pair.certificate)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_other_key, "the key is not the certificate's"),
        (_encrypted, "a.key: is encrypted"),
        (_damaged, "a.crt"),
        (_swapped, "a.key: has no certificate in PEM form"),
        (lambda folder: Pair(folder / "no.crt", folder / "no.key"), "no.crt: No such file"),
    ],
)
def test_files_that_are_of_no_use_are_named_with_what_is_wrong(
    tmp_path: Path, make: Callable[[Path], Pair], says: str
):
    with pytest.raises(Unusable, match=says):
        Server((make(tmp_path),)).context()


def test_an_authority_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "ca.crt").write_text("nothing")
    with pytest.raises(Unusable, match=r"ca\.crt: has no certificate of an authority"):
        Client(tmp_path / "ca.crt").context()
    with pytest.raises(Unusable, match=r"none\.crt: No such file"):
        Client(tmp_path / "none.crt").context()


def test_new_files_make_another_context_and_the_old_one_stays_as_it_was(tmp_path: Path):
    authority = Authority(tmp_path)
    pair = authority.make("a", "old.test")
    followed = Followed(Server((pair,)), Log("test"))
    before = followed.context
    assert not followed.refresh()
    authority.make("a", "new.test")
    assert followed.refresh()
    assert shown(pair, followed.context).names == ("new.test",)
    assert followed.context is not before
    assert not followed.refresh()


def test_a_certificate_without_its_key_yet_changes_nothing_until_the_key_comes(tmp_path: Path):
    authority = Authority(tmp_path)
    pair = authority.make("a", "old.test")
    followed = Followed(Server((pair,)), Log("test"))
    before, old_key = followed.context, pair.key.read_bytes()
    authority.make("a", "new.test")
    new_key = pair.key.read_bytes()
    pair.key.write_bytes(old_key)
    assert not followed.refresh()
    assert followed.context is before
    pair.key.write_bytes(new_key)
    assert followed.refresh()


def test_a_mounted_link_that_moves_is_a_change(tmp_path: Path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Authority(tmp_path / name).make("a", f"{name}.test")
    (tmp_path / "now").symlink_to("one")
    pair = Pair(tmp_path / "now" / "a.crt", tmp_path / "now" / "a.key")
    followed = Followed(Server((pair,)), Log("test"))
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").replace(tmp_path / "now")
    assert followed.refresh()
    assert shown(pair, followed.context).names == ("two.test",)
