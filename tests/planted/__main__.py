"""`make planted`: all planted faults, a line each; exit status 1 unless a test failed for each of them."""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.planted.faults import FAULTS
from tests.planted.plant import Noticed, try_all


def main(words: list[str]) -> int:
    chosen = tuple(f for f in FAULTS if not words or any(word in f"{f.file} {f.wrong}" for word in words))
    started = time.monotonic()
    counted: Counter[Noticed] = Counter()
    uncaught: list[str] = []
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        for number, (fault, noticed) in enumerate(try_all(chosen, Path(folder)), 1):
            counted[noticed] += 1
            print(f"{number:3} {noticed:13} {fault.file:24} {fault.wrong}", flush=True)
            if noticed is not Noticed.CAUGHT:
                uncaught.append(f"{noticed:13} {fault.file}: {fault.wrong}")
                print(f"    was: {fault.line}\n    harm: {fault.harm}", flush=True)
    caught = counted[Noticed.CAUGHT]
    for line in uncaught:
        print(line)
    print(f"{caught} of {len(chosen)} planted faults caught in {time.monotonic() - started:.0f} s")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
