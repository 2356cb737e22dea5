"""Where it got better: FPR95 of every OOD set before and after, with the verdict of a paired bootstrap where there is one."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.reporting.drawing import ID_COLOUR, OTHER_COLOUR, new_figure, png_bytes
from dogfast.reporting.figures import points, round_points
from dogfast.reporting.inputs import Difference, datasets_of, score_label
from dogfast.reporting.pair import Pair, mean_over

SAME = 1e-6
"""How far a verdict's change may lie off the numbers beside it, before it is of another evaluation."""
PNG_SETS = 40


@dataclass(frozen=True)
class Shift:
    """FPR95 of one set, or the mean of several, before and after, in percent.

    ``word``: better, worse or undecided by the paired bootstrap; by the digits alone (better, worse, unchanged) where
    ``interval``, in which the after value would lie for other test images, is None.
    """

    name: str
    group: str
    before: float
    after: float
    delta: str
    word: str
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Shifts:
    """All of one score: its OOD sets, the means of their groups where there are several, the mean of all."""

    label: str
    sets: tuple[Shift, ...]
    groups: tuple[Shift, ...]
    mean: Shift

    @property
    def tested(self) -> bool:
        return self.mean.interval is not None


def build_shifts(pair: Pair | None) -> dict[str, Shifts]:
    """By score; empty where there is no pair."""
    return {score: _shifts(pair, score) for score in pair.scores()} if pair else {}


def difference_of(pair: Pair, score: str, datasets: list[str]) -> Difference | None:
    """What the evaluation of ``pair.after`` says of the mean over ``datasets``, unless one of both was evaluated anew since."""
    if not set(datasets) <= set(pair.datasets(score)):
        return None
    before, after = (mean_over(evaluation, score, datasets, "fpr95") for evaluation in (pair.before, pair.after))
    for found in pair.after.differences:
        if found.score == score and set(found.datasets) == set(datasets) and abs(found.change - (after - before)) < SAME:
            return found
    return None


def word_of(gain: float) -> str:
    """What a gain is called, by the digits it is written with."""
    rounded = round_points(gain)
    return "better" if rounded > 0 else "worse" if rounded < 0 else "unchanged"


def _shifts(pair: Pair, score: str) -> Shifts:
    shared, group_of = pair.datasets(score), datasets_of([pair.before])
    members: dict[str, list[str]] = {}
    for dataset in shared:
        members.setdefault(group_of[dataset], []).append(dataset)
    groups = [_shift(pair, score, names, group or "other", group) for group, names in members.items()]
    return Shifts(
        label=score_label(score),
        sets=tuple(_shift(pair, score, [name], name, group_of[name]) for name in shared),
        groups=tuple(groups) if len(groups) > 1 else (),
        mean=_shift(pair, score, shared, "mean", ""),
    )


def _shift(pair: Pair, score: str, datasets: list[str], name: str, group: str) -> Shift:
    before, after = (mean_over(evaluation, score, datasets, "fpr95") for evaluation in (pair.before, pair.after))
    word, interval = word_of(before - after), None
    if found := difference_of(pair, score, datasets):
        word = found.verdict
        interval = tuple(100 * min(1.0, max(0.0, before + bound)) for bound in (found.low, found.high))
    return Shift(name, group, 100 * before, 100 * after, points(after - before), word, interval)


# --- the PNG file -----------------------------------------------------------------------------------------------
def shifts_png(shifts: Shifts, pair: Pair) -> bytes:
    """A line a set from the hollow mark (before) to the full one (after)."""
    rows = [*shifts.sets[:PNG_SETS], shifts.mean]
    figure = new_figure(7.5, 1.2 + 0.32 * len(rows))
    axes = figure.subplots()
    for y, row in enumerate(rows):
        if row.interval:
            axes.plot(row.interval, [y, y], color=ID_COLOUR, linewidth=7, alpha=0.25, solid_capstyle="butt")
        axes.plot([row.before, row.after], [y, y], color=OTHER_COLOUR, linewidth=1)
        axes.plot([row.before], [y], "o", markerfacecolor="white", markeredgecolor=OTHER_COLOUR, markersize=7)
        axes.plot([row.after], [y], "o", color=ID_COLOUR, markersize=7)
    axes.set_yticks(
        range(len(rows)), [f"{row.name[:30]} ({row.delta} {row.word})" for row in rows], fontsize=8, parse_math=False
    )
    axes.invert_yaxis()
    axes.set_xlim(-2, 102)
    axes.grid(axis="x", alpha=0.3)
    title = f"FPR95 under {shifts.label[:30]}, percent: {pair.before.name[:30]} (hollow) to {pair.after.name[:30]} (full)"
    axes.set_title(title, fontsize=9, parse_math=False)
    return png_bytes(figure)
