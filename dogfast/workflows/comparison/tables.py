"""One of the papers' tables as data, all that its files say: figures over seeds, verdicts, what did not run, what was published."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dogfast.reporting.inputs import datasets_of
from dogfast.workflows.comparison.measured import Seeds, counts, figures, painted_id_called_ood, scores_in, spread, verdict
from dogfast.workflows.comparison.published import Published, printed_sets, published_row
from dogfast.workflows.comparison.rows import BASELINE, EVERYWHERE, TABLES, Row

OK = "ok"
CONVENTION = "FPR95: share of OOD images accepted at 95 % ID recall (lower is better); AUROC (higher is better); all in percent"


@dataclass(frozen=True)
class Outcome:
    """What became of one classifier: its name without a seed, its evaluations by seed, and why there is none of a seed."""

    name: str = ""
    outliers: str = ""
    """What people call them."""
    seeds: Seeds = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    not_run: str = ""

    def status(self, score: str) -> str:
        """`ok`, or why a row that is judged by ``score`` has no figures."""
        if self.not_run:
            return f"not run: {self.not_run}"
        if not self.seeds:
            return "failed: " + "; ".join(dict.fromkeys(self.failed.values()))
        return OK if score in scores_in(self.seeds) else f"not run: --scores leaves out {score}"


def build_table(number: int, classes: str, outcomes: dict[Row, Outcome], baseline: Seeds) -> dict[str, Any]:
    """Table ``number``, in plain JSON types. ``outcomes`` holds its rows; ``baseline`` is `BASELINE`'s evaluations by seed."""
    groups = datasets_of(list(baseline.values()))
    sets, first = list(groups), scores_in(baseline)[0]
    rows = [_row(number, row, classes, outcomes, baseline, sets) for row in outcomes]
    return {
        "table": number,
        "title": TABLES[number].title,
        "classes": Path(classes).name or classes,
        "convention": CONVENTION,
        "seeds": list(baseline),
        "sets": sets,
        "groups": groups,
        **counts(baseline, first, sets),
        "published_sets": list(printed_sets(classes)),
        "rows": rows,
    }


def _row(number: int, row: Row, classes: str, outcomes: dict[Row, Outcome], baseline: Seeds, sets: list[str]) -> dict[str, Any]:
    outcome, published = outcomes[row], published_row(number, classes, row.method)
    status = outcome.status(row.score)
    said = {
        "group": row.group,
        "method": row.method,
        "classifier": outcome.name,
        "outliers": outcome.outliers,
        "score": row.score,
        "status": status,
        "failed": outcome.failed,
        "seeds": list(outcome.seeds),
        "published": _printed(published) if published else None,
    }
    if status != OK:
        return said
    told = dict.fromkeys((*(score for score in EVERYWHERE if score in scores_in(outcome.seeds)), row.score))
    return said | {
        "id_accuracy": spread([100 * evaluation.id_accuracy for evaluation in outcome.seeds.values()]),
        "figures": {score: figures(outcome.seeds, score, sets) for score in told},
        "artefact_control": painted_id_called_ood(outcome.seeds, told),
        "against": _against(row, outcome, outcomes, baseline, sets),
    }


def _against(
    row: Row, outcome: Outcome, outcomes: dict[Row, Outcome], baseline: Seeds, sets: list[str]
) -> dict[str, dict[str, Any]]:
    """Verdicts by what the row is compared with: the baseline, and a row of the same table.

    What was trained is compared with the baseline under its own score, where the baseline has it; scores of the baseline, and
    the others, with its MSP, else the first score it has.
    """
    known = scores_in(baseline)
    plain = EVERYWHERE[0] if EVERYWHERE[0] in known else known[0]
    base_score = row.score if row.score in known and row.objective != BASELINE else plain
    found = {}
    if (row.objective, row.score) != (BASELINE, base_score):
        found[BASELINE] = verdict(baseline, base_score, outcome.seeds, row.score, sets)
    rival = next((other for other in outcomes if row.against and other.method == row.against), None)
    if rival and outcomes[rival].status(rival.score) == OK and outcomes[rival].seeds.keys() & outcome.seeds.keys():
        found[rival.method] = verdict(outcomes[rival].seeds, rival.score, outcome.seeds, row.score, sets)
    return found


def _printed(row: Published) -> dict[str, Any]:
    return {"sets": row.sets, "average": row.average, "printed_average": row.printed, "misprinted": row.misprinted}
