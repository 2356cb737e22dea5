"""The DOG paper's Tables 1 to 4 as printed, frozen in `assets/published.tsv`: FPR95 and AUROC in percent, as every table here.

Five of its averages are not the mean of their row: there the mean takes their place, and what is printed is told beside it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FROZEN = Path(__file__).parents[2] / "assets" / "published.tsv"
AVERAGE = "average"
LIKENED = {1: (1, 3), 3: (1, 3)}
"""The paper's Tables 1 and 3 are one table, of CIFAR and of ImageNet."""
ROUNDING = 0.0101
"""By so much an average may differ that was rounded, or cut, to two digits."""

Pair = tuple[float, float]
"""FPR95 and AUROC."""


@dataclass(frozen=True)
class Published:
    """One printed row: a pair a set (Table 2 prints none), and the average that is printed."""

    sets: dict[str, Pair]
    printed: Pair

    @property
    def mean(self) -> Pair:
        """Over the row's sets; what is printed where it has none."""
        if not self.sets:
            return self.printed
        fpr95, auroc = (sum(values) / len(values) for values in zip(*self.sets.values()))
        return fpr95, auroc

    @property
    def misprinted(self) -> bool:
        """Whether the printed average is not that of the row."""
        return any(abs(mean - said) > ROUNDING for mean, said in zip(self.mean, self.printed))

    @property
    def average(self) -> Pair:
        """The printed one, or where that is wrong the row's mean."""
        return self.mean if self.misprinted else self.printed


def published_row(table: int, classes: str, method: str) -> Published | None:
    """What the paper prints of ``method`` on ``classes``; None where it prints nothing."""
    found = {row["ood"].lower(): _pair(row) for row in _rows(table, classes) if row["method"] == method}
    return Published(found, found.pop(AVERAGE)) if found else None


def printed_sets(classes: str) -> tuple[str, ...]:
    """The OOD sets of the paper's table of ``classes``, in its order; none where it has no such table."""
    return tuple(dict.fromkeys(row["ood"].lower() for row in _rows(1, classes) if row["ood"].lower() != AVERAGE))


def _rows(table: int, classes: str) -> Iterator[dict[str, str]]:
    tables = LIKENED.get(table, (table,))
    return (row for row in _printed() if int(row["table"]) in tables and row["id"] == classes)


def _pair(row: dict[str, str]) -> Pair:
    return float(row["fpr95"]), float(row["auroc"])


@cache
def _printed() -> list[dict[str, str]]:
    with open(FROZEN, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))
