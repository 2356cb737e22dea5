"""The lines of a table as people read them, before Markdown or LaTeX says how they are set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dogfast.reporting.figures import MINUS
from dogfast.reporting.inputs import score_label
from dogfast.workflows.comparison.rows import BASELINE, EVERYWHERE
from dogfast.workflows.comparison.tables import OK

ABSENT = "–"
AVERAGE, CONTROL = "average", "artefact control"
CONTROL_NOTE = "The artefact control is the share of painted ID images, none trained on, that is called OOD (real ones: 5 %)."
Pair = tuple[str, str]
"""FPR95 and AUROC."""


@dataclass(frozen=True)
class Line:
    """``names`` stand to the left, ``pairs`` under the sets and the average, ``tail`` to the right; or one ``remark`` for these."""

    names: tuple[str, ...]
    pairs: tuple[Pair, ...] = ()
    tail: tuple[str, ...] = ()
    remark: str = ""
    published: bool = False


@dataclass(frozen=True)
class Layout:
    """One block: what its columns are called, and its lines."""

    names: tuple[str, ...]
    pairs: tuple[str, ...]
    tail: tuple[str, ...]
    lines: tuple[Line, ...]


def by_own_score(table: dict[str, Any]) -> Layout:
    """Every row under the score it is judged by, what was published of it below: of other sets than ours, beside it, the average alone."""
    elsewhere = _published_elsewhere(table)
    controlled = _controlled(table)
    own = any(row["group"] in ("strategy", "combination") for row in table["rows"])
    lines = []
    for row in table["rows"]:
        names = (row["method"], row["outliers"] or ABSENT, score_label(row["score"]))
        if _has(row):
            tail = [
                _plain(row["id_accuracy"]),
                *([_control(row)] if controlled else []),
                _judged(row, True),
                *([_judged(row, False)] if own else []),
            ]
            tail += [_slashed(row["published"]["average"]) if row["published"] else ABSENT] if elsewhere else []
            lines.append(Line(names, _pairs(row, row["score"], table), tuple(tail)))
        else:
            lines.append(Line(names, remark=row["status"]))
        if row["published"] and not elsewhere:
            absent = (ABSENT,) * (2 + controlled + own)
            lines.append(Line((row["method"], "published", ""), _printed(row["published"], table), absent, published=True))
    heads = ["ID acc.", *([CONTROL] if controlled else []), f"against `{BASELINE}`", *(["against its rival"] if own else [])]
    heads += ["published: FPR95 / AUROC"] if elsewhere else []
    return Layout(("method", "outliers", "score"), (*table["sets"], AVERAGE), tuple(heads), tuple(lines))


def by_every_score(table: dict[str, Any]) -> Layout:
    """The average of every classifier under each score, so that none hides behind the score it is judged by."""
    rows = {row["classifier"]: row for row in table["rows"] if _has(row)}
    known = [score for score in EVERYWHERE if any(score in row["figures"] for row in rows.values())]
    lines = [
        Line((name,), tuple(_pair(row["figures"][s]["average"]) if s in row["figures"] else (ABSENT, ABSENT) for s in known))
        for name, row in rows.items()
    ]
    return Layout(("classifier",), tuple(map(score_label, known)), (), tuple(lines))


def notes(table: dict[str, Any]) -> list[str]:
    """What has to be known to read it."""
    sizes = [f"ID {_numbers(table['n_id'])}", *(f"{name} {_numbers(table['n_ood'][name])}" for name in table["sets"])]
    found = [
        f"{table['convention']}; images: {', '.join(sizes)}; seeds: {_numbers(table['seeds'])}.",
        "Verdicts are on the average's FPR95, by a paired bootstrap over test images, with the change in points; undecided "
        f"where seeds disagree. Against `{BASELINE}` is under the row's own score where `{BASELINE}` has it, else its MSP.",
    ]
    if _controlled(table):
        found.append(CONTROL_NOTE)
    for row in table["rows"]:
        if _has(row) and row["failed"]:
            reasons = "; ".join(f"seed {seed}: {reason}" for seed, reason in row["failed"].items())
            found.append(f"{row['method']} is of {len(row['seeds'])} of {len(table['seeds'])} seeds ({reasons}).")
        printed = row["published"]
        if printed and printed["misprinted"]:
            found.append(
                f"Published average of {row['method']}: the paper prints {_slashed(printed['printed_average'])}, the mean of its "
                f"row is {_slashed(printed['average'])}."
            )
    if _published_elsewhere(table):
        found.append(
            f"What is published is the DOG paper's average over {', '.join(table['published_sets'])}, of its networks and outliers: it "
            "shows the order there, and compares with no figure of ours."
        )
    elif any(row["published"] for row in table["rows"]):
        found.append("Rows marked as published are the DOG paper's figures, not ours.")
    return found


# --- cells ------------------------------------------------------------------------------------------------------
def _has(row: dict[str, Any]) -> bool:
    return row["status"] == OK


def _published_elsewhere(table: dict[str, Any]) -> bool:
    """Whether there are published figures, and none is of a set of ours."""
    return any(row["published"] for row in table["rows"]) and not {*table["sets"]} & {*table["published_sets"]}


def _controlled(table: dict[str, Any]) -> bool:
    """Whether a row has an artefact control under its own score."""
    return any(_control(row) != ABSENT for row in table["rows"])


def _pairs(row: dict[str, Any], score: str, table: dict[str, Any]) -> tuple[Pair, ...]:
    found = row["figures"][score]
    return (*(_pair(found["sets"][name]) for name in table["sets"]), _pair(found["average"]))


def _printed(published: dict[str, Any], table: dict[str, Any]) -> tuple[Pair, ...]:
    """What was published under our columns; the average only where these are the paper's sets."""
    sets = [_two(published["sets"].get(name)) for name in table["sets"]]
    same = set(table["sets"]) == set(table["published_sets"])
    return (*sets, _two(published["average"] if same else None))


def _pair(found: dict[str, Any]) -> Pair:
    return _plain(found["fpr95"]), _plain(found["auroc"])


def _two(values: tuple[float, float] | None) -> Pair:
    return (ABSENT, ABSENT) if values is None else tuple(f"{value:.2f}" for value in values)


def _plain(spread: dict[str, Any]) -> str:
    return f"{spread['mean']:.2f}" + ("" if spread["std"] is None else f" ± {spread['std']:.2f}")


def _judged(row: dict[str, Any], baseline: bool) -> str:
    found = next((value for name, value in row["against"].items() if (name == BASELINE) is baseline), None)
    return ABSENT if found is None else f"{found['verdict']} ({found['change']:+.2f})".replace("-", MINUS)


def _control(row: dict[str, Any]) -> str:
    found = row.get("artefact_control", {}).get(row["score"])
    return _plain(found) if found else ABSENT


def _numbers(values: list[int]) -> str:
    return ", ".join(f"{value:,}" for value in values)


def _slashed(values: tuple[float, float]) -> str:
    return " / ".join(_two(values))
