"""Tests that need a program which pip cannot install say so, and a skip never goes by unnoticed.

`@pytest.mark.needs("prometheus")`: without that program on PATH the test is skipped, and the run ends with a
section that names the program, how many tests went without it, and how to get it. In CI (the variable `CI` is
set) a missing program is a failure, and any skip, whatever its reason, fails the run: a check that never ran has
not passed.
"""

import os
import shutil
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")  # no test depends on being fast: others may use the machine

pytest_plugins = ["tests.cluster.fixtures", "tests.faults.fixtures"]

MAKE_CLUSTER = "`make cluster` builds it, in five to ten minutes, with Go 1.26 or newer"
HOW_TO_GET = {
    "prometheus": "apt-get install prometheus (Debian, Ubuntu), or the binary of a release from prometheus.io on PATH",
    "nginx": "apt-get install nginx (Debian, Ubuntu); it is in /usr/sbin",
    "curl": "apt-get install curl",
    "haproxy": "apt-get install haproxy (Debian, Ubuntu); it is in /usr/sbin",
    **dict.fromkeys(("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm"), MAKE_CLUSTER),
}
UNKNOWN_PROGRAM = "install it so that it is on PATH"

missing = pytest.StashKey[Counter[str]]()


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[missing] = Counter()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for program in {program for marker in item.iter_markers("needs") for program in marker.args}:
        if shutil.which(program) is not None:
            continue
        item.config.stash[missing][program] += 1
        sentence = f"{program} is not on PATH: {HOW_TO_GET.get(program, UNKNOWN_PROGRAM)}"
        if in_ci():
            pytest.fail(sentence, pytrace=False)
        pytest.skip(sentence)


def skips(config: pytest.Config) -> int:
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", [])) if reporter is not None else 0


def pytest_sessionfinish(session: pytest.Session) -> None:
    if in_ci() and skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if config.stash[missing]:
        terminalreporter.section("NOT TESTED, for want of a program", sep="!", red=True, bold=True)
        for program, tests in sorted(config.stash[missing].items()):
            terminalreporter.line(
                f"{program}: {tests} test{'s' * (tests != 1)}. To get it: {HOW_TO_GET.get(program, UNKNOWN_PROGRAM)}"
            )
    if in_ci() and skips(config):
        terminalreporter.section("SKIPPED IN CI, so this run has failed", sep="!", red=True, bold=True)
        terminalreporter.line(f"{skips(config)} skipped; in CI a check that never ran has not passed.")
