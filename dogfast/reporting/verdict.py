"""The first sentence of the report, computed from the numbers: better where it is better, worse where it is worse."""

from __future__ import annotations

from dataclasses import dataclass

from dogfast.reporting.figures import listing, percent, points, round_points
from dogfast.reporting.inputs import BASELINE, Evaluation, datasets_of, score_label, scores_of
from dogfast.reporting.table import baseline_of, common_datasets, mean_over

FAMILY = "dog"


@dataclass(frozen=True)
class Change:
    """Mean FPR95 under one score, before (the baseline) and after, in percent; ``word`` says which way it went.

    ``groups`` holds name, change and word of each group of OOD sets, for a mean can hide that one of them got worse.
    """

    score: str
    before: str
    after: str
    delta: str
    word: str
    before_at: float
    after_at: float
    n_sets: int
    groups: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Verdict:
    """``tone`` is better, worse, mixed, same or open (nothing to compare); backticks mark names in the sentences."""

    tone: str
    headline: str
    sentences: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    baseline: str = ""
    subject: str = ""


def judge(evaluations: list[Evaluation]) -> Verdict:
    """Compare the best `dog` classifier with `ce`, under every score they share.

    One classifier is judged under all scores: picking another one for each score would flatter the method.
    """
    if not evaluations:
        return Verdict("open", "Not evaluated yet.", ("Run `dogfast evaluate` to measure how well unknowns are refused.",))
    baseline = baseline_of(evaluations)
    if baseline is None:
        how = "run `dogfast train --objective ce`, then `dogfast evaluate --objective ce`"
        return Verdict("open", "No comparison yet: the baseline is not evaluated.", (f"For `{BASELINE}`, {how}.",))
    family = [e for e in evaluations if e.name.partition("@")[0] == FAMILY and _shared_scores(e, baseline)]
    if not family:
        how = f"run `dogfast train --objective {FAMILY}`, then `dogfast evaluate --objective {FAMILY}`"
        return Verdict("open", f"No comparison yet: no `{FAMILY}` classifier is evaluated.", (f"To get one, {how}.",))
    subject = min(family, key=lambda e: (_mean_change(e, baseline), e.name))
    changes = tuple(_change(subject, baseline, score) for score in _shared_scores(subject, baseline))
    sentences = [_accuracy(subject, baseline), *_worsenings(subject, baseline), *_artefacts(subject, baseline)]
    if len(family) > 1:
        sentences.append(
            f"`{subject.name}` is the best of {len(family)} `{FAMILY}` classifiers by these very numbers, which favours it."
        )
    return Verdict(_tone(changes), _headline(subject, baseline, changes), tuple(sentences), changes, BASELINE, subject.name)


def _shared_scores(evaluation: Evaluation, baseline: Evaluation) -> list[str]:
    return [score for score in scores_of([baseline]) if common_datasets(score, evaluation, baseline)]


def _difference(evaluation: Evaluation, baseline: Evaluation, score: str) -> float:
    shared = common_datasets(score, evaluation, baseline)
    return mean_over(evaluation, score, shared, "fpr95") - mean_over(baseline, score, shared, "fpr95")


def _mean_change(evaluation: Evaluation, baseline: Evaluation) -> float:
    scores = _shared_scores(evaluation, baseline)
    return sum(_difference(evaluation, baseline, score) for score in scores) / len(scores)


def _change(subject: Evaluation, baseline: Evaluation, score: str) -> Change:
    shared = common_datasets(score, subject, baseline)
    before, after = (mean_over(e, score, shared, "fpr95") for e in (baseline, subject))
    return Change(
        score=score_label(score),
        before=percent(before),
        after=percent(after),
        delta=points(after - before),
        word=_word(before - after),
        before_at=100 * before,
        after_at=100 * after,
        n_sets=len(shared),
        groups=_groups(subject, baseline, score, shared),
    )


def _groups(subject: Evaluation, baseline: Evaluation, score: str, shared: list[str]) -> tuple[tuple[str, str, str], ...]:
    by_group: dict[str, list[str]] = {}
    for dataset, group in datasets_of([baseline]).items():
        if dataset in shared:
            by_group.setdefault(group, []).append(dataset)
    if len(by_group) < 2:
        return ()
    changes = {
        group: mean_over(subject, score, sets, "fpr95") - mean_over(baseline, score, sets, "fpr95")
        for group, sets in by_group.items()
    }
    return tuple((group or "other", points(change), _word(-change)) for group, change in changes.items())


def _word(gain: float) -> str:
    rounded = round_points(gain)
    return "better" if rounded > 0 else "worse" if rounded < 0 else "unchanged"


def _tone(changes: tuple[Change, ...]) -> str:
    words = {change.word for change in changes} - {"unchanged"}
    return "same" if not words else words.pop() if len(words) == 1 else "mixed"


def _headline(subject: Evaluation, baseline: Evaluation, changes: tuple[Change, ...]) -> str:
    """Who lets fewer unknowns pass, and at what price in ID accuracy."""
    name, words = subject.name, {change.word for change in changes}
    accuracy = subject.id_accuracy - baseline.id_accuracy
    price = f", at {percent(-accuracy)} points less ID accuracy" if _word(accuracy) == "worse" else ""
    if words == {"better"}:
        return f"On average `{name}` lets fewer unknown images pass than `{BASELINE}` {_under(changes)}{price}."
    if words == {"worse"}:
        return f"`{name}` is worse than `{BASELINE}`: on average it lets more unknown images pass {_under(changes)}{price}."
    if words == {"unchanged"}:
        return f"On average `{name}` and `{BASELINE}` let equally many unknown images pass {_under(changes)}{price}."
    parts = []
    for word in ("better", "worse", "unchanged"):
        if scores := [change.score for change in changes if change.word == word]:
            parts.append(f"{word} under {listing(scores)}")
    return f"Against `{BASELINE}`, `{name}` is on average {'; '.join(parts)}{price}."


def _under(changes: tuple[Change, ...]) -> str:
    return f"under {changes[0].score}" if len(changes) == 1 else f"under all {len(changes)} scores"


def _accuracy(subject: Evaluation, baseline: Evaluation) -> str:
    gain = subject.id_accuracy - baseline.id_accuracy
    before, after = percent(baseline.id_accuracy), percent(subject.id_accuracy)
    if _word(gain) == "unchanged":
        return f"ID accuracy is unchanged at {after} %."
    return f"ID accuracy is {_word(gain)}: {after} % against {before} % ({points(gain)} points)."


def _worsenings(subject: Evaluation, baseline: Evaluation) -> list[str]:
    """Every OOD set that got worse, also behind a mean that got better."""
    found: dict[str, list[str]] = {}
    for score in _shared_scores(subject, baseline):
        for dataset in common_datasets(score, subject, baseline):
            change = subject.result(score, dataset).fpr95 - baseline.result(score, dataset).fpr95
            if round_points(change) > 0:
                found.setdefault(dataset, []).append(f"{score_label(score)} {points(change)}")
    if not found:
        return ["FPR95 got worse on no OOD set under any score."]
    places = [f"{dataset} ({', '.join(where)})" for dataset, where in found.items()]
    return [f"FPR95 got worse on {listing(places)}."]


def _artefacts(subject: Evaluation, baseline: Evaluation) -> list[str]:
    """What the artefact control says, where both were measured: a detector of the generator calls its ID images unknown."""
    before, after = dict(baseline.control), dict(subject.control)
    shared = [score for score in before if score in after]
    if not shared:
        return []
    shares = [
        f"{percent(after[score])} % under {score_label(score)} (`{BASELINE}` {percent(before[score])} %)" for score in shared
    ]
    return [f"Of images of the ID classes that the generator painted, `{subject.name}` calls OOD {listing(shares)}."]
