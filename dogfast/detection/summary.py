"""What people read of evaluations in a terminal: the table, and a few lines on what no table shows."""

from __future__ import annotations

from typing import Any

from dogfast.config.detection import ENERGY_OOD, FULL, OPENOOD
from dogfast.detection.protocols import NOTES
from dogfast.detection.table import ID, Rows

HEADINGS = {FULL: "FPR95  AUROC", ENERGY_OOD: "FPR~95  AUROC", OPENOOD: "FPRood  AUROC"}
FALSE_POSITIVES = {FULL: "fpr95", ENERGY_OOD: "fpr_nearest", OPENOOD: "fpr95"}
"""Which measure of a protocol stands before AUROC."""


def format_evaluations(evaluations: dict[str, dict[str, Any]]) -> str:
    """Several `metrics.json` by name: their table, under their protocol where all have the same one, and what else was found."""
    protocols = {found.get("protocol", {}).get("name", FULL) for found in evaluations.values()}
    protocol = protocols.pop() if len(protocols) == 1 else FULL
    table = format_table({name: (found["id_accuracy"], found["rows"]) for name, found in evaluations.items()}, protocol)
    notes = {
        name: [
            format_control(found.get("artefact_control", [])),
            format_corrupted(found.get("corrupted_id", [])),
            format_verdicts(found.get("verdicts", {})),
        ]
        for name, found in evaluations.items()
    }
    return "\n".join([table, *(f"{name}: {note}" for name, found in notes.items() for note in found if note)])


# --- lines ------------------------------------------------------------------------------------------------------
def format_control(control: Rows) -> str:
    """One line on the artefact control, empty where it was not measured."""
    if not control:
        return ""
    shares = ", ".join(f"{row['score']} {100 * row['called_ood']:.1f} %" for row in control)
    return f"artefact control, {control[0]['n']} painted images of the ID classes called OOD: {shares} (real ones: 5 %)"


def format_corrupted(rows: Rows) -> str:
    """One line on the refusal of corrupted ID images: by score that of unharmed ones, and the most that a corruption costs."""
    if not rows:
        return ""
    parts = []
    for score in dict.fromkeys(row["score"] for row in rows):
        unharmed, *others = (row for row in rows if row["score"] == score)
        worst = max(others, key=lambda row: row["refused"])
        parts.append(
            f"{score} {100 * unharmed['refused']:.1f} %, corrupted at most {100 * worst['refused']:.1f} % ({_named(worst)})"
        )
    least = min(rows, key=lambda row: row["id_accuracy"])
    refused = f"refused of {rows[0]['n']} ID images, blurred, noised or JPEG-coded: {'; '.join(parts)}"
    return f"{refused}; accuracy at least {100 * least['id_accuracy']:.1f} % ({_named(least)})"


def _named(row: dict[str, Any]) -> str:
    return f"{row['corruption']} {row['severity']:g}"


def format_verdicts(found: dict[str, Any]) -> str:
    """Change of FPR95 against the baseline by score and set, and what could not be compared; empty for the baseline itself."""
    if not found:
        return ""
    title = f"against {found['against']}, change of FPR95 in points and verdict by a paired bootstrap over the test images"
    apart = [f"not compared with {found['against']}: {reason}" for reason in found["not_compared"]]
    if not found["rows"]:
        return "\n".join(apart)
    datasets = list(dict.fromkeys(row["dataset"] for row in found["rows"]))
    cells = {(row["score"], row["dataset"]): _change(row) for row in found["rows"]}
    means = {row["score"]: _change(row) for row in found["means"]}
    body = [["", score, *(cells[score, dataset] for dataset in datasets), mean] for score, mean in means.items()]
    return "\n".join([title, *_aligned([["", "score", *datasets, "mean"]], body), *apart])


def _change(row: dict[str, Any]) -> str:
    return f"{100 * row['change']:+.2f} {row['verdict']}"


# --- the table --------------------------------------------------------------------------------------------------
def format_table(rows_by_classifier: dict[str, tuple[float, Rows]], protocol: str = FULL) -> str:
    """A plain table: a line a classifier and score; a pair of columns an OOD set, their mean, and the ID accuracy.

    ``rows_by_classifier``: by name the ID accuracy (a fraction) and the rows of `evaluate_scores`, with what ``protocol`` adds.
    Under `openood` the means are those of each group. A set that a classifier was not measured on shows ``–``, and so does
    its mean, which would not be comparable.
    """
    all_rows = [row for _, rows in rows_by_classifier.values() for row in rows]
    datasets = list(dict.fromkeys(row["dataset"] for row in all_rows))
    groups = list(dict.fromkeys(row["group"] for row in all_rows)) if protocol == OPENOOD else []
    means = {group: [row["dataset"] for row in all_rows if row["group"] == group] for group in groups} or {"mean": datasets}
    pairs = len(datasets) + len(means)
    head = [["", "", *datasets, *means, "ID"], ["classifier", "score", *[HEADINGS[protocol]] * pairs, "acc."]]
    body = [
        [
            name,
            score,
            *_pairs(rows, score, [[d] for d in datasets] + list(means.values()), protocol),
            f"{100 * id_accuracy:.2f}",
        ]
        for name, (id_accuracy, rows) in rows_by_classifier.items()
        for score in dict.fromkeys(row["score"] for row in rows)
    ]
    return "\n".join([NOTES[protocol], *_aligned(head, body), _counts(all_rows, datasets, protocol)])


def _pairs(rows: Rows, score: str, columns: list[list[str]], protocol: str) -> list[str]:
    """False positives and AUROC of one classifier and score, as unweighted means over the sets of each column."""
    measured = {row["dataset"]: row if protocol == FULL else row[protocol] for row in rows if row["score"] == score}
    found = {name: (row[FALSE_POSITIVES[protocol]], row["auroc"]) for name, row in measured.items()}
    return [_pair([found.get(dataset) for dataset in dict.fromkeys(column)]) for column in columns]


def _pair(shares: list[tuple[float, float] | None]) -> str:
    if not shares or None in shares:
        return f"{'–':>6} {'–':>6}"
    return " ".join(f"{100 * sum(values) / len(values):6.2f}" for values in zip(*shares))


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


def _counts(rows: Rows, datasets: list[str], protocol: str) -> str:
    """How many images stand behind the numbers; several figures where classifiers saw different ones."""
    sizes = {ID: {(row["n_id"], "") for row in rows}}
    sizes |= {name: {(row["n_ood"], _drawn(row, protocol)) for row in rows if row["dataset"] == name} for name in datasets}
    listed = (f"{name} {'/'.join(f'{drawn}{count}' for count, drawn in sorted(of))}" for name, of in sizes.items() if of)
    return "images: " + (", ".join(listed) or "none")


def _drawn(row: dict[str, Any], protocol: str) -> str:
    return f"{row[protocol]['n_ood']} of " if protocol == ENERGY_OOD else ""
