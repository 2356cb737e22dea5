"""Post-hoc scores: what each makes of a classifier's :class:`Evidence`, larger = more ID.

A score is a file with ``score(evidence, **state) -> (n,) fp32``. Its state is flat: tensors and numbers, which `fitting`
finds. Who evaluates sees bound scores only, functions of the evidence alone, and cannot tell what was bound: a percentile,
or something fitted.
"""

from collections.abc import Callable
from functools import partial

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.config.option import one_of
from dogfast.detection.scores import (
    ash_b,
    ash_p,
    ash_s,
    energy,
    knn,
    mahalanobis,
    maxlogit,
    msp,
    odin,
    react,
    rejection,
    scale,
    vim,
)

Score = Callable[[Evidence], torch.Tensor]
State = dict[str, torch.Tensor | float | int]

REJECTION = "rejection"
"""Not to be asked for: a classifier that has a class of outliers is always judged by it too."""
SCORES: dict[str, Callable[..., torch.Tensor]] = {
    "msp": msp.score,
    "maxlogit": maxlogit.score,
    "energy": energy.score,
    "odin": odin.score,
    "ash-s": ash_s.score,
    "ash-b": ash_b.score,
    "ash-p": ash_p.score,
    "react": react.score,
    "scale": scale.score,
    "mahalanobis": mahalanobis.score,
    "knn": knn.score,
    "vim": vim.score,
    REJECTION: rejection.score,
}
ROWS_AT_ONCE = 2**13


def bound_scores(names: tuple[str, ...], states: dict[str, State], device: str = "cpu") -> dict[str, Score]:
    """The scores called ``names`` with their ``states`` (none where a score has none) bound, in that order.

    They work on ``device``, a few thousand images at a time, and answer on the CPU. Raises :class:`UsageError` listing the
    known names.
    """
    for name in names:
        one_of(name, tuple(SCORES), "--scores")
    return {name: partial(_scored, SCORES[name], _on(device, states.get(name, {})), device) for name in names}


def moves(states: dict[str, State]) -> tuple[float, ...]:
    """The magnitudes by which the images must be moved for the scores of ``states``: ODIN's, if it is among them and not 0."""
    return tuple(filter(None, [states.get("odin", {}).get("magnitude")]))


def _on(device: str, state: State) -> State:
    return {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in state.items()}


def _scored(score: Callable[..., torch.Tensor], state: State, device: str, evidence: Evidence) -> torch.Tensor:
    return torch.cat([score(part, **state).cpu() for part in evidence.parts(ROWS_AT_ONCE, device)])
