"""How the tests of the core get to an interesting place: a rollout told up to there, in the words of the transcripts."""

from dataclasses import replace

from controller.core import slots
from controller.core.machine import decide
from controller.core.status import Candidate, Decision, Observed
from tests.transcripts.narrator import Narrator

RAMP = "canary 5% 50% every 10s, full bake 5s"


def told(*lines: str, stages: str = RAMP) -> Narrator:
    """v1 is stable and proven; then the lines."""
    story = Narrator()
    for line in (f"stages: {stages}", "v1 ready", "routers run the plan", *lines):
        story.tell(line)
    return story


def on_trial(*lines: str, stages: str = RAMP) -> Narrator:
    """v2 is in its first step, acknowledged by r1; then the lines."""
    story = told("target v2", "v2 ready", stages=stages)
    for line in ("routers run the plan", "routers run the plan", *lines):
        story.tell(line)
    return story


def candidate(story: Narrator) -> Candidate:
    found = story.status.candidate
    assert found is not None, story.status.message
    return found


def weight(story: Narrator, version: str = "v2") -> int:
    """The version's share in basis points."""
    return slots.weight_of(story.status.slots, version)


def say(story: Narrator, line: str) -> str:
    """What was decided after the line, as one text."""
    return "\n".join(story.tell(line))


def router(story: Narrator, name: str = "r1", **changes: object) -> None:
    """Let the router be seen otherwise."""
    story.routers[name] = replace(story.routers[name], **changes)


def seen(story: Narrator) -> Observed:
    """What there is to see now."""
    routers = tuple(replace(one, seen_at=story.now) for one in story.routers.values())
    return Observed(story.epoch, story.versions, routers)


def decided(story: Narrator) -> Decision:
    """What would be decided if nothing more happened, and nothing were measured."""
    return decide(story.spec, story.status, seen(story), (), story.now)


def replicas(story: Narrator, version: str = "v2") -> int:
    """With how many replicas the version shall run; 0 when it is to be stopped."""
    wanted = decided(story).running.get(f"id-{version}")
    return wanted.replicas if wanted is not None else 0


def matched(story: Narrator) -> dict[str, int]:
    """Who gets how much of the requests that match; empty when none are matched."""
    plan = decided(story).plan
    return plan.match.weights() if plan is not None and plan.match is not None else {}
