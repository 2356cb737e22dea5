"""Tables as CSV: a line a row, score and OOD set, so that any program can filter them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from dogfast.workflows.comparison.measured import MEASURES

WHOLE = "(average)"
"""Stands in the column of the sets for the mean over them."""
COLUMNS = (
    "table", "group", "method", "classifier", "outliers", "score", "judged", "status", "seeds", "id_accuracy",
    "artefact_control", "dataset", "n_id", "n_ood", "fpr95", "fpr95_std", "auroc", "auroc_std", "against_ce",
    "published_fpr95", "published_auroc", "printed_fpr95", "printed_auroc",
)  # fmt: skip


def csv_text(columns: tuple[str, ...], lines: Iterator[dict[str, Any]]) -> str:
    """Lines of these columns with a head; what a line lacks stays empty."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def flat(table: dict[str, Any]) -> str:
    """A table of `build_table`. Published figures stand in the lines of the row's own score; beside their average, which
    is the mean of the row where the paper's is wrong, what the paper prints."""
    return csv_text(COLUMNS, (line for row in table["rows"] for line in _lines(table, row)))


def _lines(table: dict[str, Any], row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    head = {"table": table["table"], **{name: row[name] for name in ("group", "method", "classifier", "outliers", "status")}}
    head["seeds"] = len(row["seeds"])
    if "figures" not in row:
        yield from (head | {"score": row["score"], "judged": True} | line for line in _published_alone(row))
        return
    head["id_accuracy"] = row["id_accuracy"]["mean"]
    for score, found in row["figures"].items():
        judged = score == row["score"]
        verdicts = row["against"].get("ce") if judged else None
        for name, measured in {**found["sets"], WHOLE: found["average"]}.items():
            line = {"score": score, "judged": judged, "dataset": name, "n_id": _numbers(table["n_id"])}
            line["artefact_control"] = row["artefact_control"].get(score, {}).get("mean")
            line |= {measure: measured[measure]["mean"] for measure in MEASURES}
            line |= {f"{measure}_std": measured[measure]["std"] for measure in MEASURES}
            if name in table["n_ood"]:
                line["n_ood"] = _numbers(table["n_ood"][name])
            if verdicts:
                line["against_ce"] = (verdicts if name == WHOLE else verdicts["sets"][name])["verdict"]
            yield head | line | (_printed(row["published"], name) if judged else {})


def _published_alone(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A row without figures of ours: the published ones, or one line of its status."""
    if not row["published"]:
        yield {}
        return
    yield from ({"dataset": name} | _printed(row["published"], name) for name in (*row["published"]["sets"], WHOLE))


def _printed(published: dict[str, Any] | None, name: str) -> dict[str, Any]:
    if published is None or name not in (*published["sets"], WHOLE):
        return {}
    columns = ("published_fpr95", "published_auroc", "printed_fpr95", "printed_auroc")
    values = (*published["average"], *published["printed_average"]) if name == WHOLE else published["sets"][name]
    return dict(zip(columns, values))


def _numbers(values: list[int]) -> str:
    return "/".join(map(str, values))
