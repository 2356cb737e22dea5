"""The first sentence of the report, computed from the numbers: better where it is better, worse where it is worse."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.reporting.figures import listing, percent, points
from dogfast.reporting.inputs import BASELINE, PAINTED, Evaluation, score_label
from dogfast.reporting.pair import FAMILIES, Pair, baseline_of, mean_over, seedless
from dogfast.reporting.shifts import Shifts, word_of

WORDS = ("better", "worse", "undecided", "unchanged")


@dataclass(frozen=True)
class Verdict:
    """``tone`` is better, worse, mixed, undecided or open (nothing to compare); backticks mark names in the sentences."""

    tone: str
    headline: str
    sentences: tuple[str, ...]


def judge(evaluations: list[Evaluation], pair: Pair | None, shifts: dict[str, Shifts]) -> Verdict:
    """Compare ``pair`` by its ``shifts``: one classifier under every score, for picking another for each would flatter."""
    if not evaluations:
        return Verdict("open", "Not evaluated yet.", ("Run `dogfast evaluate` to measure how well unknowns are refused.",))
    if baseline_of(evaluations) is None:
        how = f"run `dogfast train --objective {BASELINE}`, then `dogfast evaluate --objective {BASELINE}`"
        return Verdict("open", "No comparison yet: the baseline is not evaluated.", (f"For `{BASELINE}`, {how}.",))
    if pair is None:
        how = f"run `dogfast train --objective {FAMILIES[0]}`, then `dogfast evaluate --objective {FAMILIES[0]}`"
        return Verdict(
            "open", "No comparison yet: no classifier that learned from outliers is evaluated.", (f"To get one, {how}.",)
        )
    sentences = [
        _accuracy(pair),
        *_rises(shifts, "worse", "FPR95 got worse on"),
        *_rises(shifts, "undecided", "It rose, though no more than other test images could explain, on"),
        *_artefacts(pair),
        *_seeds(evaluations, pair),
        *_untested(pair, shifts),
    ]
    words = {one.mean.word for one in shifts.values()} & {"better", "worse"}
    tone = "undecided" if not words else words.pop() if len(words) == 1 else "mixed"
    return Verdict(tone, _headline(pair, shifts), tuple(sentences))


def _headline(pair: Pair, shifts: dict[str, Shifts]) -> str:
    """What passes now and passed before, under the first score; which way every score goes; the price in ID accuracy."""
    first = next(iter(shifts.values()))
    loss = pair.before.id_accuracy - pair.after.id_accuracy
    price = f", at {percent(loss)} points less ID accuracy" if word_of(-loss) == "worse" else ""
    numbers = f"`{pair.after.name}` lets {first.mean.after:.1f} % of unknown images pass where `{pair.before.name}` lets {first.mean.before:.1f} %"
    return f"Under {first.label}, {numbers}: {_directions(shifts)}{price}."


def _directions(shifts: dict[str, Shifts]) -> str:
    by_word = {word: [one.label for one in shifts.values() if one.mean.word == word] for word in WORDS}
    by_word = {word: labels for word, labels in by_word.items() if labels}
    if len(shifts) == 1:
        return next(iter(by_word))
    if len(by_word) == 1:
        return f"{next(iter(by_word))} under all {len(shifts)} scores"
    return ", ".join(f"{word} under {listing(labels)}" for word, labels in by_word.items())


def _accuracy(pair: Pair) -> str:
    gain = pair.after.id_accuracy - pair.before.id_accuracy
    before, after = percent(pair.before.id_accuracy), percent(pair.after.id_accuracy)
    if word_of(gain) == "unchanged":
        return f"ID accuracy is unchanged at {after} %."
    return f"ID accuracy is {word_of(gain)}: {after} % against {before} % ({points(gain)} points)."


def _rises(shifts: dict[str, Shifts], word: str, begins: str) -> list[str]:
    """Every OOD set whose FPR95 rose and is called ``word``, also behind a mean that fell."""
    found: dict[str, list[str]] = {}
    for one in shifts.values():
        for shift in one.sets:
            if shift.word == word and shift.after > shift.before:
                found.setdefault(shift.name, []).append(f"{one.label} {shift.delta}")
    if found:
        places = [f"{dataset} ({', '.join(where)})" for dataset, where in found.items()]
        return [f"{begins} {listing(places)}."]
    return ["FPR95 got worse on no OOD set under any score."] if word == "worse" else []


def _artefacts(pair: Pair) -> list[str]:
    """What the artefact control says, where both were measured: a detector of the generator calls its ID images unknown."""
    before, after = ({r.score: r.share for r in e.refusals if r.kind == PAINTED} for e in (pair.before, pair.after))
    shares = [
        f"{percent(after[score])} % under {score_label(score)} (`{pair.before.name}` {percent(before[score])} %)"
        for score in before
        if score in after
    ]
    if not shares:
        return []
    return [f"Of images of the ID classes that the generator painted, `{pair.after.name}` calls OOD {listing(shares)}."]


def _seeds(evaluations: list[Evaluation], pair: Pair) -> list[str]:
    """How far the seeds of the judged classifier lie apart, where several were evaluated."""
    family, score = seedless(pair.after.name), pair.scores()[0]
    shared = pair.datasets(score)
    seeds = [e for e in evaluations if seedless(e.name) == family and all(e.result(score, name) for name in shared)]
    if len(seeds) < 2:
        return []
    means = [mean_over(seed, score, shared, "fpr95") for seed in seeds]
    found = f"runs from {percent(min(means))} to {percent(max(means))} %; the first is judged"
    return [f"Over {len(seeds)} seeds of `{family}` mean FPR95 under {score_label(score)} {found}."]


def _untested(pair: Pair, shifts: dict[str, Shifts]) -> list[str]:
    labels = [one.label for one in shifts.values() if not one.tested]
    if not labels:
        return []
    again = f"run `dogfast evaluate` again for `{pair.before.name}`, then for `{pair.after.name}`"
    return [f"Under {listing(labels)} nothing says whether the change is more than the draw of the test images: {again}."]
