"""What a classifier is worth over seeds, in percent, and whether it is better than another: means, spreads and verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import mean, stdev
from typing import Any

import torch

from dogfast.detection.table import ID, load_scores
from dogfast.errors import DataError
from dogfast.numerics.bootstrap import Difference, Pair, paired_differences
from dogfast.reporting.inputs import PAINTED, Evaluation

MEASURES = ("fpr95", "auroc")
AVERAGE = ""
"""Among names of sets: their mean."""
Seeds = dict[int, Evaluation]
"""One classifier's evaluations by seed."""


def spread(values: list[float]) -> dict[str, Any]:
    """Mean and standard deviation over seeds (of the sample; None of one seed), and each of them."""
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None, "by_seed": values}


def scores_in(seeds: Seeds) -> list[str]:
    """The scores that every one of ``seeds`` was evaluated under."""
    first, *others = ({result.score: None for result in evaluation.results} for evaluation in seeds.values())
    return [score for score in first if all(score in other for other in others)]


def figures(seeds: Seeds, score: str, sets: list[str]) -> dict[str, Any]:
    """`MEASURES` of every set, and of their unweighted mean, as `spread` over ``seeds``, in percent."""
    values = {name: [_result(evaluation, score, name) for evaluation in seeds.values()] for name in sets}
    of_set = {
        name: {measure: spread([100 * getattr(r, measure) for r in found]) for measure in MEASURES}
        for name, found in values.items()
    }
    average = {measure: spread(_means([of_set[name][measure]["by_seed"] for name in sets])) for measure in MEASURES}
    return {"sets": of_set, "average": average}


def painted_id_called_ood(seeds: Seeds, scores: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The artefact control by score, as `spread` in percent, for the scores under which every one of ``seeds`` has it."""
    found = {
        score: [r.share for e in seeds.values() for r in e.refusals if (r.score, r.kind) == (score, PAINTED)]
        for score in scores
    }
    return {score: spread([100 * share for share in shares]) for score, shares in found.items() if len(shares) == len(seeds)}


def counts(seeds: Seeds, score: str, sets: list[str]) -> dict[str, Any]:
    """How many images stand behind the figures: one number a set, or several where seeds differ."""
    found = {name: [_result(evaluation, score, name) for evaluation in seeds.values()] for name in sets}
    n_id = {result.n_id for results in found.values() for result in results}
    return {"n_id": sorted(n_id), "n_ood": {name: sorted({r.n_ood for r in results}) for name, results in found.items()}}


def verdict(base: Seeds, base_score: str, other: Seeds, score: str, sets: list[str]) -> dict[str, Any]:
    """Is ``other``'s FPR95 lower than ``base``'s? By the mean over ``sets`` and by each of them: change, interval, verdict.

    A paired bootstrap over test images, in the seeds that both have; where the seeds do not all go the same way, the verdict
    is `undecided`, for the interval knows nothing of them. Raises DataError where the two did not see the same images.
    """
    shared = [seed for seed in other if seed in base]
    pairs = {name: [] for name in sets}
    for seed in shared:
        for name, pair in _pairs(base[seed], base_score, other[seed], score, sets).items():
            pairs[name].append(pair)
    before, after = (
        figures({seed: side[seed] for seed in shared}, by, sets) for side, by in ((base, base_score), (other, score))
    )
    groups = {AVERAGE: [pair for of_set in pairs.values() for pair in of_set]} | pairs
    found = {
        name: _judged(difference, _fpr95(before, name), _fpr95(after, name))
        for name, difference in zip(groups, paired_differences(list(groups.values())))
    }
    return {"score": base_score, **found.pop(AVERAGE), "sets": found}


def _judged(difference: Difference, before: list[float], after: list[float]) -> dict[str, Any]:
    changes = [new - old for old, new in zip(before, after)]
    agree = all(change < 0 for change in changes) or all(change > 0 for change in changes)
    return {
        "change": mean(changes),
        "interval": [100 * difference.low, 100 * difference.high],
        "verdict": difference.verdict if agree else "undecided",
    }


def _fpr95(found: dict[str, Any], name: str) -> list[float]:
    return (found["average"] if name == AVERAGE else found["sets"][name])["fpr95"]["by_seed"]


def _pairs(base: Evaluation, base_score: str, other: Evaluation, score: str, sets: list[str]) -> dict[str, Pair]:
    """By set the scores of ``base`` and of ``other`` on ID and OOD images."""
    sides = _scores(base, base_score, sets), _scores(other, score, sets)
    for name in (ID, *sets):
        if len(sides[0][name]) != len(sides[1][name]):
            places = " and ".join(str(each.scores.parent) for each in (base, other))
            raise DataError(f"{places} are of other images of {name!r}; remove both and run `dogfast compare` again")
    return {name: tuple(side[part] for side in sides for part in (ID, name)) for name in sets}


def _means(by_set: list[list[float]]) -> list[float]:
    """Of each seed the mean over sets."""
    return [mean(of_seed) for of_seed in zip(*by_set)]


def _result(evaluation: Evaluation, score: str, dataset: str) -> Any:
    found = evaluation.result(score, dataset)
    if found is None:
        raise DataError(f"{evaluation.scores.parent} has no {score} of {dataset!r}; remove it and run `dogfast compare` again")
    return found


def _scores(evaluation: Evaluation, score: str, sets: list[str]) -> dict[str, torch.Tensor]:
    file = evaluation.scores / f"{score}.safetensors"
    found = load_scores(file)
    missing = [name for name in sets if name not in found]
    if missing:
        raise DataError(f"{file} has no scores of {missing[0]!r}; remove {file.parents[1]} and run `dogfast compare` again")
    return found
