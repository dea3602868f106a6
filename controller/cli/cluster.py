"""A Kubernetes cluster as the verbs' `Client`: objects read and written with the person's own credentials.

The controller is not asked for anything. What it decided is in the objects; what a person asks for is a RolloutAction
of their own making, so that RBAC, the admission policy and the audit log see the person.
"""

import asyncio
import json
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from controller.adapters.kubernetes.api import BODY_BYTES_MAX, Api, Ask, Stream, path_of
from controller.adapters.kubernetes.errors import ApiError, Conflict, Forbidden, Gone, NotFound, Unavailable
from controller.adapters.kubernetes.settings import Settings
from controller.adapters.kubernetes.takeover import routers_of
from controller.api import view
from controller.cli import objects, refusals
from controller.cli.adopting import Found
from controller.cli.failures import Failure
from controller.cli.lookup import pick
from controller.crd import BASE_DIR, changes
from controller.crd.actions import ACTION_KIND
from controller.crd.crds import GROUP, VERSION
from controller.crd.models import API_VERSION

MANAGER: Final = "kubectl-headgate"
"""Whose the fields are that people write with this command."""

ROLLOUTS: Final = "modelrollouts"
ACTIONS: Final = "rolloutactions"
CALL_S: Final = 10.0
CALL_LEAST_S: Final = 0.1
PAGE: Final = "500"
PAGE_BYTES_MAX: Final = 64 * 1024 * 1024
LOOK_AGAIN_S: Final = 0.2
ANSWER_AGAIN_S: Final = 0.1
WATCH_S: Final = 60.0
"""A watch that is silent for so long is begun anew: it may be a dead connection."""

MERGE: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
APPLY: Final = "application/apply-patch+yaml"
ACCEPTED: Final = ("Accepted", "Done")

NO_PARAMS: Final[Mapping[str, str]] = {}
OURS: Final = {"fieldManager": MANAGER}

Json = dict[str, Any]
_Value = TypeVar("_Value")


def connect(
    context: str | None, kubeconfig: str | None, namespace: str | None, *, is_everywhere: bool
) -> "ClusterClient":
    """The cluster that is meant; Failure if there is no way to reach one. Ends with the command."""
    try:
        api = Api.connect(Settings(context, kubeconfig, namespace), threads=2)
    except ApiError as error:
        raise refusals.failure(error) from error
    client = ClusterClient(api, None if is_everywhere else api.namespace, given=namespace)
    click.get_current_context().call_on_close(client.close)
    return client


class ClusterClient:
    """The objects of one namespace, or of all (None); `given` is the namespace that -n named, if it did."""

    log_hint = (
        "look into the log of the controller in the cluster; `kubectl describe mra` shows what was asked"
    )

    def __init__(self, api: Api, namespace: str | None, *, given: str | None = None) -> None:
        self._api = api
        self._namespace = namespace
        self._given = given
        self._runner = asyncio.Runner()
        self._deadline: float | None = None
        self._uids: dict[str, str] = {}
        self._watch: _Watch | None = None

    def close(self) -> None:
        """Let go of the connections."""
        with self._runner as runner:
            if self._watch is not None:
                runner.run(self._watch.close())
            runner.run(self._api.close())

    def give_up_after(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    # Which rollouts there are.

    def find(self, name: str | None) -> str:
        """With a name in one namespace nothing is listed: who may only `get` shall be able to act."""
        if name is not None and "/" in name:
            return name
        if name is not None and self._namespace is not None:
            return f"{self._namespace}/{name}"
        return pick(map(objects.key_of, self._list()["items"]), name, self._namespace)

    def exists(self, key: str) -> bool:
        try:
            self._send("GET", _path(key))
        except NotFound:
            return False
        except ApiError as error:
            raise refusals.failure(error, key) from error
        return True

    def rollouts(self) -> list[Json]:
        return [objects.summary(found, time.time()) for found in self._list()["items"]]

    def rollouts_again(self) -> list[Json]:
        """As soon as an object changed."""
        if self._watch is None:
            self._watch = _Watch(self._api, _collection(self._namespace), self._list())
            return self._watch.items()
        try:
            is_whole = self._run(self._watch.changed(WATCH_S))
        except ApiError as error:
            raise refusals.failure(error) from error
        if is_whole:
            return self._watch.items()
        self._run(self._watch.close())
        self._watch = None
        return self.rollouts()

    # What is known of one.

    def status(self, key: str) -> Json:
        return objects.full(self._get(key), time.time())

    def status_after(self, key: str, tag: str, wait_s: float) -> tuple[Json | None, str]:
        """The tag is the object's `resourceVersion`."""
        deadline = time.monotonic() + wait_s
        while True:
            found = self._get(key)
            now_tag = str(found["metadata"]["resourceVersion"])
            if now_tag != tag:
                return objects.full(found, time.time()), now_tag
            if time.monotonic() >= deadline:
                return None, tag
            time.sleep(min(LOOK_AGAIN_S, max(deadline - time.monotonic(), 0.0)))

    def listing(self, key: str, what: str, limit: int) -> list[Json]:
        found = self._get(key)
        if what == "decisions":
            return [view.decision(record) for record in objects.records(found, limit)]
        return self._events(found, limit)

    def explanation(self, key: str) -> Json:
        return objects.explanation(self._get(key), time.time())

    def arithmetic(self, key: str) -> Json:
        return objects.arithmetic(self._get(key), time.time())

    def forecast(self, key: str) -> Json:
        return objects.forecast(self._get(key), time.time())

    # What people change.

    def placed(self, content: Json, folder: Path) -> Json:
        """In the namespace that is meant, and without what only a process on this machine needs."""
        metadata = content.get("metadata")
        if not isinstance(metadata, dict):
            return content
        annotations = metadata.get("annotations")
        kept = {
            **metadata,
            "namespace": metadata.get("namespace") or self._namespace or self._api.namespace,
        }
        if isinstance(annotations, dict):
            kept["annotations"] = {name: text for name, text in annotations.items() if name != BASE_DIR}
        return {**content, "metadata": kept}

    def apply(self, key: str, document: Mapping[str, Any], *, force: bool) -> Json:
        """Server-side apply in this command's name; fields that only this command wrote before are no conflict."""
        self._demand_namespace(key)
        old = self._find(key)
        _demand_sound(key, old, document)
        try:
            return _outcome(key, old, self._applied(key, document, is_forced=force))
        except Conflict as error:
            if refusals.owners(error) != {MANAGER}:
                raise refusals.failure(error, key) from error
        except ApiError as error:
            raise refusals.failure(error, key) from error
        try:
            return _outcome(key, old, self._applied(key, document, is_forced=True))
        except ApiError as error:
            raise refusals.failure(error, key) from error

    def set_target(self, key: str, version: str) -> Json:
        old = self._get(key)
        spec = old["spec"]
        names = [one["name"] for one in spec.get("versions") or ()]
        if not names:
            raise Failure(
                f"the versions of {key} come from its template: none is named in the spec",
                "start a rollout with `headgate set image`, or go back with `headgate undo`",
            )
        if version not in names:
            raise Failure(
                f"{key} has no version {version}",
                f"versions there are: {', '.join(names)}; a new one is added with `headgate apply`",
            )
        patch = {"spec": {"target": version}}
        return _outcome(key, old, self._ask("PATCH", _path(key), key, patch, MERGE, params=OURS))

    def set_images(self, key: str, images: Mapping[str, str]) -> Json:
        """Fails if somebody reorders the containers meanwhile: the place of each is tested with the change."""
        old = self._get(key)
        containers = _containers(key, old)
        unknown = [name for name in images if name not in containers]
        if unknown:
            raise Failure(
                f"the template of {key} has no container {unknown[0]}",
                f"containers there are: {', '.join(containers)}",
            )
        patch: list[Json] = []
        for name, image in images.items():
            at = f"/spec/template/spec/containers/{containers.index(name)}"
            patch += [{"op": "test", "path": f"{at}/name", "value": name}]
            patch += [{"op": "add", "path": f"{at}/image", "value": image}]
        return _outcome(key, old, self._ask("PATCH", _path(key), key, patch, JSON_PATCH, params=OURS))

    def workload(self, rollout: str, deployment: str) -> Found:
        """Only a rollout that is not there yet adopts; one that is, is changed with `apply`."""
        namespace, name = self._api.namespace, rollout
        if "/" in rollout:
            namespace, _, name = rollout.partition("/")
        key = f"{namespace}/{name}"
        self._demand_namespace(key)
        if self._find(key) is not None:
            raise Failure(
                f"there is a rollout {key} already", "change it with `headgate apply`, or give another --name"
            )
        routers = {"labelSelector": str(routers_of(name))}
        return Found(
            key,
            self._deployment(namespace, deployment),
            self._ask("GET", path_of("", "v1", "services", namespace), key, bytes_max=PAGE_BYTES_MAX)[
                "items"
            ],
            self._ask("GET", path_of("", "v1", "pods", namespace), key, params=routers)["items"],
        )

    def delete(self, key: str) -> None:
        self._ask("DELETE", _path(key), key)

    def forget(self, key: str, router: str) -> None:
        """Only the list of those that count is changed, as it was read."""
        found = self._get(key)
        known = list((found.get("status") or {}).get("routers") or [])
        if router not in known:
            raise Failure(
                f"{key} has no router {router}",
                f"its routers are {', '.join(known[:16])}" if known else "it has no routers",
            )
        patch = {
            "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
            "status": {"routers": [name for name in known if name != router]},
        }
        self._ask("PATCH", _path(key, "status"), key, patch, MERGE, params=OURS)

    def act(self, key: str, action: Json) -> str:
        """Create the RolloutAction, in the name by which the API server knows the person."""
        namespace, _, rollout = key.partition("/")
        more = {name: value for name, value in action.items() if name not in ("id", "verb") and value}
        spec = {"rollout": rollout, "action": action["verb"], **more, "requestedBy": self._user()}
        document = {
            "apiVersion": API_VERSION,
            "kind": ACTION_KIND,
            "metadata": {
                "name": f"{rollout[:36]}-{action['verb']}-{action['id'][:12]}",
                "namespace": namespace,
            },
            "spec": spec,
        }
        made = self._ask("POST", path_of(GROUP, VERSION, ACTIONS, namespace), key, document, params=OURS)
        self._uids[made["metadata"]["name"]] = made["metadata"]["uid"]
        return str(made["metadata"]["name"])

    def answer(self, key: str, action_id: str, wait_s: float) -> Json:
        deadline = time.monotonic() + wait_s
        while True:
            said = self._answer(key, action_id)
            if said is not None:
                state = "Accepted" if said[0] else "Refused"
                return {"id": action_id, "state": state, "message": said[1]}
            if time.monotonic() >= deadline:
                return {"id": action_id, "state": "Pending", "message": "the controller has not decided it"}
            time.sleep(min(ANSWER_AGAIN_S, max(deadline - time.monotonic(), 0.0)))

    def _answer(self, key: str, action_id: str) -> tuple[bool, str] | None:
        """(accepted?, message). Who may not read actions reads it in the rollout, where the decision is kept."""
        namespace = key.partition("/")[0]
        try:
            found = self._send("GET", path_of(GROUP, VERSION, ACTIONS, namespace, action_id))
        except (Forbidden, NotFound):
            return objects.answered(self._get(key), self._uids[action_id])
        except ApiError as error:
            raise refusals.failure(error, key) from error
        status = found.get("status") or {}
        phase = status.get("phase")
        return None if phase is None else (phase in ACCEPTED, str(status.get("message", "")))

    def _deployment(self, namespace: str, name: str) -> Json:
        try:
            return self._send("GET", path_of("apps", "v1", "deployments", namespace, name))
        except NotFound as error:
            raise Failure(
                f"there is no Deployment {namespace}/{name}", "name one that is there; -n NAMESPACE"
            ) from error
        except ApiError as error:
            raise refusals.failure(error) from error

    def _user(self) -> str:
        """As the API server knows the person."""
        asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        said = self._ask("POST", path_of("authentication.k8s.io", "v1", "selfsubjectreviews"), "", asked)
        return str(said["status"]["userInfo"]["username"])

    def _demand_namespace(self, key: str) -> None:
        """What -n says and what the file says must not contradict each other."""
        namespace = key.partition("/")[0]
        if self._given not in (None, namespace):
            raise Failure(
                f"the file says that {key} is in namespace {namespace}, and -n says {self._given}",
                "leave one of them out; nothing was changed",
            )

    def _applied(self, key: str, document: Mapping[str, Any], *, is_forced: bool) -> Json:
        params = {"fieldManager": MANAGER, "fieldValidation": "Strict", "force": str(is_forced).lower()}
        return self._send("PATCH", _path(key), document, APPLY, params=params)

    def _events(self, found: Mapping[str, Any], limit: int) -> list[Json]:
        namespace, name = found["metadata"]["namespace"], found["metadata"]["name"]
        about = f"involvedObject.kind=ModelRollout,involvedObject.name={name},involvedObject.uid={found['metadata']['uid']}"
        listed = self._ask(
            "GET",
            path_of("", "v1", "events", namespace),
            f"{namespace}/{name}",
            params={"fieldSelector": about},
        )
        told = [
            {"at": _told_at(one), "reason": one.get("reason"), "message": one.get("message", "")}
            for one in listed["items"]
        ]
        return sorted(told, key=lambda one: str(one["at"]), reverse=True)[:limit]

    # How it is asked.

    def _list(self) -> Json:
        """All objects, page by page, as of one moment."""
        items: list[Json] = []
        params = {"limit": PAGE}
        while True:
            page = self._ask("GET", _collection(self._namespace), "", bytes_max=PAGE_BYTES_MAX, params=params)
            items += page["items"]
            if not page["metadata"].get("continue"):
                return {**page, "items": items}
            params = {"limit": PAGE, "continue": page["metadata"]["continue"]}

    def _get(self, key: str) -> Json:
        return self._ask("GET", _path(key), key)

    def _find(self, key: str) -> Json | None:
        try:
            return self._send("GET", _path(key))
        except NotFound as error:
            if "could not find the requested resource" in error.message:
                raise refusals.failure(error, key) from error
            return None
        except ApiError as error:
            raise refusals.failure(error, key) from error

    def _ask(
        self,
        method: str,
        path: str,
        about: str,
        body: object = None,
        kind: str = "application/json",
        *,
        bytes_max: int = BODY_BYTES_MAX,
        params: Mapping[str, str] = NO_PARAMS,
    ) -> Json:
        """The answer; Failure, about this rollout, if it is none."""
        try:
            return self._send(method, path, body, kind, bytes_max=bytes_max, params=params)
        except ApiError as error:
            raise refusals.failure(error, about) from error

    def _send(
        self,
        method: str,
        path: str,
        body: object = None,
        kind: str = "application/json",
        *,
        bytes_max: int = BODY_BYTES_MAX,
        params: Mapping[str, str] = NO_PARAMS,
    ) -> Json:
        """The answer, or an ApiError."""
        left_s = CALL_S if self._deadline is None else self._deadline - time.monotonic()
        ask = Ask(
            method,
            path,
            params=params,
            body=body,
            content_type=kind,
            timeout_s=min(CALL_S, max(left_s, CALL_LEAST_S)),
            body_bytes_max=bytes_max,
        )
        return self._run(self._api.request(ask))

    def _run(self, asking: Coroutine[Any, Any, _Value]) -> _Value:
        return self._runner.run(asking)


class _Watch:
    """A list kept up to date: what each rollout shows, made anew only where its object changed."""

    def __init__(self, api: Api, path: str, listed: Json) -> None:
        self._api = api
        self._path = path
        self._version = listed["metadata"]["resourceVersion"]
        self._stream: Stream | None = None
        self._shown: dict[str, Json] = {}
        for found in listed["items"]:
            self._put(found)

    def items(self) -> list[Json]:
        """By name, as they are listed."""
        return [self._shown[key] for key in sorted(self._shown)]

    async def changed(self, within_s: float) -> bool:
        """True when something changed; False when it is at its end, and the list must be read anew."""
        try:
            if self._stream is None:
                params = {"watch": "true", "resourceVersion": self._version}
                self._stream = await self._api.stream(self._path, params)
            lines = await self._stream.lines(within_s)
        except (Unavailable, Gone):
            return False
        return bool(lines) and all(self._takes(json.loads(line)) for line in lines)

    async def close(self) -> None:
        """End the watch."""
        if self._stream is not None:
            await self._stream.close()

    def _takes(self, event: Json) -> bool:
        """Whether the change could be taken in; not that the watch has become too old."""
        if event["type"] == "ERROR":
            return False
        if event["type"] == "DELETED":
            self._shown.pop(objects.key_of(event["object"]), None)
        else:
            self._put(event["object"])
        return True

    def _put(self, found: Json) -> None:
        self._shown[objects.key_of(found)] = objects.summary(found, time.time())


def _collection(namespace: str | None) -> str:
    return path_of(GROUP, VERSION, ROLLOUTS, namespace)


def _path(key: str, subresource: str = "") -> str:
    """The path of the rollout's object; Failure for a name that no object has."""
    namespace, _, name = key.partition("/")
    try:
        return path_of(GROUP, VERSION, ROLLOUTS, namespace, name, subresource)
    except ValueError as error:
        raise Failure(f"there is no rollout {key}: {error}", "name one as NAME or NAMESPACE/NAME") from error


def _outcome(key: str, old: Json | None, new: Json) -> Json:
    """What became of the rollout: created, configured or unchanged."""
    is_same = old is not None and _told(old) == _told(new)
    outcome = "created" if old is None else "unchanged" if is_same else "configured"
    return {"rollout": key, "generation": new["metadata"]["generation"], "outcome": outcome}


def _told(found: Json) -> list[object]:
    """What people say of a rollout."""
    return [found["spec"], *(found["metadata"].get(name) or {} for name in ("labels", "annotations"))]


def _demand_sound(key: str, old: Json | None, document: Mapping[str, Any]) -> None:
    """What depends on the rollout as it is, which the API server does not look at."""
    if old is not None and old["metadata"].get("deletionTimestamp"):
        raise Failure(f"{key} is being deleted", "apply it again when it is gone")
    there = None if old is None else objects.stored(old)
    faults = (
        changes(None, document, None) if there is None else changes(there.document, document, there.status)
    )
    if faults:
        count = "one thing is" if len(faults) == 1 else f"{len(faults)} things are"
        raise Failure(
            f"{count} wrong with {key}; nothing was changed", "mend the fields named", map(str, faults)
        )


def _containers(key: str, found: Json) -> list[str]:
    """The names of the containers of the rollout's template, in order."""
    template, reference = found["spec"].get("template"), found["spec"].get("workloadRef")
    if isinstance(reference, dict):
        namespace, name = key.partition("/")[0], reference.get("name")
        raise Failure(
            f"the template of {key} is that of Deployment {namespace}/{name}",
            f"change it there: kubectl -n {namespace} set image deployment/{name} CONTAINER=IMAGE",
        )
    if not isinstance(template, dict):
        raise Failure(
            f"{key} has no template: its versions are workloads of their own",
            "write a new version and `headgate apply` it, then `headgate set-target` to it",
        )
    return [str(one.get("name")) for one in template.get("spec", {}).get("containers") or ()]


def _told_at(event: Json) -> str:
    """When it happened: written by us as eventTime, by others as lastTimestamp."""
    return str(event.get("eventTime") or event.get("lastTimestamp") or event["metadata"]["creationTimestamp"])
