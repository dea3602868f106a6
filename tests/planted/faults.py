"""The planted faults: lines of the core as somebody might have mistyped or misunderstood them, and what users would see."""

from tests.planted.plant import Fault

SLOTS = (
    Fault(
        "slots.py",
        "return _merged(_taken(slots, stable, version, weight - have))",
        "return _merged(_taken(slots, stable, version, weight))",
        "Every increase comes on top of the share it had: 5 % and then 25 % make 30 %.",
    ),
    Fault(
        "slots.py",
        "if owned.start + take < owned.end:",
        "if owned.start + take + 1 < owned.end:",
        "The shares add up to 9,999: one user in ten thousand belongs to nobody.",
    ),
    Fault(
        "slots.py",
        "return reached == SLOTS",
        "return reached <= SLOTS",
        "A stored status whose shares are not 10,000 is believed.",
    ),
    Fault(
        "slots.py",
        "if owned.start != reached or owned.end <= owned.start or owned.version not in owners:",
        "if owned.start != reached or owned.end <= owned.start:",
        "After a crash or a bad restore, users stay with a version that is neither stable nor on trial.",
    ),
    Fault(
        "slots.py",
        "for owned in reversed(slots):",
        "for owned in slots:",
        "A smaller weight takes other users away than those who came last: people change version for nothing.",
        inside="_taken_from_top",
    ),
)

STEPS = (
    Fault(
        "steps.py",
        "if is_last or stage.advance is Advance.ON_PASS:",
        "if stage.advance is Advance.ON_PASS:",
        "The last weight of a canary is left for 100 % without any Pass.",
        is_sample=True,
    ),
    Fault(
        "steps.py",
        "lower = [i for i, step in enumerate(steps) if step.weight <= present.weight]",
        "lower = [i for i, step in enumerate(steps) if step.weight >= present.weight]",
        "Editing the stages in the middle makes the share jump up.",
    ),
    Fault(
        "steps.py",
        "return [preview, flipped] if stage.before or stage.preview_ppm else [flipped]",
        "return [flipped]",
        "Blue-green moves everything without a look at the preview.",
    ),
    Fault(
        "steps.py",
        "gate = Gate.PASS if stage.advance is Advance.ON_PASS else Gate.FRESH",
        "gate = Gate.FRESH if stage.advance is Advance.ON_PASS else Gate.PASS",
        "A shadow goes live although nothing was proven about its answers.",
    ),
    Fault(
        "steps.py",
        "if not steps or steps[-1].weight < FULL:",
        "if not steps:",
        "A rollout whose last stage is a canary never ends.",
    ),
    Fault(
        "steps.py",
        "gate=Gate.TIME if timed else Gate.PERSON,",
        "gate=Gate.TIME,",
        "A pause that waits for a person does not wait.",
    ),
)

DRAFT = (
    Fault(
        "draft.py",
        "if router.applied.epoch != epoch or router.applied.generation < generation",
        "if router.applied.generation < generation",
        "A router that obeys a former leader counts as having acknowledged the present one's plan.",
    ),
    Fault(
        "draft.py",
        "if router.applied.epoch != epoch or router.applied.generation < generation",
        "if router.applied.epoch != epoch or router.applied.generation < generation - 1",
        "A step's clock starts while a router still runs the step before.",
    ),
    Fault(
        "draft.py",
        "SILENT_S: Final = 10.0",
        "SILENT_S: Final = 1000.0",
        "The share is raised while a router has not been heard for a quarter of an hour.",
    ),
    Fault(
        "draft.py",
        "others = [f for f in draft.status.failed if f.identity != failed.identity]",
        "others = [f for f in draft.status.failed if f.identity == failed.identity]",
        "A second failed version makes the first one forgotten: it may come back by itself.",
    ),
    Fault(
        "draft.py",
        "past = tuple(p for p in draft.status.past if p.ref.identity != failed.identity)  # no way back to that one",
        "past = draft.status.past",
        "`undo` or a rollback leads back to a version that had failed.",
    ),
    Fault(
        "draft.py",
        "is_robot = candidate.failed.cause is not Cause.OPERATOR",
        "is_robot = True",
        "A person's rollback waits for a stable version that is not coming back.",
    ),
    Fault(
        "draft.py",
        "if is_robot and draft.is_ready(candidate) and not draft.is_ready(draft.status.stable):",
        "if is_robot and not draft.is_ready(draft.status.stable):",
        "A dead candidate keeps its share because stable is down too.",
    ),
    Fault(
        "draft.py",
        "if is_robot and draft.is_ready(candidate) and not draft.is_ready(draft.status.stable):",
        "if is_robot and draft.is_ready(candidate) and draft.is_ready(draft.status.stable):",
        "A failed candidate keeps its share as long as everything is well.",
        is_sample=True,
    ),
    Fault(
        "draft.py",
        "drain_s = draft.spec.capacity.drain_s if before else 0.0",
        "drain_s = 0.0",
        "A version is stopped while its last requests are being answered: users see errors.",
    ),
    Fault(
        "draft.py",
        "return generation != PENDING and not lagging(draft, generation)",
        "return not lagging(draft, generation)",
        "A plan that was not even numbered counts as acknowledged.",
    ),
    Fault(
        "draft.py",
        "attempt = attempt_of(draft.status.failed, candidate.identity)",
        "attempt = 1",
        "A retried version is rolled back at once for what its first try did.",
    ),
    Fault(
        "draft.py",
        "latch(draft, failed)",
        "latch(draft, replace(failed, is_latched=False))",
        "A version that failed is tried again and again, without anybody having asked.",
        inside="fail",
        is_sample=True,
    ),
    Fault(
        "draft.py",
        "draft.status = replace(draft.status, history=(*draft.status.history, entry)[-HISTORY_MAX:])",
        "draft.status = replace(draft.status, history=(*draft.status.history, entry))",
        "The stored status grows until it can no longer be stored.",
    ),
)

MACHINE = (
    Fault(
        "machine.py",
        "draft.elapsed_s = min(max(draft.now - status.clock_at, 0.0), TICK_S_MAX) if status.clock_at else 0.0",
        "draft.elapsed_s = max(draft.now - status.clock_at, 0.0) if status.clock_at else 0.0",
        "An hour without a controller, or a clock set forward, counts as an hour of observation.",
    ),
    Fault(
        "machine.py",
        "draft.elapsed_s = min(max(draft.now - status.clock_at, 0.0), TICK_S_MAX) if status.clock_at else 0.0",
        "draft.elapsed_s = min(draft.now - status.clock_at, TICK_S_MAX) if status.clock_at else 0.0",
        "A clock set back an hour makes a step last an hour longer.",
    ),
    Fault(
        "machine.py",
        "runs = candidate.acknowledged_at is not None and is_ready",
        "runs = is_ready",
        "A step's time runs before any router carries its traffic.",
    ),
    Fault(
        "machine.py",
        "runs = candidate.acknowledged_at is not None and is_ready",
        "runs = candidate.acknowledged_at is not None",
        "A step's time runs while the candidate has no endpoint and so no traffic.",
    ),
    Fault(
        "machine.py",
        "waiting_s=0.0 if is_ready else candidate.waiting_s + draft.elapsed_s,",
        "waiting_s=candidate.waiting_s + draft.elapsed_s,",
        "A healthy version is rolled back at the progress deadline.",
    ),
    Fault(
        "machine.py",
        "no_data_s=candidate.no_data_s + draft.elapsed_s if is_blind else 0.0,",
        "no_data_s=candidate.no_data_s + (draft.elapsed_s if is_blind else 0.0),",
        "A provider that hiccups a second a minute makes every rollout fail for want of data.",
    ),
    Fault(
        "machine.py",
        "if trial.is_draining(retiring) and drafts.is_acknowledged(draft, retiring.since_generation):",
        "if trial.is_draining(retiring):",
        "A version is stopped while a router still sends it traffic.",
    ),
    Fault(
        "machine.py",
        "if retiring.elapsed_s >= retiring.drain_s:",
        "if retiring.elapsed_s:",
        "Requests in flight are cut: the drain time is not waited for.",
    ),
    Fault(
        "machine.py",
        "if retiring.warm_until is not None and draft.now >= retiring.warm_until:",
        "if retiring.warm_until is not None:",
        "The version to go back to is stopped as soon as it has drained.",
    ),
    Fault(
        "machine.py",
        "if candidate is None or draft.is_paused:",
        "if candidate is None:",
        "A rollout that somebody paused over the weekend is rolled back for having lasted too long.",
        inside="_turn_clocks",
    ),
    Fault(
        "machine.py",
        "epoch=max(draft.status.epoch, draft.observed.epoch),",
        "epoch=draft.observed.epoch,",
        "After a restored database the routers refuse every plan, being ahead of the controller.",
    ),
    Fault(
        "machine.py",
        "generation = status.generation + (named != status.plan_digest)",
        "generation = status.generation + (named != status.endpoints_digest)",
        "Every second of rest makes a new plan: the routers never settle, and steady state is not silent.",
    ),
    Fault(
        "machine.py",
        "if not is_edited and drafts.weight_of(draft, candidate.name) > step.weight:",
        "if is_edited and drafts.weight_of(draft, candidate.name) > step.weight:",
        "A share above what the step allows, from a bad restore, stays.",
    ),
)

TRIAL = (
    Fault(
        "trial.py",
        "if router.pinned is not None:",
        'if router.pinned == "":',
        "The ramp goes on while somebody holds a router to one version in an emergency.",
    ),
    Fault(
        "trial.py",
        "if router.error:",
        "if router.error is None:",
        "The ramp goes on although a router refused the plan.",
    ),
    Fault(
        "trial.py",
        "if step.weight <= drafts.weight_of(draft, candidate.name):",
        "if step.weight <= drafts.weight_of(draft, candidate.name) + 100:",
        "Small increases are made with no stable to go back to and without the routers.",
    ),
    Fault(
        "trial.py",
        "if not draft.is_ready(draft.status.stable):",
        "if draft.status.stable is None:",
        "The share rises while stable has no endpoint to go back to.",
        inside="obstacle",
    ),
    Fault(
        "trial.py",
        "if not draft.is_ready(candidate):",
        "if candidate.failed is not None:",
        "Traffic goes to a version that has no endpoint.",
        inside="obstacle",
    ),
    Fault(
        "trial.py",
        "if result.verdict is Verdict.FAIL and not result.dry_run:",
        "if result.verdict is Verdict.FAIL:",
        "A dry-run check, which decides nothing, rolls back.",
    ),
    Fault(
        "trial.py",
        "if result.verdict is Verdict.FAIL and not result.dry_run:",
        "if result.verdict is Verdict.FAIL and result.required and not result.dry_run:",
        "A check that only watches sees the version fail, and nothing is done.",
    ),
    Fault(
        "trial.py",
        "if (trip.identity, trip.attempt) == (candidate.identity, candidate.attempt):",
        "if trip.identity == candidate.identity:",
        "A retried version is rolled back at once for the guard's trip of its first try.",
    ),
    Fault(
        "trial.py",
        "if policy.on_no_data is OnInconclusive.ROLLBACK and candidate.no_data_s >= policy.no_data_timeout_s:",
        "if policy.on_inconclusive is OnInconclusive.ROLLBACK and candidate.no_data_s >= policy.no_data_timeout_s:",
        "Missing data is treated as the user wrote for evidence that proves nothing.",
    ),
    Fault(
        "trial.py",
        "too_long = step.max_stay_s is not None and candidate.stage_s >= step.max_stay_s",
        "too_long = step.max_stay_s is not None and candidate.step_s >= step.max_stay_s",
        "A stage whose candidate never gets ready outlives its maxStay.",
    ),
    Fault(
        "trial.py",
        "if candidate is None or candidate.failed is not None or draft.is_paused:",
        "if candidate is None or candidate.failed is not None:",
        "A paused rollout goes on.",
        is_sample=True,
    ),
    Fault(
        "trial.py",
        "if not drafts.is_acknowledged(draft, candidate.issued_generation):",
        "if candidate.issued_generation == PENDING:",
        "A step counts as acknowledged although no router has its plan.",
    ),
    Fault(
        "trial.py",
        "left = step.min_s - candidate.step_s",
        "left = step.min_s - candidate.stage_s",
        "Time before the acknowledgement, and that of earlier weights, counts for the present one.",
    ),
    Fault(
        "trial.py",
        'return "no measurement yet"',
        "return None",
        "A check that was never measured counts as passed.",
        is_sample=True,
    ),
    Fault(
        "trial.py",
        "if result.lack is Lack.NO_DATA:",
        "if result.lack is Lack.NO_DATA and not is_permitted:",
        "A version nobody has any data about is promoted because the user allowed undecided ones.",
    ),
    Fault(
        "trial.py",
        "if result.is_holding:",
        "if result.is_holding and gate is Gate.PASS:",
        "A version shown to be worse than stable still gets more users.",
    ),
    Fault(
        "trial.py",
        "if gate is Gate.PASS and result.verdict is not Verdict.PASS:",
        "if gate is Gate.PASS and result.verdict is Verdict.FAIL:",
        "An undecided version is promoted.",
    ),
    Fault(
        "trial.py",
        'return None if result.is_fresh else f"too few requests in this step; {result.text}"',
        "return None",
        "A timed step goes on without a single request at its own weight.",
    ),
    Fault(
        "trial.py",
        "share = steps.at(compiled, candidate.step + 1).weight / FULL",
        "share = steps.at(compiled, candidate.step).weight / FULL",
        "The risk budget is held against the present weight, and broken by the next.",
    ),
    Fault(
        "trial.py",
        "risk = share * max(result.high, 0.0)",
        "risk = share * max(result.low or 0.0, 0.0)",
        "The risk budget is held against the best case.",
    ),
    Fault(
        "trial.py",
        "allowed = draft.spec.policy.on_inconclusive is OnInconclusive.PROMOTE",
        "allowed = draft.spec.policy.on_inconclusive is not OnInconclusive.ROLLBACK",
        "`onInconclusive: hold` promotes what nobody proved.",
    ),
    Fault(
        "trial.py",
        "return allowed and is_overdue(draft.spec, candidate, step)",
        "return allowed",
        "`onInconclusive: promote` promotes at once instead of after maxStay.",
    ),
    Fault(
        "trial.py",
        "old.name, old.identity, PENDING, capacity.drain_s, 0.0 if was_failed else capacity.keep_stable_warm_s",
        "old.name, old.identity, PENDING, capacity.drain_s, capacity.keep_stable_warm_s if was_failed else 0.0",
        "After a promotion there is no warm version to go back to in one write.",
    ),
    Fault(
        "trial.py",
        "stable=VersionRef(candidate.name, candidate.identity),",
        "stable=VersionRef(old.name, candidate.identity),",
        "The promoted version gets the name of the one it replaced.",
    ),
    Fault(
        "trial.py",
        "return any(failed.identity == identity and failed.is_latched for failed in status.failed)",
        "return any(failed.identity == identity for failed in status.failed)",
        "`retry` is accepted and does nothing.",
    ),
    Fault(
        "trial.py",
        "is_inside = index < window.versions and draft.now - past[index].until <= window.within_s",
        "is_inside = index < window.versions or draft.now - past[index].until <= window.within_s",
        "A version of last year gets all traffic in one flip.",
    ),
    Fault(
        "trial.py",
        "acknowledged_at=None,",
        "acknowledged_at=candidate.acknowledged_at,",
        "A weight's time starts before the routers have it.",
    ),
    Fault(
        "trial.py",
        "step_s=0.0,",
        "step_s=candidate.step_s,",
        "Every weight after the first is skipped: the first one's time counts for all.",
    ),
    Fault(
        "trial.py",
        "approved_by=() if is_new_stage else candidate.approved_by,",
        "approved_by=candidate.approved_by,",
        "One approval counts for every later approval stage too.",
    ),
    Fault(
        "trial.py",
        "if candidate is None or stable is None or candidate.identity == target.identity or candidate.failed:",
        "if candidate is None or stable is None or candidate.name == target.name or candidate.failed:",
        "Another build under the candidate's name goes on where the old one was, unproven.",
    ),
    Fault(
        "trial.py",
        "if seen.is_crash_looping:",
        "if seen.is_crash_looping and candidate.issued_generation:",
        "A version that crashes at its start is watched until the progress deadline.",
    ),
)

ACTIONS = (
    Fault(
        "actions.py",
        "if action.id in draft.status.handled:",
        "if action.id in draft.status.handled[:-1]:",
        "An action that is read twice is done twice: two promotes skip a stage.",
    ),
    Fault(
        "actions.py",
        "if candidate.failed is not None:",
        "if candidate.failed is not None and failing:",
        "A promote of a version that has failed is accepted.",
        inside="_pass_to",
    ),
    Fault(
        "actions.py",
        "failing = [r for r in draft.results if r.verdict is Verdict.FAIL and not r.dry_run]",
        "failing = [r for r in draft.results if r.verdict is Verdict.FAIL and r.dry_run]",
        "A promote is accepted while a check says Fail.",
    ),
    Fault(
        "actions.py",
        "if candidate is None or candidate.name != action.version:",
        "if candidate is None:",
        "A promote meant for v2 promotes v3, which took its place a second ago.",
        inside="_pass_to",
    ),
    Fault(
        "actions.py",
        "if candidate is None or candidate.name != action.version:",
        "if candidate is None:",
        "A pause meant for another version stops this one.",
        inside="_pause",
    ),
    Fault(
        "actions.py",
        "if step.roles and not set(step.roles) & set(action.roles):",
        "if step.roles and action.roles and not set(step.roles) & set(action.roles):",
        "Anybody without any role may approve.",
    ),
    Fault(
        "actions.py",
        "if action.actor not in candidate.approved_by:",
        "if len(candidate.approved_by) < step.quorum:",
        "One person who approves twice is two people.",
    ),
    Fault(
        "actions.py",
        "return next((step.stage for step in between if step.gate is Gate.APPROVAL), None)",
        "return next((step.stage for step in between if step.gate is Gate.PERSON), None)",
        "`promote` gets around an approval.",
    ),
    Fault(
        "actions.py",
        "if wanted[-1].weight == FULL:",
        "if wanted[0].weight == FULL:",
        "`skip-stage` leaves out the flip itself, and with it the checks after it.",
    ),
    Fault(
        "actions.py",
        "freed = tuple(replace(f, is_latched=False) if f.name == action.version else f for f in status.failed)",
        "freed = tuple(replace(f, is_latched=False) for f in status.failed)",
        "`retry` of one version forgives all others too.",
    ),
    Fault(
        "actions.py",
        "if draft.is_ready(previous):",
        "if previous is not None:",
        "A rollback moves everything to a version that is not running.",
    ),
    Fault(
        "actions.py",
        "past=draft.status.past[1:],",
        "past=draft.status.past,",
        "After a rollback the version to go back to is the one that serves.",
    ),
)

PLAN = (
    Fault(
        "plan.py",
        "tries = [f.attempt if f.is_latched else f.attempt + 1 for f in failed if f.identity == identity]",
        "tries = [f.attempt for f in failed if f.identity == identity]",
        "A retried version has the number of its first try: what that one did is held against it.",
    ),
    Fault(
        "plan.py",
        "allow = tuple(name for name in spec.traffic.overrides.allow if name in there)",
        "allow = spec.traffic.overrides.allow",
        "Testers still reach a version that was rolled back.",
    ),
    Fault(
        "plan.py",
        "bare = tuple(msgspec.structs.replace(version, endpoints=()) for version in plan.versions)",
        "bare = plan.versions",
        "Every pod that comes or goes makes the whole rollout wait for acknowledgements again.",
    ),
)

INVARIANTS = (
    Fault(
        "invariants.py",
        'return () if share <= allowed else (f"I1: {candidate.name} has {share}, its step allows {allowed}",)',
        "return ()",
        "The last guard before a wrong share is applied is asleep.",
    ),
    Fault(
        "invariants.py",
        "if _share(after, identity) > _share(before, identity)",
        "if _share(after, identity) < _share(before, identity)",
        "A failed version that gets more users is not stopped, and a rollback is.",
    ),
    Fault(
        "invariants.py",
        "if getattr(after, name) < getattr(before, name)",
        "if getattr(after, name) <= getattr(before, name)",
        "Every decision at rest is refused as a bug.",
    ),
)

ENGINE = (
    Fault(
        "analysis/engine.py",
        "return block.events >= 20 and ratio > 0.2 and ratio > 10 * ordinary",
        "return block.events >= 20 and ratio > 0.2",
        "An outage that both versions share fails the candidate without the clip.",
    ),
    Fault(
        "analysis/engine.py",
        "return block.events >= 20 and ratio > 0.2 and ratio > 10 * ordinary",
        "return ratio > 0.2 and ratio > 10 * ordinary",
        "One failed request in a quiet second is a catastrophe.",
    ),
    Fault(
        "analysis/engine.py",
        "is_clipped = not (catastrophic and evidence.catastrophic)",
        "is_clipped = not catastrophic",
        "A single block of five seconds fails a version.",
    ),
    Fault(
        "analysis/engine.py",
        "by_change = 1 / (changes_spent + 1) - 1 / (max(changes, changes_spent) + 1)",
        "by_change = 1 / (changes_spent + 1)",
        "Every change of weight starts fresh evidence at full strength: false alarms beyond alpha.",
    ),
    Fault(
        "analysis/engine.py",
        "share = tolerance.ratio * _kappa(block)",
        "share = tolerance.ratio",
        "The candidate's 5 % of traffic are compared as if they were half.",
    ),
    Fault(
        "analysis/engine.py",
        "gain = block.events * math.log1p(x) - block.requests * tolerance.plus * x",
        "gain = block.events * math.log1p(x) + block.requests * tolerance.plus * x",
        "What is tolerated counts against the candidate: good versions fail.",
    ),
    Fault(
        "analysis/engine.py",
        "return sum(self.better) * PASS_ALPHA >= 1",
        "return sum(self.better) >= 1",
        "A version passes on the first quiet minute.",
    ),
    Fault(
        "analysis/engine.py",
        "limit = 0.0 if in_outage else (math.log(1 / PASS_ALPHA) + 2.5) / rules.clip_blocks",
        "limit = (math.log(1 / PASS_ALPHA) + 2.5) / rules.clip_blocks",
        "While stable burns, the candidate looks good and is promoted.",
    ),
    Fault(
        "analysis/engine.py",
        "return block.requests > LEAST and (tolerance.is_absolute or block.reference_requests > LEAST)",
        "return block.requests > LEAST",
        "A second in which stable had no request counts as one in which it had no error.",
    ),
)

JUDGE = (
    Fault(
        "analysis/judge.py",
        "CLIP_BLOCKS_OF_SKEW: Final = 5.0",
        "CLIP_BLOCKS_OF_SKEW: Final = 0.0",
        "Versions that Prometheus scrapes at different seconds fail each other on a burst that both had.",
    ),
    Fault(
        "analysis/judge.py",
        "alpha = context.alpha * context.share",
        "alpha = context.alpha",
        "Eight checks raise the chance that a good version is rolled back eightfold.",
        inside="_alpha",
    ),
    Fault(
        "analysis/judge.py",
        "return alpha / 2 if key == WHOLE else alpha / 2 / SLICES_MAX",
        "return alpha / 2",
        "Thirty slices, each tested at full alpha, find something wrong with every version.",
    ),
    Fault(
        "analysis/judge.py",
        "if state.samples.requests < max(check.min_requests, 1):",
        "if state.samples.requests < 1:",
        "A step goes on after one request.",
    ),
    Fault(
        "analysis/judge.py",
        "if any(line.has_failed for line in state.lines.values()):",
        "if state.lines and all(line.has_failed for line in state.lines.values()):",
        "A slice that failed is forgiven as soon as the whole looks good.",
        inside="_judge_one",
    ),
    Fault(
        "analysis/judge.py",
        "if acknowledged_at is None or tick.since < acknowledged_at:",
        "if acknowledged_at is None:",
        "Requests from before the routers carried the step count for it.",
    ),
    Fault(
        "analysis/judge.py",
        "if (state.candidate, state.attempt, state.stable) == (roles.candidate.identity, roles.attempt, stable):",
        "if (state.candidate, state.stable) == (roles.candidate.identity, stable):",
        "A retried version fails at once on the evidence of its first try.",
    ),
    Fault(
        "analysis/judge.py",
        "COVERAGE_MIN: Final = 0.5",
        "COVERAGE_MIN: Final = 0.0",
        "A shadow passes on the few answers that could be compared.",
    ),
    Fault(
        "analysis/judge.py",
        'return Verdict.INCONCLUSIVE, "worse than stable, not shown worse than tolerated: no increase", True',
        'return Verdict.INCONCLUSIVE, "worse than stable, not shown worse than tolerated: no increase", False',
        "The warning that a version is worse than stable stops nothing.",
    ),
    Fault(
        "analysis/judge.py",
        "return tolerance.is_absolute or block.reference_requests >= REFERENCE_MIN or elapsed >= BLOCK_MAX_S",
        "return True",
        "Blocks in which stable had three requests decide.",
    ),
)

DATA = (
    Fault(
        "analysis/series.py",
        "grown += (high - low if high >= low else high) * min(overlap / (after - before), 1.0)",
        "grown += (high - low) * min(overlap / (after - before), 1.0)",
        "A model server that restarts has a negative number of requests.",
    ),
    Fault(
        "analysis/series.py",
        "grown += (high - low if high >= low else high) * min(overlap / (after - before), 1.0)",
        "grown += (high - low if high >= low else low) * min(overlap / (after - before), 1.0)",
        "A model server that restarts has all errors of its life counted again.",
    ),
    Fault(
        "analysis/series.py",
        "start = since if upto is None else upto",
        "start = since",
        "Everything since the step began is counted again at every look.",
    ),
    Fault(
        "analysis/series.py",
        "if now - oldest > bound:",
        "if now - newest > bound:",
        "The candidate's metrics stopped a minute ago, and the last ones go on counting.",
    ),
    Fault(
        "analysis/series.py",
        "if math.isfinite(at) and math.isfinite(value) and value >= 0 and (not kept or at > kept[-1][0]):",
        "if math.isfinite(at) and value >= 0 and (not kept or at > kept[-1][0]):",
        "An infinite sample makes a whole minute useless.",
    ),
    Fault(
        "analysis/reports.py",
        "if base is None or not _runs(report, generation):",
        "if base is None:",
        "Requests a router served under the plan before count for this step.",
    ),
    Fault(
        "analysis/reports.py",
        "return report.at > base.at",
        "return report.at >= base.at",
        "A router that repeats its last report for ever is never silent.",
    ),
    Fault(
        "analysis/reports.py",
        "before: Mapping[str, Counted] = base.counted if base is not None and base.boot == report.boot else {}",
        "before: Mapping[str, Counted] = base.counted if base is not None else {}",
        "After a router restarts, its counts are left out as impossible, or half of them is.",
    ),
    Fault(
        "analysis/reports.py",
        "if (version.identity, version.attempt) == (roles.candidate.identity, roles.attempt):",
        "if version.identity == roles.candidate.identity:",
        "The errors of a first try are held against the second.",
    ),
    Fault(
        "analysis/reports.py",
        "differing = shadow.disagreements + shadow.shadow_failed",
        "differing = shadow.disagreements",
        "A shadow that answers nothing at all agrees with everything.",
    ),
    Fault(
        "analysis/reports.py",
        "if shadow.shadow_identity == roles.candidate.identity and shadow.live_identity == live:",
        "if shadow.shadow_identity == roles.candidate.identity:",
        "Pairs compared with an earlier stable count for this one.",
    ),
    Fault(
        "analysis/latency.py",
        "tolerated = _share_at(slower, index - math.log1p(limit.slower) / math.log(RATIO))",
        "tolerated = _share_at(slower, index + math.log1p(limit.slower) / math.log(RATIO))",
        "A version just as fast as stable is too slow.",
    ),
    Fault(
        "analysis/latency.py",
        "index = min(usable, key=lambda i: abs(math.log(slower[i] / wanted)))",
        "index = max(usable, key=lambda i: abs(math.log(slower[i] / wanted)))",
        "The p99 is judged at the slowest answer there ever was.",
    ),
    Fault(
        "analysis/interval.py",
        "wanted = math.log(2 / alpha)",
        "wanted = math.log(1 / alpha) / 2",
        "The interval that people read misses the truth far more often than it says.",
    ),
    Fault(
        "analysis/dispersion.py",
        "return max(1.0, *(_estimate(level) for level in self.levels)) if self.is_known else ASSUMED",
        "return max(1.0, *(_estimate(level) for level in self.levels))",
        "In the first minutes failures that hang together count as if each were by itself.",
    ),
    Fault(
        "analysis/state.py",
        "if checksum != _checksum(packed):",
        "if not checksum:",
        "Stored evidence that was damaged is believed.",
    ),
)

WARMING = (
    Fault(
        "trial.py",
        "if cold is not None:",
        "if cold is not None and step.weight:",
        "A cold version is sent copies, and is compared while it is slow.",
    ),
    Fault(
        "warming.py",
        "is_first = candidate.issued_generation == 0",
        "is_first = False",
        "A cold version is sent copies, and is compared while it is slow.",
    ),
    Fault(
        "warming.py",
        "if not is_first and step.weight <= drafts.weight_of(draft, candidate.name):",
        "if not is_first:",
        "A version whose process restarted in the middle is raised while it is cold.",
    ),
    Fault(
        "warming.py",
        "return spec.warmup is not None and candidate.warming_s >= spec.warmup.max_wait_s",
        "return spec.warmup is not None and candidate.total_s >= spec.warmup.max_wait_s",
        "A version that took long to start counts as having had its time to warm up.",
    ),
    Fault(
        "warming.py",
        "waited = candidate.warming_s + draft.elapsed_s",
        "waited = candidate.warming_s",
        "maxWait is never over: a version that does not warm up waits for ever.",
    ),
    Fault(
        "warming.py",
        "if draft.spec.warmup is None or candidate.track is Track.RETURN or seen.is_warm:",
        "if draft.spec.warmup is None or seen.is_warm:",
        "Users stay with the version that is to be left until the one before has warmed up.",
    ),
    Fault(
        "warming.py",
        "return not is_overdue(spec, candidate) and not (candidate.issued_generation and has_all)",
        "return not is_overdue(spec, candidate)",
        "A version with all the traffic is sent warm-up requests besides.",
    ),
    Fault(
        "invariants.py",
        "if (seen is not None and seen.is_warm) or candidate.warming_s >= spec.warmup.max_wait_s:",
        "if seen is not None or candidate.warming_s >= spec.warmup.max_wait_s:",
        "A raise of a cold version is not noticed at run time.",
    ),
)

SCHEDULE = (
    Fault(
        "schedule.py",
        "return began + self.for_s if began is not None and began + self.for_s > now else None",
        "return began + self.for_s if began is not None and began + self.for_s >= now else None",
        "A window is still open at the very instant at which it closes.",
    ),
    Fault(
        "schedule.py",
        "return self.until_s if self.from_s <= now < self.until_s else None",
        "return self.until_s if self.from_s < now < self.until_s else None",
        "The first minute of a freeze is open.",
    ),
    Fault(
        "schedule.py",
        "return local + (first - second) if first is not None and second is not None else local",
        "return local",
        "In the second pass of a doubled hour an open window is taken for closed.",
    ),
    Fault(
        "schedule.py",
        "if frozen is None:",
        "if frozen is None or schedule.windows:",
        "A freeze is not kept where there are windows.",
        inside="_state",
    ),
    Fault(
        "schedule.py",
        "if at > now:",
        "if at > now - 7200:",
        "In the second pass of a doubled hour a window is said to open an hour ago.",
        inside="_next_begin",
    ),
    Fault(
        "holds.py",
        "if candidate.track is Track.RETURN or _is_by_person(candidate):",
        "if _is_by_person(candidate):",
        "The way back to a version that was good waits for office hours.",
    ),
    Fault(
        "holds.py",
        "if candidate.track is Track.RETURN or _is_by_person(candidate):",
        "if candidate.track is Track.RETURN:",
        "A person's promote waits for office hours, too.",
    ),
    Fault(
        "holds.py",
        'is_let_in = candidate.issued_generation == 0 and candidate.admitted_by != ""',
        'is_let_in = candidate.admitted_by != ""',
        "Who let a trial start has passed all its steps.",
    ),
    Fault(
        "machine.py",
        "patience = 0.0 if holds.closed(draft) and not _expires(draft, candidate) else draft.elapsed_s",
        "patience = draft.elapsed_s",
        "A weekend outside the windows counts as a rollout that proves nothing, and rolls it back.",
    ),
)

HOOKS = (
    Fault(
        "hooks.py",
        "if outcome is None or asked.answer is not Answer.WANTED:",
        "if outcome is None:",
        "A late answer turns a hook's yes into a no.",
    ),
    Fault(
        "hooks.py",
        "answer = Answer.SUCCEEDED if outcome.is_success else Answer.FAILED",
        "answer = Answer.SUCCEEDED",
        "A hook's no is taken for a yes.",
        is_sample=True,
    ),
    Fault(
        "hooks.py",
        "no = next((asked for asked in answers if asked.answer is not Answer.SUCCEEDED), None)",
        "no = next((asked for asked in answers if asked.answer is Answer.WANTED), None)",
        "A hook that failed holds nothing.",
    ),
    Fault(
        "hooks.py",
        "return None if candidate.track is Track.RETURN else _first_no(draft, _moving(draft, candidate, step))",
        "return _first_no(draft, _moving(draft, candidate, None))",
        "No hook is waited for before an increase.",
    ),
    Fault(
        "hooks.py",
        "new = {id_: hook for id_, hook in hooks.items() if id_ not in known}",
        "new = hooks",
        "A hook is asked in every pass, for ever.",
    ),
    Fault(
        "hooks.py",
        "return effect_id(draft.spec.key, life, trial, identity, attempt, hook, occurrence)",
        "return effect_id(draft.spec.key, life, identity, hook, occurrence)",
        "What was asked before one try is not asked before the next.",
    ),
    Fault(
        "hooks.py",
        "return effect_id(draft.spec.key, life, trial, identity, attempt, hook, occurrence)",
        "return effect_id(draft.spec.key, draft.now, trial, identity, attempt, hook, occurrence)",
        "The same occurrence has another id each time it is looked at.",
    ),
    Fault(
        "hooks.py",
        "moments[HookAt.BEFORE_INCREASE] = _increase(candidate, step)",
        'moments[HookAt.BEFORE_INCREASE] = "increase"',
        "Only the first increase asks its hook.",
    ),
    Fault(
        "hooks.py",
        "if asked.is_fatal and asked.answer is Answer.FAILED and is_of_trial:",
        "if asked.answer is Answer.FAILED and is_of_trial:",
        "A hook that only holds rolls back.",
    ),
    Fault(
        "hooks.py",
        "if AFTER.get(event.reason) is hook.at:",
        "if hook.at in AFTER.values():",
        "The hook of a rollback is told of everything.",
    ),
    Fault(
        "hooks.py",
        "open_ = [asked for asked in effects.asked if asked.answer is Answer.WANTED and _may_come(draft, asked)]",
        "open_ = [asked for asked in effects.asked if asked.answer is Answer.WANTED]",
        "A rolled-back version's hooks are asked on.",
    ),
)

FAULTS: tuple[Fault, ...] = (
    *SLOTS,
    *STEPS,
    *DRAFT,
    *MACHINE,
    *TRIAL,
    *ACTIONS,
    *PLAN,
    *INVARIANTS,
    *WARMING,
    *SCHEDULE,
    *HOOKS,
    *ENGINE,
    *JUDGE,
    *DATA,
)
