"""The supervisor with real child programs: each writes a line with its pid when it starts and when it is told something."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

HOST = Path(__file__).with_name("host.py")
DEADLINE_S = 30.0

# Says `started PID NICE`, then a line per signal; ends on SIGTERM unless it is stubborn. `late`: SIGHUP is heard once
# the file PATH.go is there.
CHILD = """
import os, signal, sys, time
path, stubborn = sys.argv[1], "stubborn" in sys.argv
def say(text):
    with open(path, "a") as out:
        out.write(text + "\\n")
def term(*_):
    say("term %d %f" % (os.getpid(), time.monotonic()))
    if not stubborn:
        sys.exit(0)
signal.signal(signal.SIGTERM, term)
def hear():
    signal.signal(signal.SIGHUP, lambda *_: say("hup %d" % os.getpid()))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
if "hup" in sys.argv:
    hear()
say("started %d %d" % (os.getpid(), os.nice(0)))
if "late" in sys.argv:
    while not os.path.exists(path + ".go"):
        time.sleep(0.01)
    hear()
while True:
    time.sleep(60)
"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.01)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def pids(path: Path) -> list[int]:
    return [int(line.split()[1]) for line in lines(path) if line.startswith("started")]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or ") Z" not in state.read_text()


def has_pending_hangup(pid: int) -> bool:
    pending = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("ShdPnd")
    )
    return bool(int(pending.split()[1], 16) & 1 << (signal.SIGHUP - 1))


class Hosted:
    """A supervisor in a process of its own, and the files its children write."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commands: list[dict[str, object]] = []

    def child(self, name: str, *words: str, **more: object) -> Path:
        told = self.folder / name
        argv = [sys.executable, "-c", CHILD, str(told), *words]
        self.commands.append({"name": name, "argv": argv, **more})
        return told

    def start(self, drain_s: float = DEADLINE_S, awaits: Sequence[str] | None = None) -> "Hosted":
        names = [str(one["name"]) for one in self.commands] if awaits is None else awaits
        ready = [str(self.folder / name) for name in names]
        given = {"commands": self.commands, "drain_s": drain_s, "ready_files": ready}
        self.process = subprocess.Popen(
            [sys.executable, str(HOST), json.dumps(given)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self

    def ready(self) -> "Hosted":
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    found = Hosted(tmp_path)
    yield found
    found.close()


def test_a_child_that_is_killed_is_started_again_and_the_others_are_left_alone(hosted: Hosted) -> None:
    victim, other = hosted.child("victim", serves=True), hosted.child("other")
    hosted.start().ready()
    os.kill(pids(victim)[0], signal.SIGKILL)
    until(lambda: len(pids(victim)) == 2, "the victim runs again")
    assert len(pids(other)) == 1
    assert is_alive(pids(other)[0])


def test_a_child_that_keeps_dying_is_tried_ever_more_rarely(hosted: Hosted, tmp_path: Path) -> None:
    told = tmp_path / "crashing"
    program = f"open({str(told)!r}, 'a').write('started 1 0\\n'); raise SystemExit(3)"
    hosted.commands.append({"name": "crashing", "argv": [sys.executable, "-c", program]})
    hosted.start().ready()
    until(lambda: len(lines(told)) == 4, "it was started four times")
    assert hosted.stop() == 0
    _, said = hosted.process.communicate()
    waits = [line.split("again_in_s=")[1] for line in said.splitlines() if "again_in_s=" in line]
    assert waits[:3] == ["0.1", "0.2", "0.4"]
    assert 'cause="exit 3"' in said


def test_those_that_serve_end_before_the_others_are_told(hosted: Hosted) -> None:
    other, worker = hosted.child("other"), hosted.child("worker", serves=True)
    hosted.start().ready()
    assert hosted.stop() == 0
    when = {path: float(lines(path)[-1].split()[2]) for path in (other, worker)}
    assert when[worker] < when[other]
    assert not any(is_alive(pids(path)[0]) for path in (other, worker))


def test_a_child_that_ignores_sigterm_is_killed_at_the_deadline(hosted: Hosted) -> None:
    told = hosted.child("stubborn", "stubborn", serves=True)
    hosted.start(drain_s=0.3).ready()
    assert hosted.stop() == 1
    assert lines(told)[-1].startswith("term")
    assert not is_alive(pids(told)[0])


def test_a_second_sigterm_makes_the_deadline_now(hosted: Hosted) -> None:
    told = hosted.child("stubborn", "stubborn", serves=True)
    hosted.start(drain_s=10 * DEADLINE_S).ready()
    hosted.process.send_signal(signal.SIGTERM)
    until(lambda: lines(told)[-1].startswith("term"), "the child was told")
    assert hosted.stop() == 1
    assert not is_alive(pids(told)[0])


def test_a_killed_supervisor_leaves_no_orphan(hosted: Hosted) -> None:
    told = [hosted.child("worker", serves=True), hosted.child("agent")]
    hosted.start().ready()
    hosted.process.kill()
    until(lambda: not any(is_alive(pids(path)[0]) for path in told), "the children ended")
    assert all(lines(path)[-1].startswith("term") for path in told)


def test_sighup_reaches_those_that_want_it_and_kills_nobody(hosted: Hosted) -> None:
    wants, ignores = hosted.child("wants", "hup"), hosted.child("ignores")
    hosted.start().ready()
    hosted.process.send_signal(signal.SIGHUP)
    until(lambda: lines(wants)[-1].startswith("hup"), "the signal was passed on")
    assert hosted.stop() == 0
    assert [len(pids(path)) for path in (wants, ignores)] == [1, 1]
    assert lines(ignores)[-1].startswith("term"), "it lived until it was told to end"


def test_a_sighup_while_a_child_starts_is_heard_once_it_can_hear(hosted: Hosted) -> None:
    told = hosted.child("late", "late")
    hosted.start().ready()
    hosted.process.send_signal(signal.SIGHUP)
    until(lambda: has_pending_hangup(pids(told)[0]), "the supervisor passed it on")
    assert len(lines(told)) == 1
    told.with_name("late.go").touch()
    until(lambda: lines(told)[-1].startswith("hup"), "it is heard")
    assert len(pids(told)) == 1


def test_a_sighup_while_a_child_is_dead_is_heard_by_its_successor(hosted: Hosted) -> None:
    told = hosted.child("late", "late")
    hosted.start().ready()
    first = pids(told)[0]
    os.kill(first, signal.SIGKILL)
    until(lambda: not is_alive(first), "it is dead")
    hosted.process.send_signal(signal.SIGHUP)
    told.with_name("late.go").touch()
    until(lambda: lines(told)[-1].startswith("hup"), "it is heard")
    assert lines(told)[-1] != f"hup {first}"


def test_a_child_gets_its_niceness_and_not_the_terminals_signals(hosted: Hosted) -> None:
    nicer, plain = hosted.child("nicer", nice=10), hosted.child("plain")
    hosted.start().ready()
    niceness = {path: int(lines(path)[0].split()[2]) for path in (nicer, plain)}
    assert niceness[nicer] - niceness[plain] == 10
    assert os.getsid(pids(plain)[0]) != os.getsid(hosted.process.pid)


def test_stdout_is_the_supervisors_alone(hosted: Hosted, tmp_path: Path) -> None:
    told = tmp_path / "talker"
    program = f"import time; print('noise', flush=True); open({str(told)!r}, 'w').write('started 1 0\\n'); time.sleep(60)"
    hosted.commands.append({"name": "talker", "argv": [sys.executable, "-c", program]})
    hosted.start().ready()
    assert hosted.stop() == 0
    out, err = hosted.process.communicate()
    assert out == "on_stop\n"
    assert "noise\n" in err


def test_a_program_that_cannot_be_started_is_said_and_tried_again(hosted: Hosted) -> None:
    hosted.commands.append({"name": "missing", "argv": ["/nonexistent/program"]})
    hosted.child("fine")
    hosted.start(awaits=["fine"]).ready()
    assert hosted.stop() == 0
    _, said = hosted.process.communicate()
    assert "name=missing" in said
    assert 'cause="exit 127"' in said
