"""One Kubernetes API of one's own: started on free ports of loopback, ended with everything it wrote.

What differs from a cluster in production, on purpose: etcd does not fsync, the controller-manager is not held to
20 requests a second, nodes are not watched for heartbeats (there are none), and people are entries of a token file.
The rest is as it ships: TLS, RBAC, admission, priority and fairness, garbage collection, tokens of ServiceAccounts.
"""

import fcntl
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar

import httpx

from tests.cluster.testbed import binaries
from tests.cluster.testbed.certificates import Authority, Pair, signing_key
from tests.cluster.testbed.programs import Program, free_port

ADMIN: Final = "admin"
PEOPLE: Final[Mapping[str, tuple[str, ...]]] = {
    "alice": (),
    "bob": (),
    "carol": (),
    "oncall": ("on-call",),
    "controller": (),
}
READY_S: Final = 90.0
STARTS: Final = 3
SERVICE_RANGE: Final = "10.96.0.0/16"
PREFIX: Final = "headgate-cluster-"
AUDIT_POLICY: Final = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "None", "nonResourceURLs": ["*"]}, {"level": "Metadata"}],
}

T = TypeVar("T")


class CannotStart(Exception):
    """The cluster did not come up; the message has the end of the logs."""


class Testbed:
    """etcd, kube-apiserver and kube-controller-manager, from `with` to its end.

    `people` are the users besides `admin` (who is in system:masters), by name, with their groups; each has a token.
    A token file is read once, at start, so nobody can be added later. With `audit`, `audited` lists every request.
    """

    __test__ = False  # the name is the thing's, not a test's

    def __init__(
        self, people: Mapping[str, Sequence[str]] = PEOPLE, *, audit: bool = True, temp: Path | None = None
    ) -> None:
        self.people = {ADMIN: ("system:masters",), **people}
        self._audit = audit
        self._temp = temp or Path(tempfile.gettempdir())
        self._clients: list[httpx.Client] = []

    def __enter__(self) -> Self:
        lacking = binaries.lacking()
        if lacking:
            raise CannotStart(f"{', '.join(lacking)}: not built yet; `make cluster` does it")
        _sweep(self._temp)
        self._folder, self._lock = _own_folder(self._temp)
        try:
            self.authority = Authority(self._folder)
            self._server = self.authority.issue("kube-apiserver")
            self._keys = signing_key(self._folder / "service-account.key")
            self._write_files()
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    # What tests use.

    @property
    def url(self) -> str:
        """The address of the API server."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def folder(self) -> Path:
        """Logs and all; it goes with the cluster."""
        return self._folder

    def token(self, user: str = ADMIN) -> str:
        """The user's bearer token; KeyError names who there is."""
        if user not in self.people:
            raise KeyError(f"{user}: no such user; there are {', '.join(self.people)}")
        return f"token-of-{user}-{self._folder.name.removeprefix(PREFIX)}"

    def kubeconfig(
        self, user: str = ADMIN, *, server: str = "", ca: Path | None = None, namespace: str = "default"
    ) -> Path:
        """A kubeconfig file for the user; `server` and `ca` for something that stands between, such as a proxy."""
        ca = ca or self.authority.certificate
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "testbed",
            "clusters": [
                {
                    "name": "testbed",
                    "cluster": {"server": server or self.url, "certificate-authority": str(ca)},
                }
            ],
            "users": [{"name": user, "user": {"token": self.token(user)}}],
            "contexts": [
                {"name": "testbed", "context": {"cluster": "testbed", "user": user, "namespace": namespace}}
            ],
        }
        port = (server or self.url).rsplit(":", 1)[1]
        path = self._folder / f"kubeconfig-{user}-{namespace}-{port}"
        path.write_text(json.dumps(document, indent=1))
        return path

    def kubectl(
        self,
        *arguments: str,
        user: str = ADMIN,
        stdin: str | Mapping[str, Any] | None = None,
        check: bool = True,
        server: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run the real kubectl as the user; a mapping for stdin goes in as JSON (for `-f -`).

        With `check`, a status other than 0 raises AssertionError with what kubectl said.
        """
        config = self.kubeconfig(user, server=server)
        given = json.dumps(stdin) if isinstance(stdin, Mapping) else stdin
        done = subprocess.run(
            [str(binaries.find("kubectl")), f"--kubeconfig={config}", *arguments],
            input=given if given is not None else "",
            env={**os.environ, "HOME": str(self._folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=110,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"kubectl {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        return done

    def client(self, user: str = ADMIN, *, server: str = "", timeout_s: float = 60.0) -> httpx.Client:
        """A plain HTTP client that brings the user's token; closed with the cluster."""
        made = httpx.Client(
            base_url=server or self.url,
            verify=ssl.create_default_context(cafile=str(self.authority.certificate)),
            headers={"Authorization": f"Bearer {self.token(user)}"},
            timeout=timeout_s,
            trust_env=False,
        )
        self._clients.append(made)
        return made

    def audited(self, user: str | None = None) -> Iterator[dict[str, Any]]:
        """What the API server's audit log has (level Metadata), oldest first; of one user, if named."""
        log = self._folder / "audit.log"
        written = log.read_text() if log.exists() else ""
        for line in written[: written.rfind("\n") + 1].splitlines():  # the last may be half written
            event = json.loads(line)
            if user is None or event["user"].get("username") == user:  # a refused token has no name
                yield event

    def stop_apiserver(self, *, kill: bool = False) -> None:
        """The API server is away: connections are refused until `start_apiserver`.

        Asked to end, it waits for open watches, here for at most 20 s; `kill` does not ask.
        """
        if kill:
            self.apiserver.kill()
        else:
            self.apiserver.stop()

    def start_apiserver(self) -> None:
        """Bring it back on the same port, ready when this returns; raises CannotStart."""
        self.apiserver.start()
        self._wait_until("ready again", self._ready)

    def backup(self) -> Path:
        """A copy of etcd's data as they are now; the API server is away for a moment."""
        copy = Path(tempfile.mkdtemp(prefix="backup-", dir=self._folder)) / "etcd"
        self.apiserver.kill()
        self.etcd.stop()
        shutil.copytree(self._folder / "etcd", copy)
        self.etcd.start()
        self.start_apiserver()
        return copy

    def restore(self, copy: Path) -> None:
        """Back to the backup: resourceVersions count from there again, as after a disaster on a real cluster."""
        self._stop_programs()
        shutil.rmtree(self._folder / "etcd")
        shutil.copytree(copy, self._folder / "etcd")
        self.etcd.start()
        self.start_apiserver()
        self.manager.start()

    # How it starts and ends.

    def _write_files(self) -> None:
        lines = (
            f'{self.token(name)},{name},{name},"{",".join(groups)}"' for name, groups in self.people.items()
        )
        (self._folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        (self._folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))

    def _start(self) -> None:
        """On new ports if others took ours between the kernel's answer and the programs' start."""
        for attempt in range(1, STARTS + 1):
            self._choose_ports()
            try:
                self.etcd.start()
                self.apiserver.start()
                self._wait_until("ready", self._ready)
                self.manager.start()
                self._wait_until("at work", self._at_work)
            except CannotStart as exc:
                self._stop_programs()
                if attempt == STARTS or "address already in use" not in str(exc):
                    raise
            else:
                return

    def _choose_ports(self) -> None:
        client, peer, self._port = free_port(), free_port(), free_port()
        self.etcd = self._program("etcd", _etcd(self._folder, client, peer))
        self.apiserver = self._program(
            "kube-apiserver",
            _apiserver(self._folder, self._port, client, self._server, self._keys, self._audit),
        )
        self.manager = self._program(
            "kube-controller-manager",
            _manager(self.kubeconfig(), self.authority.certificate, self._keys),
        )

    def _program(self, name: str, arguments: Sequence[str]) -> Program:
        path = binaries.find(name)
        assert path is not None
        return Program(name, [path, *arguments], self._folder)

    def _ready(self) -> bool:
        with suppress(httpx.TransportError), self._own_client() as client:
            return client.get("/readyz").status_code == 200
        return False

    def _at_work(self) -> bool:
        """The controller-manager works when it has given the default namespace its ServiceAccount."""
        with suppress(httpx.TransportError), self._own_client() as client:
            return client.get("/api/v1/namespaces/default/serviceaccounts/default").status_code == 200
        return False

    def _own_client(self) -> httpx.Client:
        made = self.client(timeout_s=5.0)
        self._clients.remove(made)
        return made

    def _wait_until(self, what: str, holds: Callable[[], bool]) -> None:
        programs = (self.etcd, self.apiserver, self.manager)
        ends_at = time.monotonic() + READY_S
        started = [program for program in programs if program.alive]
        while time.monotonic() < ends_at:
            if holds():
                return
            dead = [program for program in started if not program.alive]
            if dead:
                raise CannotStart(f"{dead[0].name} ended before the cluster was {what}\n{dead[0].tail()}")
            time.sleep(0.05)
        tails = "\n".join(program.tail() for program in started)
        raise CannotStart(f"the cluster was not {what} within {READY_S:.0f} s\n{tails}")

    def _stop_programs(self) -> None:
        """In this order: without etcd kube-apiserver ignores SIGTERM and retries."""
        for name in ("manager", "apiserver", "etcd"):
            program: Program | None = getattr(self, name, None)
            if program is not None:
                program.stop(patience_s=5.0)  # watches of clients that are still there would hold it

    def _end(self) -> None:
        for client in self._clients:
            client.close()
        self._stop_programs()
        shutil.rmtree(self._folder)
        os.close(self._lock)


def wait_for(find: Callable[[], T | Literal[False] | None], what: str, within_s: float = 60.0) -> T:
    """The first answer that is neither None nor false; AssertionError after `within_s` seconds."""
    ends_at = time.monotonic() + within_s
    while time.monotonic() < ends_at:
        found = find()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s:.0f} s: {what}")


def _etcd(folder: Path, client: int, peer: int) -> list[str]:
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _apiserver(folder: Path, port: int, etcd: int, server: Pair, keys: Path, audit: bool) -> list[str]:
    arguments = [
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # an EndpointSlice with a loopback address would be refused
        f"--tls-cert-file={server.certificate}",
        f"--tls-private-key-file={server.key}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={keys}",
        f"--service-account-signing-key-file={keys}",
    ]
    if audit:
        arguments.append(f"--audit-policy-file={folder / 'audit-policy.json'}")
        arguments.append(f"--audit-log-path={folder / 'audit.log'}")
    return arguments


def _manager(kubeconfig: Path, ca: Path, keys: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        "--controllers=*,-node-lifecycle-controller",  # nodes are objects here: none sends heartbeats
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        f"--root-ca-file={ca}",
        f"--service-account-private-key-file={keys}",
    ]


def _own_folder(temp: Path) -> tuple[Path, int]:
    """A folder, and its lock: held while this process lives, so that a later run can tell what was left behind."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=temp))
    lock = os.open(folder / "lock.new", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / "lock.new").rename(folder / "lock")
    return folder, lock


def _sweep(temp: Path) -> None:
    """Remove the folders of runs that were killed; their programs died with them."""
    for lock_file in temp.glob(f"{PREFIX}*/lock"):
        with suppress(OSError):
            lock = os.open(lock_file, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_file.parent)
            finally:
                os.close(lock)
