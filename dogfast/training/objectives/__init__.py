"""What is minimised, and how: one file a training method.

An objective is made from the :class:`~dogfast.config.training.TrainingConfig` and called with a
:class:`~dogfast.training.loop.Learner` and a :class:`~dogfast.training.loop.Batch` for every step. It runs the forwards,
gives losses to ``learner.backward``, calls ``learner.step`` and returns the step's losses by name, detached scalars.
``uses_outliers`` says whether batches bring outliers.
"""

from dogfast.training.objectives.ce import CrossEntropy
from dogfast.training.objectives.dog import Dog
from dogfast.training.objectives.oe import OutlierExposure

OBJECTIVES = {
    "ce": CrossEntropy,
    "oe": OutlierExposure,
    "dog": Dog,
}
