"""The verbs that ask for something: rollback, promote, pause, resume, approve, skip-stage, retry, undo, restart, set-target.

Each names the version it means, read from the status a moment before: if another is on trial by then, the
controller refuses instead of guessing.
"""

import time
import uuid
from collections.abc import Callable
from typing import Any, Final, NoReturn

import click

from controller.cli.client import Client
from controller.cli.failures import FAILED, INTERRUPTED, TIMED_OUT, Away, Failure, end
from controller.cli.lines import Reporter, foretold, silent, summary_line
from controller.cli.options import api_options, output_option, rollout_options, timeout_option
from controller.cli.output import print_data
from controller.cli.waiting import Hopeless, Reached, Verdict, is_current, is_failed, promoted, wait_for

ANSWER_S: Final = 30.0
"""An answer to an action comes with the next reconcile; this long without one means that none happens."""

Json = dict[str, Any]

reason_option = click.option("-r", "--reason", default="", help="Why; it is recorded with the decision.")
version_option = click.option("--version", help="The version that is meant.  [default: the one on trial]")


@click.command()
@version_option
@reason_option
@timeout_option("30s", "for the routers")
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def rollback(
    client: Client, key: str, version: str | None, reason: str, timeout_s: float, output: str
) -> None:
    """Take all traffic off the candidate, now, and wait until every router has done so.

    Needs no metrics and no healthy candidate. After a promotion it goes back to the version that was stable before.
    The version stays rolled back until `headgate retry`, or a new target.

    \b
      headgate rollback fraud --reason "p99 doubled"
      headgate rollback fraud --timeout 5s && echo done

    Exit codes: 0 every router acknowledged, 1 refused, 2 not acknowledged within --timeout (the rollback stands).
    """
    started = time.monotonic()
    meant = version or ""
    client.give_up_after(timeout_s)
    try:
        shown = client.status(key)
        meant = version or _to_roll_back(key, shown)
        if output == "text":
            click.echo(_intention(key, shown, meant))
        answer = _ask(client, key, "rollback", meant, reason, within_s=timeout_s)
        left_s = timeout_s - (time.monotonic() - started)
        verdict, last = wait_for(client, key, _taken_off(meant), left_s, silent)
    except KeyboardInterrupt:
        _stands(key, f"the rollback of {meant or 'the candidate, if it was asked for,'}")
    except Away as error:
        error.show()
        end(TIMED_OUT if time.monotonic() - started >= timeout_s else FAILED)
    took_ms = (time.monotonic() - started) * 1000
    result = _rolled_back(key, meant, verdict, last, took_ms)
    if output == "text":
        click.echo(result["message"])
    else:
        print_data({**result, "action": answer}, output)
    if verdict is None:
        end(TIMED_OUT)


@click.command()
@click.option("--full", is_flag=True, help="Pass every stage up to the last, not only the present one.")
@version_option
@reason_option
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def promote(client: Client, key: str, full: bool, version: str | None, reason: str, output: str) -> None:
    """Pass the present stage in person (with --full: every stage but the last). A check that says Fail refuses it.

    \b
      headgate promote fraud             go on to the next stage now
      headgate promote fraud --full      go to 100 % as fast as capacity allows
    """
    _simple(client, key, "promote-full" if full else "promote", version, reason, output)


@click.command()
@version_option
@reason_option
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def pause(client: Client, key: str, version: str | None, reason: str, output: str) -> None:
    """Stop the ramp where it is. Checks go on, and a Fail still rolls back.

    \b
      headgate pause fraud --reason "waiting for the fraud team"
    """
    _simple(client, key, "pause", version, reason, output)


@click.command()
@version_option
@reason_option
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def resume(client: Client, key: str, version: str | None, reason: str, output: str) -> None:
    """End a pause, and nothing else.

    \b
      headgate resume fraud
    """
    _simple(client, key, "resume", version, reason, output)


@click.command()
@click.option("--version", help="The version that is meant.  [default: the target, if it was rolled back]")
@reason_option
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def retry(client: Client, key: str, version: str | None, reason: str, output: str) -> None:
    """Give a version that was rolled back another try, from its first stage.

    \b
      headgate retry fraud --reason "the feature store is back"
    """
    meant = version or _to_retry(key, client.status(key))
    _finish(key, _ask(client, key, "retry", meant, reason), output)


@click.command()
@click.option("--role", "roles", multiple=True, help="A role in which you approve. May be given again.")
@version_option
@reason_option
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def approve(
    client: Client, key: str, roles: tuple[str, ...], version: str | None, reason: str, output: str
) -> None:
    """Approve the present stage, if it asks for people. With enough of them the rollout goes on.

    Locally whoever holds the token is believed about name and roles, and the record says so. On a cluster the API
    server holds both true.

    \b
      headgate approve fraud --role owner --reason "looked at 50 disagreements"
    """
    shown = client.status(key)
    meant = version or _on_trial(key, shown, "approve")
    stage = (shown["status"]["stage"] or {}).get("index", 0)
    _finish(key, _ask(client, key, "approve", meant, reason, stage=stage, roles=list(roles)), output)


@click.command("skip-stage")
@click.option("--stage", type=click.IntRange(1, 1000), help="Its number, from 1.  [default: the present one]")
@version_option
@reason_option
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def skip_stage(
    client: Client, key: str, stage: int | None, version: str | None, reason: str, output: str
) -> None:
    """Leave one stage out: the present one or one to come. Approvals, and the stage that moves everything, stay.

    \b
      headgate skip-stage fraud             the present stage
      headgate skip-stage fraud --stage 3
    """
    shown = client.status(key)
    meant = version or _on_trial(key, shown, "skip-stage")
    wanted = stage or (shown["status"]["stage"] or {}).get("index", 0)
    _finish(key, _ask(client, key, "skip-stage", meant, reason, stage=wanted), output)


@click.command()
@click.option("--to", default="", help="The version to go back to.  [default: the one before]")
@reason_option
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def undo(client: Client, key: str, to: str, reason: str, output: str) -> None:
    """Make an earlier version the target again.

    \b
      headgate undo fraud             the version before
      headgate undo fraud --to v6
    """
    spec = client.status(key)["spec"]
    if spec is None:
        raise Failure(f"the stored document of {key} is not one this release accepts", "apply it anew")
    _finish(key, _ask(client, key, "undo", spec["target"], reason, to=to), output)


@click.command()
@click.option("--version", help="The version that is meant.  [default: stable]")
@reason_option
@output_option("text", "json", "yaml")
@api_options
@rollout_options
def restart(client: Client, key: str, version: str | None, reason: str, output: str) -> None:
    """Replace the processes of a version one after another, each once its successor is ready. No rollout, no stages.

    At most capacity.maxSurge more than spec.replicas run meanwhile. For versions that Headgate runs itself.

    \b
      headgate restart fraud                     the stable version
      headgate restart fraud --version v8 --reason "leaks memory"
    """
    meant = version or _stable(key, client.status(key))
    _finish(key, _ask(client, key, "restart", meant, reason), output)


@click.command("set-target")
@click.argument("words", nargs=-1, required=True, metavar="[NAME] VERSION")
@click.option("--wait", is_flag=True, help="Wait until it is promoted (0) or rolled back (1).")
@timeout_option("10m", "with --wait")
@output_option("text", "json", "yaml")
@api_options
def set_target(client: Client, words: tuple[str, ...], wait: bool, timeout_s: float, output: str) -> None:
    """Make VERSION the one that shall serve everything: this starts a rollout, through its stages.

    The target set back to stable calls a rollout off.

    \b
      headgate set-target fraud v8
      headgate set-target fraud v8 --wait --timeout 30m
    """
    name, version = _name_and_version(words)
    key = client.find(name)
    answer = client.set_target(key, version)
    if output == "text":
        unchanged = answer["outcome"] == "unchanged"
        click.echo(f"{key}: {version} {'is the target already' if unchanged else 'is the target now'}")
        for line in [] if unchanged else foretold(client, key):
            click.echo(f"  {line}")
    if not wait:
        if output != "text":
            print_data(answer, output)
        return
    _wait_for_promotion(client, key, version, timeout_s, output)


def _simple(client: Client, key: str, verb: str, version: str | None, reason: str, output: str) -> None:
    """An action about the version on trial, done when it is accepted."""
    meant = version or _on_trial(key, client.status(key), verb)
    _finish(key, _ask(client, key, verb, meant, reason), output)


def _finish(key: str, answer: Json, output: str) -> None:
    if output == "text":
        click.echo(f"{key}: {answer['message']}")
    else:
        print_data(answer, output)


def _ask(
    client: Client,
    key: str,
    verb: str,
    version: str,
    reason: str,
    *,
    within_s: float = ANSWER_S,
    **more: Any,
) -> Json:
    """The accepted action's answer; Failure when it is refused, exit code 2 when nobody decides it `within_s`."""
    action = {"id": uuid.uuid4().hex, "verb": verb, "version": version, "reason": reason, **more}
    action_id = client.act(key, action)
    deadline = time.monotonic() + within_s
    answer = client.answer(key, action_id, within_s)
    while answer["state"] == "Pending" and time.monotonic() < deadline:
        answer = client.answer(key, action_id, deadline - time.monotonic())
    if answer["state"] == "Refused":
        raise Failure(
            f"{verb} of {version} on {key} refused: {answer['message']}", f"see `headgate status {key}`"
        )
    if answer["state"] == "Pending":
        undecided = f"{verb} of {version} on {key} is not decided after {within_s:g} s; it stands, and is done when it can be"
        click.echo(Failure(undecided, client.log_hint).format_message(), err=True)
        end(TIMED_OUT)
    return answer


def _on_trial(key: str, shown: Json, verb: str) -> str:
    candidate = shown["status"]["candidateVersion"]
    if candidate is None:
        stable = shown["status"]["stableVersion"] or "nothing"
        raise Failure(
            f"there is nothing to {verb.replace('-', ' ')} in {key}: no version is on trial, {stable} is stable",
            f"start a rollout with `headgate set-target {key} VERSION`",
        )
    return str(candidate)


def _stable(key: str, shown: Json) -> str:
    stable = shown["status"]["stableVersion"]
    if stable is None:
        raise Failure(
            f"there is nothing to restart in {key}: no version serves yet", f"see `headgate status {key}`"
        )
    return str(stable)


def _to_roll_back(key: str, shown: Json) -> str:
    """The version on trial; else the one that was promoted last, if there is one to go back to."""
    status = shown["status"]
    if status["candidateVersion"] is not None:
        return str(status["candidateVersion"])
    target = shown["spec"]["target"] if shown["spec"] else ""
    if is_failed(shown, target):
        return str(target)
    if status["previousVersion"] is not None:
        return str(status["stableVersion"])
    stable = status["stableVersion"] or "nothing"
    raise Failure(
        f"there is nothing to roll back in {key}: no version is on trial, and before {stable} none was stable",
        f"see `headgate history {key}`",
    )


def _to_retry(key: str, shown: Json) -> str:
    target = shown["spec"]["target"] if shown["spec"] else ""
    if is_failed(shown, target):
        return str(target)
    failed = [item["name"] for item in shown["status"]["versions"] if item["failed"]]
    do = (
        f"set the target first: `headgate set-target {key} {failed[0]}`"
        if failed
        else f"see `headgate status {key}`"
    )
    raise Failure(f"there is nothing to retry in {key}: its target {target} was not rolled back", do)


def _intention(key: str, shown: Json, version: str) -> str:
    """What the rollback will do, before it is asked for."""
    status = shown["status"]
    if is_failed(shown, version):
        return f"{key}: {version} was rolled back already"
    share = next((item["weight"]["percent"] for item in status["versions"] if item["name"] == version), "0%")
    stable = status["stableVersion"]
    back_to = status["previousVersion"] if version == stable else stable
    return f"{key}: rolling back {version}, which has {share} of the traffic; {back_to or 'stable'} takes all of it"


def _taken_off(version: str) -> Callable[[Json], Verdict]:
    """Reached when the version has no share and every router that counts acknowledged that."""

    def goal(shown: Json) -> Verdict:
        item = next((item for item in shown["status"]["versions"] if item["name"] == version), None)
        if item is None or (item["role"] is None and item["weight"]["basisPoints"] == 0):
            return Reached()
        seen = item["acknowledged"]
        if item["role"] in ("stable", "candidate", "rival") or item["weight"]["basisPoints"] or seen is None:
            return None
        is_everywhere = not seen["unknown"] and (seen["high"] is None or seen["high"]["basisPoints"] == 0)
        return Reached() if is_everywhere else None

    return goal


def _rolled_back(key: str, version: str, verdict: Verdict, last: Json, took_ms: float) -> Json:
    """The result, with the sentence that says it."""
    count = len(last.get("routers", ()))
    if verdict is None:
        late = [router["id"] for router in last.get("routers", ()) if router["synced"] is False]
        who = f"not acknowledged by {', '.join(late)}" if late else f"{version} still has traffic"
        message = (
            f"{key}: timed out after {took_ms / 1000:.1f} s: {who}. The rollback stands, and goes on without you; "
            f"a router that is gone for good is forgotten with `headgate router forget ID`"
        )
    else:
        routers = (
            f"all {count} routers" if count > 1 else "the router" if count else "no router counts, so nobody"
        )
        message = f"{key}: {version} has 0% of the traffic, acknowledged by {routers}, {took_ms:.0f} ms after the command"
    return {
        "rollout": key,
        "version": version,
        "acknowledged": verdict is not None,
        "routers": count,
        "tookMs": round(took_ms, 1),
        "message": message,
    }


def _wait_for_promotion(client: Client, key: str, version: str, timeout_s: float, output: str) -> None:
    report = Reporter() if output == "text" else silent
    try:
        verdict, shown = wait_for(client, key, _promoted_to(version), timeout_s, report)
    except KeyboardInterrupt:
        _stands(key, f"the target {version}")
    if output == "text":
        click.echo(summary_line(shown))
    else:
        print_data(shown, output)
    if verdict is None:
        click.echo(f"timed out after {timeout_s:g} s; the rollout goes on", err=True)
        end(TIMED_OUT)
    if isinstance(verdict, Hopeless):
        end(FAILED)


def _promoted_to(version: str) -> Callable[[Json], Verdict]:
    """Promoted, unless somebody set another target meanwhile."""

    def goal(shown: Json) -> Verdict:
        target = shown["spec"]["target"] if shown["spec"] else None
        if is_current(shown) and target != version:
            return Hopeless(f"the target is {target} now")
        return promoted(shown)

    return goal


def _name_and_version(words: tuple[str, ...]) -> tuple[str | None, str]:
    if len(words) > 2:
        raise click.UsageError(
            "it takes a rollout's name and a version, or only a version if there is one rollout"
        )
    return (words[0], words[1]) if len(words) == 2 else (None, words[0])


def _stands(key: str, what: str) -> NoReturn:
    """Ctrl-C ends the waiting, not what was asked for."""
    click.echo(
        f"\nNot waiting any more. {what[0].upper()}{what[1:]} stands: see `headgate status {key} -w`.",
        err=True,
    )
    end(INTERRUPTED)
