"""What the papers' tables hold: every row's training, its outliers, and the score it is judged by.

Which score judges a method is its own paper's choice; MSP, Energy and ASH-S of every row are told beside it, so that the score
never hides behind the method. Rows without a published counterpart: further scores on `ce`, `OAL`, `boundary`, and `ce` beside the
strategies.
"""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.config.detection import SCORES
from dogfast.config.training import START
from dogfast.reporting.inputs import score_label

BASELINE = START
EVERYWHERE = ("msp", "energy", "ash-s")
"""The scores every row is told under."""
REJECTION = "rejection"
"""Comes with a classifier that has a class of outliers; nobody asks for it."""
AUXILIARY = "auxiliary"
"""Stands for the outliers of ``--auxiliary``."""
DOG = "dog"
POST_HOC = "post-hoc"
"""The group of rows that are about their score; all others are about a training."""


@dataclass(frozen=True)
class Row:
    """One line. ``method`` is the papers' name for it, ``outliers`` a source, `AUXILIARY`, or nothing."""

    group: str
    method: str
    objective: str
    score: str
    outliers: str = ""
    against: str = ""
    """The row of the same table that it is also judged against."""


@dataclass(frozen=True)
class Table:
    title: str
    rows: tuple[Row, ...]


def _scored(method: str, score: str) -> Row:
    return Row(POST_HOC, method, START, score)


def _trained(method: str, objective: str, score: str, outliers: str = "") -> Row:
    return Row("training", method, objective, score, outliers)


def _painted(method: str, strategy: str) -> Row:
    return Row("strategy", method, "dog", "ash-s", strategy, "" if strategy == DOG else "DOG")


def _combined(method: str, objective: str, score: str) -> tuple[Row, Row]:
    plain = Row("combination", method, objective, score, AUXILIARY)
    return plain, Row("combination", f"{method} + DOG", objective, score, DOG, against=method)


OF_PAPERS = {"MSP": "msp", "Free Energy": "energy", "ASH": "ash-s", "Mahalanobis": "mahalanobis", "KNN": "knn"}
"""The papers' rows of the plain classifier; every other score gets one too."""

METHODS = (
    *(_scored(method, score) for method, score in OF_PAPERS.items()),
    *(_scored(score_label(score), score) for score in SCORES if score not in OF_PAPERS.values()),
    Row(POST_HOC, "KNN+", "supcon", "knn"),
    _trained("CSI", "csi", "msp"),
    _trained("ConfGAN", "confgan", "msp"),
    _trained("VOS", "vos", "energy"),
    _trained("NPOS", "npos", "knn"),
    _trained("OE", "oe", "msp", AUXILIARY),
    _trained("Energy-OE", "energy-oe", "energy", AUXILIARY),
    _trained("ATOM", "atom", REJECTION, AUXILIARY),
    _trained("DOE", "doe", "maxlogit", AUXILIARY),
    _trained("POEM", "poem", "energy", AUXILIARY),
    _trained("OAL", "oal", "energy", DOG),
    _trained("DOG", "dog", "ash-s", DOG),
)
SWEPT = METHODS[-1]
"""What the papers' figures are about."""
LEFT_OUT_OF_3 = ("KNN+", "CSI")

TABLES: dict[int, Table] = {
    1: Table("Every method on its own outliers", METHODS),
    2: Table(
        "Objective `dog` on the outliers of every strategy",
        (
            Row("strategy", "No outliers", START, "ash-s"),
            _painted("(a) Visual Reconstruction", "visual-reconstruction"),
            _painted("(b) Textual Perturbation", "textual-perturbation"),
            _painted("(c) Visual Interpolation", "visual-interpolation"),
            _painted("(d) Textual Interpolation", "textual-interpolation"),
            _painted("(e) Textual Near-OOD", "textual-near-ood"),
            _painted("Boundary", "boundary"),
            _painted("DOG", DOG),
        ),
    ),
    3: Table("Every method on its own outliers, ImageNet", tuple(row for row in METHODS if row.method not in LEFT_OUT_OF_3)),
    4: Table(
        "Outlier exposure on auxiliary images, and on DOG's outliers in their place",
        (*_combined("OE", "oe", "msp"), *_combined("Energy-OE", "energy-oe", "energy"), *_combined("POEM", "poem", "energy")),
    ),
}


def scores_of(objective: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the scores ``known`` a classifier is evaluated under, whichever tables are asked for.

    `EVERYWHERE`, and what a row of it is judged by; of the baseline all, so that every row can be compared with it under the
    row's own score; all, too, where nothing else is left.
    """
    if objective == BASELINE:
        return known
    judges = {row.score for table in TABLES.values() for row in table.rows if row.objective == objective}
    return tuple(score for score in known if score in EVERYWHERE or score in judges) or known
