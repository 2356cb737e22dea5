"""Scores × OOD sets: the numbers, and the scores behind them as files."""

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores import Score
from dogfast.errors import DataError
from dogfast.numerics.metrics import detection_metrics, refused_share
from dogfast.run import publish

ID = "id"
SHARES = ("fpr95", "fpr95_ood", "auroc", "aupr_in", "aupr_out")
MEASURES = (*SHARES, "n_id", "n_ood")
Rows = list[dict]


def evaluate_scores(
    id_evidence: Evidence,
    ood_evidence: dict[str, Evidence],
    groups: dict[str, str],
    scores: dict[str, Score],
) -> tuple[Rows, dict[str, dict[str, torch.Tensor]]]:
    """Measure every score on every OOD set.

    ``groups`` says of each OOD set whether it is ``near``, ``far`` or something else; ``scores`` are those of `bound_scores`.
    Returns one row a score and set, score-major (``score, dataset, group`` and :data:`MEASURES`, shares in [0, 1]),
    and by score and then by set (``id`` among them) the scores themselves, (n,) fp32.
    Raises :class:`DataError` naming the set that is empty or scored NaN.
    """
    rows: Rows = []
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    for name, score in scores.items():
        tensors[name] = {ID: score(id_evidence)} | {dataset: score(found) for dataset, found in ood_evidence.items()}
        for dataset in ood_evidence:
            measured = detection_metrics(tensors[name][ID], tensors[name][dataset], id_name=ID, ood_name=dataset)
            row = {"score": name, "dataset": dataset, "group": groups[dataset]}
            rows.append(row | {measure: measured[measure] for measure in MEASURES})
    return rows, tensors


def artefact_control(thresholds: dict[str, float], scores: dict[str, Score], painted_id: Evidence) -> Rows:
    """What share of ID-class images painted by the generator is called OOD where 5 % of the real ones are.

    ``thresholds``: by score, at 95 % ID recall. One row a score: ``score``, ``called_ood`` in [0, 1], ``n``.
    """
    return [
        {
            "score": name,
            "called_ood": refused_share(score(painted_id), thresholds[name], "painted ID images"),
            "n": len(painted_id.logits),
        }
        for name, score in scores.items()
    ]


# --- files ------------------------------------------------------------------------------------------------------
def save_scores(folder: Path, tensors: dict[str, dict[str, torch.Tensor]]) -> None:
    """Publish ``folder/scores/<score>.safetensors``, each with the ID set's scores as ``id`` and a tensor an OOD set."""
    for score, by_dataset in tensors.items():
        content = {dataset: found.detach().float().cpu().contiguous() for dataset, found in by_dataset.items()}
        publish(folder / "scores" / f"{score}.safetensors", safetensors.torch.save(content))


def load_scores(file: Path) -> dict[str, torch.Tensor]:
    """What :func:`save_scores` wrote, (n,) fp32 by data set; :class:`DataError` when it is missing or something else."""
    try:
        tensors = safetensors.torch.load(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); run `dogfast evaluate` to write it") from error
    except (SafetensorError, ValueError, KeyError) as error:
        raise DataError(f"{file} is not a safetensors file ({error}); remove it and run `dogfast evaluate` again") from error
    if not len(tensors.get(ID, ())) or any(t.ndim != 1 or t.dtype != torch.float32 for t in tensors.values()):
        raise DataError(
            f"{file} does not hold scores (fp32 vectors, one of them, {ID!r}, not empty); remove it and run `dogfast evaluate` again"
        )
    for name, scores in tensors.items():
        if scores.isnan().any():
            raise DataError(f"{file}: scores of {name!r} are NaN; remove it and run `dogfast evaluate` again")
    return tensors
