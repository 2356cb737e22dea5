"""ID-class images painted by the generator, mixed into the ID data.

A detector that meets the generator only in outliers learns its handwriting: whatever was painted is unknown. Painted
images of the ID classes, with their labels, take that shortcut away. A fifth of them never trains, by hash of its seed:
on that fifth `evaluate` measures what is left of the shortcut (the artefact control).
"""

from __future__ import annotations

import torch

from dogfast.data.catalogue import IdData
from dogfast.errors import DataError
from dogfast.run import Run
from dogfast.shards.format import ID_CONTROL
from dogfast.shards.selection import controls, load_selected


def mixed_id(run: Run, data: IdData, share: float, image_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """ID training images uint8 (n, 3, H, W) and labels (n,), ``share`` of them painted; the real ones are all there.

    Painted images are repeated where there are too few. Raises DataError when they are of other classes.
    """
    if not share:
        return data.train.images, data.train.labels
    folder = run.outliers(ID_CONTROL)
    painted = load_selected(folder, image_px, data.codec, lambda facts: not controls(facts))
    foreign = {(facts["cls"], facts["class_name"]) for facts in painted.facts} - set(enumerate(data.class_names))
    if foreign:
        raise DataError(f"{folder} was painted for other classes ({sorted(foreign)[0][1]!r}); paint it for this ID set")
    rows = torch.arange(round(len(data.train) * share / (1 - share))) % max(len(painted), 1)
    if len(rows) and not len(painted):
        raise DataError(f"{folder} holds no image to train on; raise --m")
    labels = torch.tensor([facts["cls"] for facts in painted.facts], dtype=torch.int64)
    return torch.cat([data.train.images, painted.images[rows]]), torch.cat([data.train.labels, labels[rows]])
