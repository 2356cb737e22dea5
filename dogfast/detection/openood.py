"""An evaluation as OpenOOD's evaluator prints it: a table of OOD sets for each score, in percent."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from dogfast.config.detection import OPENOOD
from dogfast.detection.table import Rows
from dogfast.run import publish

COLUMNS = {"FPR@95": "fpr95", "AUROC": "auroc", "AUPR_IN": "aupr_in", "AUPR_OUT": "aupr_out"}


def save_tables(folder: Path, rows: Rows, id_accuracy: float) -> None:
    """Publish ``folder/openood/<score>.csv`` for every score of ``rows``, which hold what the protocol `openood` measures."""
    for score in dict.fromkeys(row["score"] for row in rows):
        table = format_table([row for row in rows if row["score"] == score], id_accuracy)
        publish(folder / OPENOOD / f"{score}.csv", table)


def format_table(rows: Rows, id_accuracy: float) -> str:
    """The near sets and their mean `nearood`, then the far ones and `farood`; two decimals; FPR@95 with OOD as the positive class.

    ``rows``: one an OOD set, of one score; ``id_accuracy`` in [0, 1] stands in every line.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", *COLUMNS, "ACC"])
    for group in sorted({row["group"] for row in rows}, reverse=True):
        measured = {
            row["dataset"]: [row[OPENOOD][measure] for measure in COLUMNS.values()] for row in rows if row["group"] == group
        }
        means = [sum(values) / len(values) for values in zip(*measured.values())]
        for name, values in (measured | {f"{group}ood": means}).items():
            writer.writerow([name, *(f"{100 * value:.2f}" for value in (*values, id_accuracy))])
    return text.getvalue()
