"""How the tests of the core get to an interesting place: a rollout told up to there, in the words of the transcripts."""

from dataclasses import replace

from controller.core import slots
from controller.core.status import Candidate
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
