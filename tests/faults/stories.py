"""The rollouts that faults are put into, each played from its first apply to its end, and how each must end.

A story waits for what the API server says, never for the controller, so whatever is done to that meanwhile does not
stop it. Each holds at a stage of its own until a person's action, so that an action is in all of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controller.core import slots
from tests.cluster.whole import NAME, rollout
from tests.faults.recorded import ONCE, remembered
from tests.faults.scene import Scene, Versions
from tests.local.load import Load

GOOD: Final = "v2"
BAD: Final = "bad"
HOLDS: Final[Mapping[str, Any]] = {"pause": {}}
ERRORS: Final = {
    "name": "errors",
    "metric": "requests.errors",
    "noWorseThan": {"ratio": 1.2, "plus": "50pp"},
    "minRequests": 5,
}
"""So tolerant that a second's traffic proves it."""

AGREE: Final = {"name": "agree", "metric": "shadow.disagreement", "max": "50%", "minRequests": 5}


@dataclass(frozen=True)
class Story:
    """A rollout from v1 to `candidate`. `raises` are the shares that are recorded, in order, if it is promoted."""

    name: str
    stages: Sequence[Mapping[str, Any]]
    raises: Sequence[str]
    candidate: str = GOOD
    checks: Sequence[Mapping[str, Any]] = (ERRORS,)

    @property
    def is_good(self) -> bool:
        return self.candidate == GOOD

    @property
    def holds_at(self) -> str:
        """How the status names the stage that waits for a person."""
        return f"{list(self.stages).index(HOLDS) + 1}/" if HOLDS in self.stages else ""

    def document(self, versions: Versions) -> dict[str, Any]:
        return rollout(
            [versions["v1"], versions[self.candidate]],
            strategy={"stages": list(self.stages)},
            capacity={"drain": "1s", "keepStableWarm": "10m", "progressDeadline": "10m"},
            checks=list(self.checks),
        )


CANARY: Final = Story(
    "canary",
    [{"canary": {"weights": ["20%", "50%"], "every": "1s"}}, HOLDS, {"full": {"bake": "1s"}}],
    ["20%", "50%", "100%"],
)
BLUE_GREEN: Final = Story("blue-green", [HOLDS, {"flip": {"bake": "1s"}}], ["100%"], checks=())
SHADOW: Final = Story(
    "shadow",
    [{"shadow": {"sample": "100%", "duration": "1s", "minPairs": 10}}, HOLDS, {"full": {}}],
    ["100%"],
    checks=(AGREE,),
)
ROLLBACK: Final = Story(
    "rollback", [{"canary": {"weights": ["50%"], "every": "10m"}}, {"full": {}}], ["50%"], candidate=BAD
)
STORIES: Final = {story.name: story for story in (CANARY, BLUE_GREEN, SHADOW, ROLLBACK)}


@dataclass
class End:
    """What is there in the end, in the terms in which a run with faults must equal one without; `load` apart."""

    told: dict[str, Any]
    load: Load = field(repr=False, compare=False)


def play(scene: Scene, story: Story, meanwhile: Callable[[], None] = lambda: None) -> End:
    """The whole story, deletion included; `meanwhile` is called when the candidate is on trial."""
    scene.apply(story.document(scene.versions))
    scene.phase_is("Healthy", "v1")
    with scene.load() as load:
        ended = rolled_out(scene, story, meanwhile)
        scene.until("who is stable has the traffic", lambda: _serves(scene, load))
        scene.delete()
        scene.until("the rollout is gone", lambda: not scene.rollout())
        load.stop()
    assert not scene.actions.present, scene.actions.present
    return End(ended, load)


def rolled_out(scene: Scene, story: Story, meanwhile: Callable[[], None]) -> dict[str, Any]:
    """From the new target to the end of its trial; what is there then."""
    asked = ""
    scene.target(story.candidate)
    scene.until(f"{story.candidate} is on trial", lambda: was_on_trial(scene, story.candidate))
    meanwhile()
    if story.holds_at:
        scene.until(
            "it waits for a person", lambda: scene.status().get("stage", "").startswith(story.holds_at)
        )
        asked = scene.act("promote", story.candidate)
    if story.is_good:
        scene.phase_is("Healthy", story.candidate)
    else:
        scene.phase_is("RolledBack", "v1")
    if asked:
        scene.until("the action is answered", lambda: scene.answer(asked) == "Done")
    scene.until("nothing is left to be done", lambda: is_at_rest(scene))
    return told(scene)


def was_on_trial(scene: Scene, version: str) -> bool:
    """Did the API server ever say so?"""
    said = (one.get("status", {}) for one in scene.rollouts.of(NAME))
    return any(status.get("candidateVersion") == version for status in said)


def is_at_rest(scene: Scene) -> bool:
    """Does the status say that all is in sync, and that nobody but stable has or had any traffic a moment ago?"""
    conditions = {one["type"]: one["status"] for one in scene.status().get("conditions", ())}
    is_in_sync = (conditions.get("TrafficSynced"), conditions.get("Reconciling")) == ("True", "False")
    return is_in_sync and "weights" not in scene.status()


def told(scene: Scene) -> dict[str, Any]:
    """The present state of the rollout without times, epochs and texts."""
    found, status = scene.rollout(), scene.status()
    state = remembered(found)
    assert state is not None
    decisions = reversed(status["decisions"])
    return {
        "phase": status["phase"],
        "stable": status["stableVersion"],
        "candidate": status.get("candidateVersion"),
        "weights": status.get("weights"),
        "conditions": sorted((one["type"], one["status"], one["reason"]) for one in status["conditions"]),
        "history": [(one["version"], one["outcome"]) for one in status["history"]],
        "decisions": [
            (one["reason"], one["version"], one["weightBefore"], one["weightAfter"])
            for one in decisions
            if one["reason"] in ONCE  # a person may pass a stage before it is entered
        ],
        "routers": status.get("routers"),
        "slots": {owned.version: slots.weight_of(state.slots, owned.version) for owned in state.slots},
        "failed": [one.name for one in state.failed],
        "handled": len(state.handled),
        "finalizers": found["metadata"].get("finalizers"),
        "actions": sorted(_answered(one) for one in scene.actions.present.values()),
    }


def _answered(action: Mapping[str, Any]) -> tuple[str, str]:
    return action["spec"]["action"], action.get("status", {}).get("phase", "")


def _serves(scene: Scene, load: Load) -> bool:
    """Some more answers, all by who is stable?"""
    stable = str(scene.status()["stableVersion"])
    before, others = load.answers[stable], load.answers.total() - load.answers[stable]
    scene.until("ten more answers", lambda: load.answers[stable] >= before + 10)
    return load.answers.total() - load.answers[stable] == others


def wrongs(scene: Scene, story: Story, end: End) -> list[str]:
    """What is not as it must be at the end of a run, with or without faults; a sentence each."""
    load, told = end.load, end.told
    found = [f"broken: {what}" for what in scene.broken()]
    found += [f"lost: {what}" for what in (*load.lost[:3], *load.mixed[:3], *load.causes)]
    raises = [after for reason, version, _, after in told["decisions"] if reason == "WeightRaised"]
    outcome = (story.candidate, "Promoted") if story.is_good else (story.candidate, "RolledBack")
    expected = {
        "history": [outcome],
        "slots": {story.candidate if story.is_good else "v1": 10_000},
        "failed": [] if story.is_good else [story.candidate],
        "handled": 1 if story.holds_at else 0,
        "actions": [("promote", "Done")] if story.holds_at else [],
    }
    found += [f"{name} is {told[name]}" for name, value in expected.items() if told[name] != value]
    if raises != list(story.raises):
        found.append(f"raised to {raises}, not to {list(story.raises)}")
    if story.is_good and load.failed:
        found.append(f"failed: {load.failed}")
    return found
