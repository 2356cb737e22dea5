"""A detector as pytorch-ood knows them: `fit`, `predict` and a call, larger = more OOD; labels below 0 are unknown there."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dogfast.detection.detector import Detector

WHITE = 255


class OutlierScorer:
    """Stands where pytorch-ood wants a detector. It was fitted where it was made, so that `fit` has nothing to do."""

    def __init__(self, detector: Detector):
        self.detector = detector

    def fit(self, *given: Any, **options: Any) -> OutlierScorer:
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Outlier scores (n,) of float images (n, 3, S, S) in [0, 1], not normalised, as torchvision's `ToTensor` gives them."""
        return -self.detector((images * WHITE).round().clamp(0, WHITE).byte()).score

    def __call__(self, images: Tensor) -> Tensor:
        return self.predict(images)
