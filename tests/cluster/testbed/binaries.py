"""Where the testbed's programs come from, because Kubernetes publishes none that pip or apt could install.

They are built from their Go modules, at the versions that go.mod and go.sum beside this file pin, and kept outside
the repository. `make cluster` is the only thing that builds; tests use what is there.

Looked for, in this order: `$KUBEBUILDER_ASSETS` (the folder that other Kubernetes projects use for the same
purpose), then `${XDG_CACHE_HOME:-~/.cache}/headgate/cluster/<version>`.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.cluster.testbed import addresses

MODULE: Final = Path(__file__).parent
PACKAGES: Final[Mapping[str, str]] = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
}
TOOLS: Final[Mapping[str, str]] = {"helm": "helm.sh/helm/v3/cmd/helm"}
"""Not part of the cluster: the chart's tests need it. Its versions are pinned in a module file of its own name."""
GATEWAY_API: Final = "sigs.k8s.io/gateway-api"
OLDEST_GO_THAT_FETCHES_A_NEWER: Final = (1, 21)
HEARTBEAT_S: Final = 20.0

Say = Callable[[str], None]


class CannotBuild(Exception):
    """A program of the testbed is missing and cannot be built here; the message says what to do."""


def version() -> str:
    """The Kubernetes version that go.mod pins, such as v1.36.3."""
    return _pinned("go.mod", "k8s.io/kubernetes")


def _pinned(file: str, module: str) -> str:
    found = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", (MODULE / file).read_text(), re.M)
    assert found is not None, f"{file} requires no {module}"
    return found[1]


def cache() -> Path:
    """The folder of what was built; need not exist yet."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "headgate" / "cluster" / version()


def gateway_api_crds() -> Path:
    """The folder with the standard channel of the Gateway API's CRDs, once `make cluster` has put them there."""
    return cache() / f"gateway-api-{_pinned('gateway-api.mod', GATEWAY_API)}"


def find(program: str) -> Path | None:
    """The program, or None if it has to be built first."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and os.access(Path(assets) / program, os.X_OK):
        return Path(assets) / program
    built = cache() / program
    return built if os.access(built, os.X_OK) and _stamp(program) == _sources(program) else None


def lacking() -> list[str]:
    """The programs that have to be built before a cluster can start."""
    return [program for program in PACKAGES if find(program) is None]


def _module_of(program: str) -> str:
    """Which module file, and which sums of the same name, pin the program."""
    return program if program in TOOLS else "go"


def _sources(program: str) -> str:
    """A fingerprint of what the program is built from: with other pins it must be built anew."""
    pins = [MODULE / f"{_module_of(program)}.{ending}" for ending in ("mod", "sum")]
    return hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()


def _stamp(program: str) -> str:
    stamp = cache() / f"{program}.sources"
    return stamp.read_text() if stamp.exists() else ""


def provide(say: Say) -> None:
    """Find or build all programs and fetch the Gateway API CRDs; raises CannotBuild."""
    cache().mkdir(parents=True, exist_ok=True)
    for program in (*PACKAGES, *TOOLS):
        found = find(program)
        if found is None:
            _build(program, say)
        else:
            say(f"{program}: {found}")
    if not gateway_api_crds().exists():
        _fetch_gateway_api(say)
    say(f"Gateway API CRDs: {gateway_api_crds()}")


def _go(purpose: str) -> str:
    go = shutil.which("go")
    if go is None:
        raise CannotBuild(f"{purpose} takes go, which is not on PATH. {_HOW}")
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    numbers = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_GO_THAT_FETCHES_A_NEWER:
        raise CannotBuild(f"{go} is too old ({answer.stdout.strip()}). {_HOW}")
    return go


_HOW: Final = (
    "Put Go 1.26 or newer on PATH (go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with "
    f"{', '.join(PACKAGES)}."
)


def _link_flags() -> str:
    major, minor, _ = version().removeprefix("v").split(".", 2)
    where = "k8s.io/component-base/version"
    facts = {"gitVersion": version(), "gitMajor": major, "gitMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {where}.{name}={value}" for name, value in facts.items())])


def _build(program: str, say: Say) -> None:
    """One program into the cache, under its name only when it is complete."""
    package = {**PACKAGES, **TOOLS}[program]
    say(f"{program}: building {package} (sources come from the Go module proxy; minutes, both cores)")
    unfinished = cache() / f".{program}.{os.getpid()}"
    module = f"-modfile={_module_of(program)}.mod"
    command = [
        _go(f"building {program}"),
        "build",
        module,
        "-mod=readonly",
        "-trimpath",
        "-p",
        "2",
        "-ldflags",
        _link_flags(),
    ]
    started = time.monotonic()
    _run([*command, "-o", str(unfinished), package], program, say)
    unfinished.replace(cache() / program)
    (cache() / f"{program}.sources").write_text(_sources(program))
    size_mb = (cache() / program).stat().st_size / 1e6
    say(f"{program}: built in {time.monotonic() - started:.0f} s, {size_mb:.0f} MB, {cache() / program}")


def _run(command: list[str], program: str, say: Say) -> None:
    started = time.monotonic()
    environment = {**os.environ, "CGO_ENABLED": "0"}
    nice = ["nice", "-n", "10"] if shutil.which("nice") else []
    with subprocess.Popen([*nice, *command], cwd=MODULE, env=environment) as process:
        while True:
            try:
                status = process.wait(HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                say(f"{program}: still building, {time.monotonic() - started:.0f} s")
    if status != 0:
        raise CannotBuild(f"{program}: go build ended with status {status}; what it said is above. {_HOW}")


def _fetch_gateway_api(say: Say) -> None:
    say(f"Gateway API CRDs: fetching {GATEWAY_API} from the Go module proxy")
    command = [
        _go("fetching the Gateway API's CRDs"),
        "mod",
        "download",
        "-json",
        "-modfile=gateway-api.mod",
        GATEWAY_API,
    ]
    answer = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise CannotBuild(f"{GATEWAY_API} could not be fetched: {answer.stderr or answer.stdout}")
    unfinished = cache() / f".gateway-api.{os.getpid()}"
    unfinished.mkdir()
    for file in (Path(json.loads(answer.stdout)["Dir"]) / "config" / "crd" / "standard").glob(
        "*.networking*.yaml"
    ):
        shutil.copyfile(file, unfinished / file.name)
    unfinished.rename(gateway_api_crds())


def main() -> int:
    """`make cluster`: exit status 1 with a sentence if something is missing and cannot be built."""

    def say(line: str) -> None:
        print(line, flush=True)

    try:
        provide(say)
        addresses.provide(say)
    except CannotBuild as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
