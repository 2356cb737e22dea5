"""Scores × OOD sets: the numbers, the scores behind them as files, and the table people read in a terminal."""

from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.scores import Score
from dogfast.errors import DataError, UsageError
from dogfast.numerics.metrics import detection_metrics, threshold_at_recall
from dogfast.run import publish

ID = "id"
CONVENTION = "FPR95 ↓ share of OOD accepted at 95 % ID recall / AUROC ↑, percent"
MEASURES = ("fpr95", "fpr95_ood", "auroc", "aupr_in", "aupr_out", "n_id", "n_ood")
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
    Raises :class:`DataError` naming the set that is empty or scored NaN, :class:`UsageError` on an OOD set called ``id``.
    """
    if ID in ood_evidence:
        raise UsageError(f"--ood: an OOD set cannot be called {ID!r}, which names the ID set; call it otherwise")
    rows: Rows = []
    tensors: dict[str, dict[str, torch.Tensor]] = {}
    for name, score in scores.items():
        tensors[name] = {ID: score(id_evidence)} | {dataset: score(found) for dataset, found in ood_evidence.items()}
        for dataset in ood_evidence:
            measured = detection_metrics(tensors[name][ID], tensors[name][dataset], id_name=ID, ood_name=dataset)
            row = {"score": name, "dataset": dataset, "group": groups[dataset]}
            rows.append(row | {measure: measured[measure] for measure in MEASURES})
    return rows, tensors


def artefact_control(found: dict[str, dict[str, torch.Tensor]], scores: dict[str, Score], painted_id: Evidence) -> Rows:
    """What share of ID-class images painted by the generator is called OOD where 5 % of the real ones are.

    ``found``: what :func:`evaluate_scores` returned of ``scores``. One row a score: ``score``, ``called_ood`` in [0, 1], ``n``.
    """
    thresholds = {name: threshold_at_recall(of_sets[ID]) for name, of_sets in found.items()}
    return [
        {
            "score": name,
            "called_ood": float((score(painted_id).double() < thresholds[name]).double().mean()),
            "n": len(painted_id.logits),
        }
        for name, score in scores.items()
    ]


def format_evaluations(evaluations: dict[str, dict]) -> str:
    """The table of several `metrics.json` by name, and a line on each artefact control that was measured."""
    table = format_table({name: (found["id_accuracy"], found["rows"]) for name, found in evaluations.items()})
    controls = {name: format_control(found.get("artefact_control", [])) for name, found in evaluations.items()}
    return "\n".join([table, *(f"{name}: {line}" for name, line in controls.items() if line)])


def format_control(control: Rows) -> str:
    """One line on the artefact control, empty where it was not measured."""
    if not control:
        return ""
    shares = ", ".join(f"{row['score']} {100 * row['called_ood']:.1f} %" for row in control)
    return f"artefact control, {control[0]['n']} painted images of the ID classes called OOD: {shares} (real ones: 5 %)"


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
    if ID not in tensors or any(t.ndim != 1 or t.dtype != torch.float32 for t in tensors.values()):
        raise DataError(
            f"{file} does not hold scores (fp32 vectors, one called {ID!r}); remove it and run `dogfast evaluate` again"
        )
    return tensors


# --- for people -------------------------------------------------------------------------------------------------
def format_table(rows_by_classifier: dict[str, tuple[float, Rows]]) -> str:
    """A plain table: a line a classifier and score; a pair of columns an OOD set, their mean, and the ID accuracy.

    ``rows_by_classifier``: by name the ID accuracy (a fraction) and the rows of :func:`evaluate_scores`. A set that
    a classifier was not measured on shows ``–``, and so does its mean, which would not be comparable.
    """
    all_rows = [row for _, rows in rows_by_classifier.values() for row in rows]
    datasets = list(dict.fromkeys(row["dataset"] for row in all_rows))
    head = [["", "", *datasets, "mean", "ID"], ["classifier", "score", *["FPR95  AUROC"] * (len(datasets) + 1), "acc."]]
    body = [
        [name, score, *_pairs(rows, score, datasets), f"{100 * id_accuracy:.2f}"]
        for name, (id_accuracy, rows) in rows_by_classifier.items()
        for score in dict.fromkeys(row["score"] for row in rows)
    ]
    return "\n".join([CONVENTION, *_aligned(head, body), _counts(all_rows, datasets)])


def _pairs(rows: Rows, score: str, datasets: list[str]) -> list[str]:
    """``FPR95 AUROC`` of one classifier and score on each set, then their unweighted mean over all sets."""
    found = {row["dataset"]: (row["fpr95"], row["auroc"]) for row in rows if row["score"] == score}
    if len(found) == len(datasets):
        mean = tuple(sum(values) / len(datasets) for values in zip(*found.values()))
    else:
        mean = None
    return [_pair(found.get(dataset)) for dataset in datasets] + [_pair(mean)]


def _pair(shares: tuple[float, ...] | None) -> str:
    return f"{'–':>6} {'–':>6}" if shares is None else " ".join(f"{100 * share:6.2f}" for share in shares)


def _aligned(head: list[list[str]], body: list[list[str]]) -> list[str]:
    """Columns as wide as their widest cell: words to the left, numbers to the right; a rule below ``head``."""
    widths = [max(map(len, column)) for column in zip(*head, *body)]
    lines = [
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in head + body
    ]
    return [*lines[: len(head)], "─" * (sum(widths) + 2 * (len(widths) - 1)), *lines[len(head) :]]


def _counts(rows: Rows, datasets: list[str]) -> str:
    """How many images stand behind the numbers; several figures where classifiers saw different ones."""
    sizes = {ID: {row["n_id"] for row in rows}} | {d: {row["n_ood"] for row in rows if row["dataset"] == d} for d in datasets}
    listed = (f"{name} {'/'.join(map(str, sorted(counts)))}" for name, counts in sizes.items() if counts)
    return "images: " + (", ".join(listed) or "none")
