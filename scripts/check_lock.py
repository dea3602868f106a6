"""Says whether requirements.lock is what an installation can rely on; `make check` runs it, offline.

Three promises: every package that pyproject.toml asks for is pinned, at a version pyproject.toml allows; every
pin carries a hash, so that nobody can put another file in its place; and no line names an address, so that the
lock works with whatever index (mirror, proxy, folder of wheels) the machine is set up for.
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ADDRESS = re.compile(
    r"[a-z+]+://|(^|\s)(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b| @ "
)
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)")


@dataclass(frozen=True, slots=True)
class Pin:
    name: str
    version: Version
    has_hash: bool


def pins(lock: str) -> Iterator[Pin]:
    """Every pinned package of the lock, in its order; a package may be pinned once per Python version."""
    for block in re.split(r"\n(?=\S)", lock):
        if found := PIN.match(block):
            yield Pin(canonicalize_name(found["name"]), Version(found["version"]), "--hash=sha256:" in block)


def wanted(pyproject: str) -> list[Requirement]:
    """What pyproject.toml asks for: the dependencies, those of every extra, and those of the build."""
    data = tomllib.loads(pyproject)
    extras = data["project"].get("optional-dependencies", {})
    lines = [*data["project"]["dependencies"], *(line for extra in extras.values() for line in extra)]
    return [Requirement(line) for line in [*lines, *data["build-system"]["requires"]]]


def problems(pyproject: str, lock: str) -> list[str]:
    """One sentence per broken promise; empty when the lock is sound."""
    found = [
        f"line {n} names an address: {line.strip()}"
        for n, line in enumerate(lock.splitlines(), 1)
        if ADDRESS.search(line)
    ]
    locked = list(pins(lock))
    found += [f"{pin.name}=={pin.version} has no hash" for pin in locked if not pin.has_hash]
    for requirement in wanted(pyproject):
        versions = [pin.version for pin in locked if pin.name == canonicalize_name(requirement.name)]
        if not versions:
            found.append(f"{requirement} of pyproject.toml is not pinned")
        found += [
            f"{requirement.name} is pinned at {version}, pyproject.toml asks for {requirement.specifier}"
            for version in versions
            if version not in requirement.specifier
        ]
    return found


def main(root: Path) -> int:
    found = problems((root / "pyproject.toml").read_text(), (root / "requirements.lock").read_text())
    for problem in found:
        print(f"requirements.lock: {problem}", file=sys.stderr)
    if found:
        print("requirements.lock: make it again with `make lock`", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent.parent))
