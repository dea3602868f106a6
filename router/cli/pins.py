"""The verbs for a router that runs: what it does, and pinning a version on it when no controller can be reached.

They read and write files of the run directory only, so they work whichever of the router's processes are gone.
"""

import json
from pathlib import Path
from typing import Any

import click

from headgate.files import replace_file
from router.agent import planfile
from router.agent.shared import Shared, attach
from router.core.channel import RUN_FILES, Assignment
from router.supervisor.rundir import holder_of

_RUN = click.option(
    "--run",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    envvar="HEADGATE_ROUTER_RUN",
    help="The run directory of the router.",
)


@click.command
@click.argument("version")
@_RUN
def pin(version: str, run: Path) -> None:
    """Send all traffic of one router to VERSION, whatever its plan says.

    It stays until `unpin`, over restarts too, and the controller sees it as Overridden.

    \b
      headgate router pin v7 --run run/router
    """
    names = [one.name for one in _assignment(run).plan.versions]
    if version not in names:
        raise click.ClickException(
            f"{version}: the plan in force has no such version, it has {', '.join(names)}"
        )
    replace_file(run / RUN_FILES.pin, version.encode())
    click.echo(f"router: pinned {version}; until `headgate router unpin --run {run}`")


@click.command
@_RUN
def unpin(run: Path) -> None:
    """Let the router follow its plan again.

    \b
      headgate router unpin --run run/router
    """
    try:
        (run / RUN_FILES.pin).unlink()
    except FileNotFoundError:
        click.echo("router: nothing was pinned")
    else:
        click.echo("router: unpinned, it follows its plan again")


@click.command
@_RUN
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
def status(run: Path, output: str) -> int:
    """Show what one router runs and has counted; exit code 1 if it does not run.

    \b
      headgate router status --run run/router
      headgate router status --run run/router -o json
    """
    try:
        shared = attach(run)
    except (OSError, ValueError, KeyError) as error:
        raise click.ClickException(f"{run}: no router ever ran here ({error})") from error
    found = _status(shared, _assignment(run))
    click.echo(json.dumps(found, indent=2) if output == "json" else _text(found))
    return 0 if found["pid"] else 1


def _assignment(run: Path) -> Assignment:
    try:
        found = planfile.load(run)
    except planfile.Unreadable as error:
        raise click.ClickException(str(error)) from error
    if found is None:
        raise click.ClickException(f"{run}: no plan has ever been in force here")
    return found


def _status(shared: Shared, assignment: Assignment) -> dict[str, Any]:
    plan, weights = assignment.plan, assignment.plan.weights()
    matching = plan.match.weights() if plan.match is not None else {}
    tripped = {(trip.identity, trip.attempt) for trip in shared.trips()}
    return {
        "pid": holder_of(shared.path),
        "rollout": plan.rollout,
        "plan": str(plan.triple),
        "stable": plan.stable,
        "pinned": shared.pinned(),
        "workers": [
            {"index": one.index, "pid": one.pid, "applied": str(one.applied), "connections": one.connections}
            for one in shared.workers()
        ],
        "versions": [
            {
                "version": one.version,
                "weight_percent": weights[one.version] / 100,
                "match_weight_percent": matching.get(one.version, 0) / 100 if plan.match else None,
                "requests": one.picked.requests,
                "failed": one.picked.failed,
                "matched_requests": one.matched.requests,
                "matched_failed": one.matched.failed,
                "selected_requests": one.selected.requests,
                "in_flight": one.in_flight,
                "guard_tripped": (one.identity, one.attempt) in tripped,
            }
            for one in shared.versions(assignment)
        ],
    }


def _text(found: dict[str, Any]) -> str:
    state = f"running, pid {found['pid']}" if found["pid"] else "not running"
    lines = [f"{found['rollout']}: {state}; plan {found['plan']}, stable {found['stable']}"]
    if found["pinned"]:
        lines.append(f"PINNED to {found['pinned']}: the plan's weights do not count")
    lines += [f"  worker {one['index']}: pid {one['pid']} runs {one['applied']}" for one in found["workers"]]
    lines += [
        f"  {one['version']}: {one['weight_percent']:g} %, {one['requests']} requests, {one['failed']} failed"
        + _beside(one)
        for one in found["versions"]
    ]
    return "\n".join(lines)


def _beside(one: dict[str, Any]) -> str:
    """What else there is to say about a version, if there is."""
    said = ""
    if one["match_weight_percent"] is not None:
        said += f"; of those that match {one['match_weight_percent']:g} %"
    if one["matched_requests"]:
        said += f"; matched: {one['matched_requests']} requests, {one['matched_failed']} failed"
    if one["selected_requests"]:
        said += f"; by override: {one['selected_requests']}"
    return said + (", GUARD TRIPPED" if one["guard_tripped"] else "")
