"""The closed loop: paint, train, see which conditions still fool the classifier and which are merely ID, and paint again.

DOG says that outliers can be adjusted to the detector and leaves open how. Here a round is: the next segment of the plan,
chosen by Thompson sampling from what fooled the classifier so far, without conditions that turned out to be ID; its painting;
a training that goes on from the last classifier, on all that was painted; and a look at the result. A round that did not lower
FPR95 on validation, at the accuracy of the first, is the last. No test image is looked at. Each step stands on disk, so the same
command goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch

from dogfast.classifiers.loading import is_trained
from dogfast.concepts.stage import find_anchors
from dogfast.config import RunConfig
from dogfast.config.detection import FITTING
from dogfast.config.option import require
from dogfast.config.synthesis import fields_of
from dogfast.data.catalogue import IdData, load_id
from dogfast.data.splits import is_validation_outlier, may_train
from dogfast.detection.measure import validation_outliers
from dogfast.detection.opening import run_detector
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.rounds import Outcome, plan_file, read_outcome, read_plan, read_round, write_outcome
from dogfast.run import Run, publish, to_json
from dogfast.shards.reader import count_samples, has_shards, read_records
from dogfast.shards.selection import selected_by_shard
from dogfast.synthesis.conditions import read_conditions
from dogfast.synthesis.job import Job, open_job
from dogfast.synthesis.plan import planned_a_class, planned_a_condition, read_segments, spread
from dogfast.synthesis.stage import claim
from dogfast.training.names import classifier_name, start_name
from dogfast.training.sources import learnable, painted_source
from dogfast.training.stage import tuning_fields
from dogfast.workflows.chain import check_generate, check_rounds, check_train, run_generate, run_train
from dogfast.workflows.refinement.looks import Looker
from dogfast.workflows.refinement.planning import plan_round
from dogfast.workflows.refinement.request import Refinement
from dogfast.workflows.refinement.tally import tally, to_rows
from dogfast.workflows.tune import choose, judged_on_validation


def refine(config: RunConfig, run: Run, events: Events, request: Refinement) -> dict[str, Any]:
    """As many rounds as ``request`` allows and validation rewards; every one adds ``m`` outliers a class.

    Returns a row a round, and which is ``chosen``. The classifier of a later round is `<name>~<round>`. Raises UsageError for
    outliers that are not painted from words and objectives that do not learn from images, RunMismatch where the run was
    refined with other fields.
    """
    outcomes: list[Outcome] = []
    check_refine(config, run)
    source = painted_source(config.training)
    config = config.with_values({"synthesis": fields_of(source)}, "--outliers")
    run.claim(f"refine/{source}", _identity(config, request), has_results=read_outcome(run, source, 1) is not None)
    find_anchors(config, run, events)
    job = open_job(config, run)
    claim(job)
    reason = f"--rounds {request.rounds}"
    for number in range(1, request.rounds + 1):
        of_number = of_round(config, number)
        outcome = _standing(of_number, run) or _round(of_number, run, job, events, request, outcomes)
        if outcome is None:
            reason = "every condition was dropped"
            break
        outcomes.append(outcome)
        events.say(_said(_row(outcome)))
        publish(run.refined(source), to_json(_told(source, outcomes, "not ended yet: `dogfast refine` goes on with it")))
        if number < request.rounds and rounds_without_gain(_validated(outcomes)) >= request.patience:
            reason = f"{request.patience} in a row without a lower FPR95 on validation, at the first round's accuracy"
            break
    result = _told(source, outcomes, reason)
    publish(run.refined(source), to_json(result))
    failed = sum(record.get("failed", 0) for record in read_records(run.outliers(source)))
    return {"run": str(run.root)} | result | {"failed": failed}


def _standing(config: RunConfig, run: Run) -> Outcome | None:
    """What came of a round, as long as it is of the plan and of the classifier that stand."""
    source, number, name = painted_source(config.training), config.training.round, classifier_name(config.training)
    outcome, path = read_outcome(run, source, number), plan_file(run, source, number)
    if outcome is None or not path.exists() or not is_trained(run.classifier(name)):
        return None
    return outcome if (outcome["classifier"], outcome["shards"]) == (name, read_plan(path)["shards"]) else None


def of_round(config: RunConfig, number: int) -> RunConfig:
    return config.with_values({"training": {"round": number}}, "refine")


def check_refine(config: RunConfig, run: Run) -> None:
    """Refuse what would only be noticed after a round."""
    require(not config.synthesis.budget, "rounds are of --m outliers a class each; leave out --budget")
    check_rounds(config)
    check_generate(config, run)
    check_train(config, run)


def _identity(config: RunConfig, request: Refinement) -> dict[str, Any]:
    """What all rounds have in common: how much each paints, how it is trained, and by which scores it is judged."""
    return {
        "classifier": classifier_name(config.training),
        "m": config.synthesis.m,
        "score": request.score,
        **{name: getattr(config.detection, name) for name in ("scores", *FITTING)},
        **tuning_fields(config),
    }


# --- one round --------------------------------------------------------------------------------------------------
def _round(
    config: RunConfig, run: Run, job: Job, events: Events, request: Refinement, outcomes: list[Outcome]
) -> Outcome | None:
    """Plan, paint, train and look; None where no condition is left."""
    began, number, source = time.monotonic(), config.training.round, painted_source(config.training)
    more, before = config.synthesis.m, outcomes[-1] if outcomes else None
    if before is None:
        _require_validation(job, more)
        run_generate(config, run, events)
    elif not has_shards(job.folder):
        raise DataError(f"{job.folder} has lost the outliers of round 1; remove {run.round(source, 1).parent} to refine anew")
    if not plan_round(job, number, more, before):
        return None
    plan = read_plan(plan_file(run, source, number))
    if before:
        for name in _without_condition(job, {row["condition"] for row in plan["dropped"]}):
            events.say(f"{name}: every condition that may train was dropped; its share goes to the other classes")
        planned = planned_a_class(read_segments(run.plan(source)), job.class_of)
        run_generate(config.with_values({"synthesis": {"m": planned}}, "refine"), run, events)
    trained = run_train(config, run, events)
    seen = _look(config, run, events, request, before)
    outcome = {"round": number, "classifier": trained["name"], **plan, **_summed_up(seen["conditions"]), **seen}
    outcome["seconds"] = round(time.monotonic() - began, 1)
    write_outcome(run, source, number, outcome)
    return outcome


def _require_validation(job: Job, m: int) -> None:
    """Raise DataError where none of ``m`` outliers a class, nor of those that are planned already, would validate."""
    planned = planned_a_condition(read_segments(job.run.plan(job.source)))
    painted = {*planned, *spread(job.class_of, m, planned)}
    if job.config.data.classes != "shapes" and not any(is_validation_outlier(job.conditions[row]) for row in painted):
        raise DataError(
            f"no outlier of {job.source!r} would be of a validation word (a tenth of all words, by hash), on which rounds are judged; "
            "find more anchors (--top-k), paint more of them (--m), or leave refine out"
        )


def _without_condition(job: Job, dropped: set[int]) -> list[str]:
    """The classes of which all conditions that may train are ``dropped``."""
    training = [(row, each) for row, each in enumerate(job.conditions) if may_train(each)]
    left = {each["class_name"] for row, each in training if row not in dropped}
    return sorted({each["class_name"] for _, each in training} - left)


def _look(config: RunConfig, run: Run, events: Events, request: Refinement, last: Outcome | None) -> Outcome:
    """What the round's classifier accepts of all that trained it, and what it is worth on validation images."""
    settings, data = config.training, load_id(config.data)
    source, name = painted_source(settings), classifier_name(settings)
    before, now = (
        run_detector(config, run, each, request.score, config.model.device, events) for each in (start_name(settings), name)
    )
    plain = config.with_values({"model": {"lora": ""}}, "refine")
    words = [each["anchor"] for each in read_conditions(run.conditions, source)]
    look = Looker(plain, data, words, _of_first_round(config, run, data, now.side_px), events)
    images = count_samples(run.outliers(source))
    with events.progress(f"look at {source}", images) as advance:
        first_new = last["shards"] if last else 0
        rows = to_rows(tally(run.outliers(source), data.codec, learnable(settings, run), first_new, before, now, look, advance))
    earlier = {row["condition"]: row["fooled_in_all"] for row in last["conditions"]} if last else {}
    rows = [row | {"fooled_in_all": earlier.get(row["condition"], 0) + row["fooled"]} for row in rows]
    validation = judged_on_validation(config, run.classifier(name), data, _validation(config, run, source, data))
    return {"score": request.score, "conditions": rows, "bounds": look.bounds, "validation": validation}


def _of_first_round(config: RunConfig, run: Run, data: IdData, side_px: int) -> Iterator[torch.Tensor]:
    """What the first round learned from, a shard at a time: the same for every round."""
    belongs = learnable(of_round(config, 1).training, run)
    folder = run.outliers(painted_source(config.training))
    return (outliers.images for outliers in selected_by_shard(folder, side_px, data.codec, belongs))


def _validation(config: RunConfig, run: Run, source: str, data: IdData) -> torch.Tensor:
    """What every round is judged on: the validation outliers of the first one, so that all see the same."""
    found = validation_outliers(config, run, data, (source,), read_round(run, source, 1).holds)
    if found is None:
        raise DataError(f"the first round of {source!r} painted no outlier of a validation word; paint more of them (--m)")
    return found


# --- what is told -----------------------------------------------------------------------------------------------
ROW = ("round", "classifier", "images", "new", "fooled", "like_id", "accepted", "seconds")


def _summed_up(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What of all conditions is told: ``fooled`` and ``like_id`` are shares of the new images, ``accepted`` is one of all."""
    total = {name: sum(row[name] for row in rows) for name in ("images", "new", "fooled", "new_like_id", "accepted")}
    new, images = max(1, total["new"]), max(1, total["images"])
    shares = {"fooled": total["fooled"] / new, "like_id": total["new_like_id"] / new, "accepted": total["accepted"] / images}
    return {"images": total["images"], "new": total["new"], **{name: round(share, 4) for name, share in shares.items()}}


def _row(outcome: Outcome) -> dict[str, Any]:
    validation = {name: round(outcome["validation"][name], 4) for name in ("fpr95", "accuracy")}
    return {name: outcome[name] for name in ROW} | validation | {"dropped": len(outcome["dropped"])}


def _told(source: str, outcomes: list[Outcome], ended: str) -> dict[str, Any]:
    best = best_round(_validated(outcomes))
    return {
        "source": source,
        "rounds": [_row(outcome) for outcome in outcomes],
        "chosen": best + 1,
        "classifier": outcomes[best]["classifier"],
        "ended": ended,
    }


def _said(row: dict[str, Any]) -> str:
    return (
        f"round {row['round']}: of {row['new']} new outliers {row['fooled']:.1%} fooled the classifier before it, and "
        f"{row['like_id']:.1%} look ID and do not count; {row['classifier']} has FPR95 {row['fpr95']:.2%} and accuracy {row['accuracy']:.2%} on "
        "validation"
    )


def best_round(rounds: list[dict[str, Any]]) -> int:
    """The place of the round of lowest ``fpr95`` among those that kept the first one's ``accuracy``, but for what `choose` lets them
    give up."""
    return choose(rounds, rounds[0]["accuracy"])


def rounds_without_gain(rounds: list[dict[str, Any]]) -> int:
    """How many of the last ``rounds`` were not the best so far."""
    return len(rounds) - 1 - best_round(rounds)


def _validated(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    return [outcome["validation"] for outcome in outcomes]
