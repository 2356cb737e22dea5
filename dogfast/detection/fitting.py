"""What scores need to know before they score: fitted on ID training images, hyper-parameters chosen on validation images."""

from __future__ import annotations

from typing import Any

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.config.detection import DetectionConfig
from dogfast.detection.scores import State, bound_scores, knn, mahalanobis, react, vim
from dogfast.detection.scores.shaping import PERCENTILES
from dogfast.environment import Choice
from dogfast.errors import DataError
from dogfast.numerics.metrics import auroc, checked_scores

FITS = {"react": react.fit, "mahalanobis": mahalanobis.fit, "knn": knn.fit, "vim": vim.fit}
"""The scores that look at ID training images first."""

CANDIDATES: dict[str, tuple[str, tuple[float, ...]]] = {
    "odin": ("magnitude", (0.0, 0.0005, 0.001, 0.0014, 0.002, 0.005, 0.01)),
    "ash-s": ("percentile", PERCENTILES),
    "ash-b": ("percentile", PERCENTILES),
    "ash-p": ("percentile", PERCENTILES),
    "scale": ("percentile", PERCENTILES),
    "knn": ("k", (1, 10, 50, 200, 1000)),
}
"""The one hyper-parameter of a score that is chosen on validation, and among what; a k is at most the bank."""

DEFAULTS: dict[str, State] = {
    "odin": {"magnitude": 0.0014},
    "ash-s": {"percentile": 65},
    "ash-b": {"percentile": 65},
    "ash-p": {"percentile": 65},
    "scale": {"percentile": 85},
}
"""The papers' own, where there is no validation; k comes with the bank."""

Choices = dict[str, Choice[float]]
"""By score, the value of the hyper-parameter of :data:`CANDIDATES`."""


def fitted(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the scores ``names`` that need the evidence of ID training images."""
    return tuple(name for name in names if name in FITS)


def to_choose(names: tuple[str, ...], config: DetectionConfig) -> tuple[str, ...]:
    """Those of the scores ``names`` that need the evidence of validation images."""
    return tuple(name for name in names if name in CANDIDATES and _asked(name, config) is None)


def fit_scores(
    names: tuple[str, ...],
    training: tuple[Evidence, torch.Tensor] | None,
    validation: tuple[Evidence, Evidence] | None,
    config: DetectionConfig,
    device: str = "cpu",
) -> tuple[dict[str, State], Choices]:
    """The state of each of the scores ``names`` that has one, on the CPU, and the choices that are in them, with reasons.

    ``training``: evidence of ID training images and their labels (n,), needed where `fitted` names a score. ``validation``:
    evidence of ID and of OOD validation images, for odin moved by all candidates but 0; without it defaults are taken. Scores
    are tried on ``device``. Raises :class:`DataError` where the training features are not finite or a score cannot be fitted.
    """
    states = {name: dict(DEFAULTS[name]) for name in names if name in DEFAULTS}
    if fitted(names):
        assert training is not None, f"{fitted(names)} need evidence of ID training images"
        _refuse_infinite(training[0])
        options: dict[str, dict[str, Any]] = {"knn": {"share": config.knn_share}}
        states |= {name: FITS[name](*training, **options.get(name, {})) for name in fitted(names)}
    choices = {}
    for name in names:
        if name in CANDIDATES:
            parameter, _ = CANDIDATES[name]
            choices[name] = _choice(name, states[name], validation, config, device)
            states[name][parameter] = choices[name].value
    return states, choices


def described(choices: Choices) -> dict[str, dict[str, Any]]:
    """``choices`` for `metrics.json`: by score ``name``, ``value`` and ``reason``."""
    return {
        score: {"name": CANDIDATES[score][0], "value": choice.value, "reason": choice.reason}
        for score, choice in choices.items()
    }


def _choice(
    name: str, state: State, validation: tuple[Evidence, Evidence] | None, config: DetectionConfig, device: str
) -> Choice[float]:
    """The value asked for, else the best on validation, else the default that ``state`` holds."""
    parameter, candidates = CANDIDATES[name]
    asked = _asked(name, config)
    if asked is not None:
        return Choice(asked, "asked for by --ash-percentile")
    if validation is None:
        return Choice(state[parameter], "the default: the run holds no validation outliers to choose it on")
    if parameter == "k":
        candidates = tuple(k for k in candidates if k <= len(state["bank"]))
    aurocs = {value: _validation_auroc(name, state | {parameter: value}, validation, device) for value in candidates}
    best = max(aurocs, key=aurocs.__getitem__)
    return Choice(best, f"best validation AUROC ({100 * aurocs[best]:.2f} %) of {', '.join(map(str, candidates))}")


def _asked(name: str, config: DetectionConfig) -> int | None:
    return (config.ash_percentile or None) if name.startswith("ash-") else None


def _validation_auroc(name: str, state: State, validation: tuple[Evidence, Evidence], device: str) -> float:
    """Rounded far below one pair's weight, so that equal ones are equal whatever the order of their sums."""
    score = bound_scores((name,), {name: state}, device)[name]
    known, unknown = (
        checked_scores(score(evidence), f"{kind} validation images, {name}")
        for kind, evidence in zip(("ID", "OOD"), validation)
    )
    return round(auroc(known, unknown), 12)


def _refuse_infinite(known: Evidence) -> None:
    bad = int((~known.features.sum(dim=1).isfinite()).sum())
    if bad:
        raise DataError(
            f"ID training images: {bad} of {len(known.features)} have features that are not finite; check the classifier's weights"
        )
