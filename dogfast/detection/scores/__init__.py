"""Post-hoc scores: what each makes of a classifier's :class:`Evidence`, larger = more ID.

A score is a file with ``score(evidence, **hyper-parameters) -> (n,) fp32``. Who evaluates sees bound scores only,
functions of the evidence alone, and cannot tell what was bound: a percentile, or something fitted.
"""

from collections.abc import Callable
from functools import partial

import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.config.option import one_of
from dogfast.detection.scores import ash_s, energy, msp, rejection

Score = Callable[[Evidence], torch.Tensor]

REJECTION = "rejection"
"""Not to be asked for: a classifier that has a class of outliers is always judged by it too."""
SCORES = {
    "msp": msp.score,
    "energy": energy.score,
    "ash-s": ash_s.score,
    REJECTION: rejection.score,
}


def bound_scores(names: tuple[str, ...], *, ash_percentile: int) -> dict[str, Score]:
    """The scores called ``names`` with their hyper-parameters bound, in that order.

    ``ash_percentile`` in 1 … 99, already chosen. Raises :class:`UsageError` listing the known names.
    """
    for name in names:
        one_of(name, tuple(SCORES), "--scores")
    assert "ash-s" not in names or 0 < ash_percentile < 100, f"choose the percentile first: {ash_percentile}"
    hyper_parameters = {"ash-s": {"percentile": ash_percentile}}
    return {name: partial(SCORES[name], **hyper_parameters.get(name, {})) for name in names}
