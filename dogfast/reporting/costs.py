"""What it costs: known images that are refused, painted by the generator or mildly corrupted, beside ID accuracy."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.reporting.figures import count_range, percent, points, round_points
from dogfast.reporting.inputs import Evaluation, Refusal, scores_of
from dogfast.reporting.pair import baseline_of


@dataclass(frozen=True)
class Cost:
    """One share in percent, its change against the baseline in points, and how many of these images are recognised."""

    text: str
    delta: str = ""
    worse: bool = False
    accuracy: str = ""


@dataclass(frozen=True)
class CostRow:
    name: str
    cells: tuple[Cost, ...]


@dataclass(frozen=True)
class CostTable:
    """One score: a column a kind of known images, ``n`` of each, and a row a classifier."""

    kinds: tuple[str, ...]
    n: tuple[str, ...]
    rows: tuple[CostRow, ...]


def build_costs(evaluations: list[Evaluation]) -> dict[str, CostTable]:
    """By score, of those under which anything was measured."""
    return {score: table for score in scores_of(evaluations) if (table := _table(evaluations, score))}


def _table(evaluations: list[Evaluation], score: str) -> CostTable | None:
    shares = {e.name: {r.kind: r for r in e.refusals if r.score == score} for e in evaluations}
    kinds = list(dict.fromkeys(kind for found in shares.values() for kind in found))
    if not kinds:
        return None
    baseline = baseline_of(evaluations)
    before = shares[baseline.name] if baseline else {}
    rows = [
        CostRow(name, tuple(_cost(found, before if baseline and name != baseline.name else {}, kind) for kind in kinds))
        for name, found in shares.items()
        if found
    ]
    n = (count_range([found[kind].n for found in shares.values() if kind in found]) for kind in kinds)
    return CostTable(tuple(kinds), tuple(n), tuple(rows))


def _cost(found: dict[str, Refusal], before: dict[str, Refusal], kind: str) -> Cost:
    if kind not in found:
        return Cost("–")
    one, other = found[kind], before.get(kind)
    accuracy = percent(one.accuracy) if one.accuracy is not None else ""
    if other is None:
        return Cost(percent(one.share), accuracy=accuracy)
    change = one.share - other.share
    return Cost(percent(one.share), points(change), round_points(change) > 0, accuracy)
