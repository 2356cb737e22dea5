"""DOE as released: outlier exposure with alternating steps at weights moved along the descent of the regret.

Wang et al., "Out-of-distribution detection with implicit outlier transformation" (ICLR 2023): the first half of the epochs
is plain exposure; see :mod:`dogfast.training.objectives.dog` for the steps.
"""

from __future__ import annotations

from dogfast.training.objective import Task
from dogfast.training.objectives.dog import Dog


class Doe(Dog):
    """`dog` with alternating steps and the release's sign, after 5 of 10 epochs of warm-up."""

    reads = ("wor_strengths", "wor_smoothing")

    def __init__(self, task: Task):
        super().__init__(task, step="alternate", sign="descend", warmup=task.regime.epochs // 2)
