"""What every benchmark leaves behind: `bench/out/<name>.json`, and the same as a table, saying MISSED where it missed."""

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

OUT = Path(__file__).parent / "out"


@dataclass(frozen=True, slots=True)
class Target:
    """A figure to reach: `value` must be at most (`<=`) or at least (`>=`) `bound`. The name has the unit."""

    name: str
    value: float
    op: Literal["<=", ">="]
    bound: float

    @property
    def is_met(self) -> bool:
        return self.value <= self.bound if self.op == "<=" else self.value >= self.bound


def is_quick() -> bool:
    """Does the caller want a run of at most five minutes (`QUICK=1`)?"""
    return os.environ.get("QUICK", "") not in ("", "0")


def machine() -> dict[str, Any]:
    """On what it was measured."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "quick": is_quick(),
    }


def publish(name: str, targets: list[Target], runs: Mapping[str, Any]) -> bool:
    """Write the file, print the table; whether every target was met."""
    OUT.mkdir(exist_ok=True)
    written = {"machine": machine(), "targets": [asdict(target) for target in targets], "runs": runs}
    (OUT / f"{name}.json").write_text(json.dumps(written, indent=2) + "\n")
    width = max(len(target.name) for target in targets)
    for target in targets:
        said = "" if target.is_met else "  MISSED"
        print(f"{target.name:{width}}  {target.value:>12,.6g}  {target.op} {target.bound:,g}{said}")
    return all(target.is_met for target in targets)
