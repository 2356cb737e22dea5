"""Rows of a benchmark over seeds: means, changes against a baseline with their bootstrap intervals, and verdicts.

A row is a folder per seed with `metrics.json` and `scores/`, as `detection.measure` found and `save_scores` wrote them.
"""

from pathlib import Path
from typing import Any

import torch

from dogfast.detection.table import ID, load_scores
from dogfast.numerics.bootstrap import Difference, paired_difference
from dogfast.run import read_json

Scores = list[dict[str, dict[str, torch.Tensor]]]
"""Of one row, by seed: the scores of every image by score and set."""


def compare(
    folders: dict[str, list[Path]], baselines: tuple[str, ...], judged: tuple[str, ...], reference: str = ""
) -> dict[str, Any]:
    """Every row of ``folders`` (by name a folder a seed) against the best of ``baselines``, by mean FPR95 over the sets ``judged``.

    ``reference`` names a row whose gain the other gains are shares of. Only under the scores that every row has.
    """
    measured = {name: [read_json(folder / "metrics.json") for folder in of_row] for name, of_row in folders.items()}
    scores = {name: [_scores_of(folder) for folder in of_row] for name, of_row in folders.items()}
    rows = {name: _row_result(found, judged) for name, found in measured.items()}
    for score in [score for score in rows[baselines[0]]["judged"] if all(score in row["judged"] for row in rows.values())]:
        base = min(baselines, key=lambda name: rows[name]["judged"][score]["mean"])
        for name, row in rows.items():
            found = row["judged"][score]
            found |= {"baseline": base} | _change(scores[base], scores[name], score, judged)
            found |= _direction(rows[base]["judged"][score], found)
        if reference:
            _add_shares(rows, base, reference, score)
    return rows


def _scores_of(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {path.stem: load_scores(path) for path in sorted((folder / "scores").glob("*.safetensors"))}


def _row_result(measured: list[dict[str, Any]], judged_sets: tuple[str, ...]) -> dict[str, Any]:
    """Means over the seeds, in percent: ID accuracy, FPR95 and AUROC of every set and score, artefact control."""
    mean = lambda values: 100 * sum(values) / len(values)  # noqa: E731
    found = [{(row["score"], row["dataset"]): row for row in m["rows"]} for m in measured]
    keys = list(found[0])
    cell = {
        key: {measure: mean([of_seed[key][measure] for of_seed in found]) for measure in ("fpr95", "auroc")} for key in keys
    }
    assert all((score, name) in cell for score, _ in keys for name in judged_sets), "a judged set was not measured"
    judged = {}
    for score in dict.fromkeys(score for score, _ in keys):
        by_seed = [mean([of_seed[score, name]["fpr95"] for name in judged_sets]) for of_seed in found]
        auroc = mean([of_seed[score, name]["auroc"] for of_seed in found for name in judged_sets])
        judged[score] = {"by_seed": by_seed, "mean": sum(by_seed) / len(by_seed), "auroc": auroc}
    controls = [{row["score"]: row["called_ood"] for row in m["artefact_control"]} for m in measured]
    return {
        "id_accuracy": mean([m["id_accuracy"] for m in measured]),
        "sets": {score: {d: cell[s, d] for s, d in keys if s == score} for score in judged},
        "judged": judged,
        "artefact_control": {score: mean([c[score] for c in controls]) for score in judged},
    }


def _change(base: Scores, other: Scores, score: str, judged: tuple[str, ...]) -> dict[str, Any]:
    """Change of FPR95 on the sets ``judged``, percent, its interval over test images, and what that says."""
    difference = _difference(base, other, score, judged)
    return {
        "change": 100 * difference.value,
        "interval": [100 * difference.low, 100 * difference.high],
        "verdict": difference.verdict,
    }


def _direction(base: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The change relative to the baseline; a verdict only where all seeds went the same way."""
    by_seed = [b - a for a, b in zip(base["by_seed"], row["by_seed"])]
    agree = all(change < 0 for change in by_seed) or all(change > 0 for change in by_seed)
    verdict = row["verdict"] if agree else "undecided"
    return {"verdict": verdict, "relative_change": (row["mean"] - base["mean"]) / base["mean"] if base["mean"] else None}


def _add_shares(rows: dict[str, Any], base: str, reference: str, score: str) -> None:
    """What share of the reference's gain over the baseline each row has."""
    start = rows[base]["judged"][score]["mean"]
    gap = start - rows[reference]["judged"][score]["mean"]
    for name, row in rows.items():
        share = (start - row["judged"][score]["mean"]) / gap if gap > 0 and name != base else None
        row["judged"][score]["share_of_reference"] = share


def _difference(base: Scores, other: Scores, score: str, sets: tuple[str, ...]) -> Difference:
    return paired_difference(
        [(a[score][ID], a[score][name], b[score][ID], b[score][name]) for a, b in zip(base, other) for name in sets]
    )
