"""Where the programs come from: what is looked at, what is said when something is missing, and that tests never build."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.testbed import binaries
from tests.cluster.testbed.cluster import CannotStart, Testbed

ROOT = Path(__file__).parents[2]


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """This Python in a process of its own, with these environment variables."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, "KUBEBUILDER_ASSETS": "", **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def a_program(path: Path, says: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


def test_the_version_of_everything_is_the_one_go_mod_pins() -> None:
    assert binaries.version() == "v1.36.3"
    assert binaries.cache().name == "v1.36.3"
    assert binaries.gateway_api_crds().name == "gateway-api-v1.6.3"


def test_nothing_is_found_in_an_empty_cache(empty: Path) -> None:
    assert binaries.lacking() == list(binaries.PACKAGES)


def test_kubebuilder_assets_come_first_and_may_be_only_some(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    etcd = a_program(empty / "assets" / "etcd")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(etcd.parent))
    assert binaries.find("etcd") == etcd
    assert binaries.lacking() == [program for program in binaries.PACKAGES if program != "etcd"]


@pytest.mark.parametrize("program", ["etcd", "helm"])
def test_what_was_built_from_other_pins_does_not_count(empty: Path, program: str) -> None:
    built = a_program(binaries.cache() / program)
    sources = binaries.cache() / f"{program}.sources"
    sources.write_text(binaries._sources(program))
    assert binaries.find(program) == built
    sources.write_text("built from another go.sum")
    assert binaries.find(program) is None


def test_without_go_the_sentence_says_what_to_do(tmp_path: Path) -> None:
    done = run("-m", "tests.cluster.testbed.binaries", XDG_CACHE_HOME=str(tmp_path), PATH="/nowhere")
    assert done.returncode == 1
    assert "building etcd takes go, which is not on PATH" in done.stderr
    assert "Put Go 1.26 or newer on PATH" in done.stderr
    assert "KUBEBUILDER_ASSETS" in done.stderr


def test_a_go_that_is_too_old_is_named(tmp_path: Path) -> None:
    go = a_program(tmp_path / "bin" / "go", "go1.19.8")
    done = run("-m", "tests.cluster.testbed.binaries", XDG_CACHE_HOME=str(tmp_path), PATH=str(go.parent))
    assert done.returncode == 1
    assert f"{go} is too old (go1.19.8)" in done.stderr


def test_a_cluster_without_its_programs_says_make_cluster(empty: Path) -> None:
    with pytest.raises(CannotStart, match=r"etcd, kube-apiserver, .* `make cluster` does it"):
        Testbed().__enter__()


@pytest.mark.parametrize(("ci", "status"), [("", 0), ("true", 1)])
def test_tests_that_need_a_cluster_are_skipped_loudly_and_fail_in_ci(
    tmp_path: Path, ci: str, status: int
) -> None:
    one = "tests/cluster/test_testbed.py::test_the_version_is_the_pinned_one"
    words = ("-m", "pytest", "-p", "no:cacheprovider", one)
    path = os.pathsep.join(
        folder
        for folder in os.environ["PATH"].split(os.pathsep)
        if not (Path(folder) / "kube-apiserver").exists()
    )
    done = run(*words, XDG_CACHE_HOME=str(tmp_path), PATH=path, CI=ci)
    assert done.returncode == status, done.stdout
    assert "`make cluster` builds it, in five to ten minutes" in done.stdout
    assert ("NOT TESTED, for want of a program" in done.stdout) or ci
    assert list(tmp_path.iterdir()) == []
