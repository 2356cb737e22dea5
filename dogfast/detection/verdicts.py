"""Is a classifier better than its baseline? A paired bootstrap of FPR95 for every score and OOD set that both were tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dogfast.classifiers.facts import checked_facts
from dogfast.classifiers.loading import RECORD_FILE
from dogfast.detection.table import ID, load_scores
from dogfast.errors import DataError
from dogfast.numerics.bootstrap import Difference, Pair, paired_differences
from dogfast.run import Run, read_json

Scores = dict[str, torch.Tensor]
"""By set (`id` among them) one score of every image, (n,)."""


def judge(scores: dict[str, Scores], digests: dict[str, str], baseline: str, run: Run) -> dict[str, Any]:
    """``scores`` of the images with ``digests`` (SHA-256 by set) against those that classifier ``baseline`` of ``run`` was given.

    ``against``; ``rows`` of ``score, dataset, change, low, high, verdict``; ``means`` of the same over their ``datasets``; and
    ``not_compared``, a sentence for each set or score that is left out. A change is of FPR95, in [-1, 1]; less is better.
    """
    found: dict[str, Any] = {"against": baseline, "rows": [], "means": [], "not_compared": []}
    sizes = {name: len(of_set) for name, of_set in next(iter(scores.values())).items()}
    try:
        other_images = _other_images(digests, baseline, run)
        datasets = [name for name in digests if name not in (ID, *other_images)]
        theirs = _theirs(list(scores), datasets, sizes, run.evaluation(baseline))
    except DataError as error:
        return found | {"not_compared": [str(error)]}
    found["not_compared"] += [f"{name}: {reason}" for name, reason in other_images.items()]
    found["not_compared"] += [f"{score}: {baseline} was not evaluated under it" for score in scores if score not in theirs]
    for score, before in theirs.items() if datasets else ():
        pairs = [_pair(before, scores[score], name) for name in datasets]
        mean, *differences = paired_differences([pairs, *([pair] for pair in pairs)])
        found["means"].append({"score": score, "datasets": datasets} | _row(mean))
        found["rows"] += [{"score": score, "dataset": name} | _row(each) for name, each in zip(datasets, differences)]
    return found


def _other_images(digests: dict[str, str], baseline: str, run: Run) -> dict[str, str]:
    """By set the reason why ``baseline`` has no scores of the same images. Raises DataError where it has none at all."""
    path, record = run.metrics(baseline), run.classifier(baseline) / RECORD_FILE
    if not path.exists():
        raise DataError(f"{baseline} is not evaluated in this run")
    metrics = read_json(path)
    sets = metrics.get("sets") if isinstance(metrics, dict) else None
    known = (
        {name: facts.get("sha256") for name, facts in sets.items() if isinstance(facts, dict)} if isinstance(sets, dict) else {}
    )
    if not known.get(ID):
        raise DataError(f"{path} does not say which images it is of; evaluate {baseline} again")
    if record.exists() and metrics.get("classifier_sha256") != checked_facts(record, read_json(record))["sha256"]:
        raise DataError(f"{baseline} was trained anew after it was evaluated; evaluate it again")
    if known[ID] != digests[ID]:
        raise DataError(f"{baseline} was evaluated on other ID images")
    return {
        name: f"{baseline} was {'not evaluated on it' if name not in known else 'evaluated on other images'}"
        for name, digest in digests.items()
        if known.get(name) != digest
    }


def _theirs(scores: list[str], datasets: list[str], sizes: dict[str, int], folder: Path) -> dict[str, Scores]:
    """The baseline's scores of ``datasets`` and the ID set, by score, as far as there are files; DataError for a wrong one."""
    files = {score: folder / "scores" / f"{score}.safetensors" for score in scores}
    found = {score: load_scores(file) for score, file in files.items() if file.exists()}
    for score, by_set in found.items():
        for name in (ID, *datasets):
            if name not in by_set or len(by_set[name]) != sizes[name]:
                raise DataError(f"{files[score]} does not hold {sizes[name]} scores of {name!r}, as its metrics.json says")
    return found


def _pair(before: Scores, after: Scores, name: str) -> Pair:
    return before[ID], before[name], after[ID], after[name]


def _row(difference: Difference) -> dict[str, Any]:
    return {"change": difference.value, "low": difference.low, "high": difference.high, "verdict": difference.verdict}
