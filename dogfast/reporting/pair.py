"""Before and after: the two classifiers that the report compares, and the scores and sets they share."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dogfast.reporting.inputs import BASELINE, Evaluation, datasets_of, own_baseline, scores_of

FAMILIES = ("dog", "oe")
"""What is compared with the baseline where it was evaluated, in this order; then any other, by name."""


@dataclass(frozen=True)
class Pair:
    """The baseline and the classifier that is judged."""

    before: Evaluation
    after: Evaluation

    def scores(self) -> list[str]:
        """Scores under which both were measured on a common OOD set."""
        return [score for score in scores_of([self.before]) if self.datasets(score)]

    def datasets(self, score: str) -> list[str]:
        return common_datasets(score, self.before, self.after)


def pair_of(evaluations: list[Evaluation], refined: Collection[str] = ()) -> Pair | None:
    """The pair, where both are there and comparable.

    Who is judged goes by name, never by the numbers: the best of several on the test sets would flatter the method. What `refine`
    chose, on validation images (``refined``), goes first.
    """
    before = baseline_of(evaluations)
    pairs = [Pair(before, after) for after in evaluations if seedless(after.name) != BASELINE] if before else []
    return min(
        (pair for pair in pairs if pair.scores()),
        key=lambda pair: (
            pair.after.name not in refined,
            _rank(pair.after.name),
            own_baseline(pair.after.name) != before.name,
            pair.after.name,
        ),
        default=None,
    )


def baseline_of(evaluations: list[Evaluation]) -> Evaluation | None:
    """The first seed's, or that of another seed where the first has none."""
    found = {evaluation.name: evaluation for evaluation in evaluations if seedless(evaluation.name) == BASELINE}
    return found.get(BASELINE) or next(iter(found.values()), None)


def common_datasets(score: str, *evaluations: Evaluation) -> list[str]:
    """The OOD sets that all of ``evaluations`` have under ``score``; only over these are means comparable."""
    return [name for name in datasets_of(list(evaluations)) if all(e.result(score, name) for e in evaluations)]


def mean_over(evaluation: Evaluation, score: str, datasets: list[str], metric: str) -> float | None:
    """Mean of ``metric`` over those of ``datasets`` that were evaluated."""
    values = [getattr(r, metric) for name in datasets if (r := evaluation.result(score, name)) is not None]
    return sum(values) / len(values) if values else None


def seedless(name: str) -> str:
    """`dog+renders@1` -> `dog+renders`."""
    return name.partition("@")[0]


def _rank(name: str) -> int:
    family = seedless(name)
    return FAMILIES.index(family) if family in FAMILIES else len(FAMILIES)
