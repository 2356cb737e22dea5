"""A detector as one module, from images to verdicts: what an ONNX graph of it holds."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.detector import Detector
from dogfast.detection.scores import SCORES, State
from dogfast.errors import UsageError
from dogfast.numerics.neighbours import kth_unit_distances_at_once


def _knn(evidence: Evidence, *, bank: Tensor, k: int) -> Tensor:
    """`knn.score`, all distances at once."""
    return -kth_unit_distances_at_once(F.normalize(evidence.features, dim=1), bank, k)


def _mahalanobis(evidence: Evidence, *, whitening: Tensor, centres: Tensor) -> Tensor:
    """`mahalanobis.score` by |a|² − 2ab + |b|², in float64 as well: ONNX knows no distances."""
    white = evidence.features.double() @ whitening.T
    squares = white.square().sum(1, keepdim=True) - 2 * white @ centres.T + centres.square().sum(1)
    return -0.5 * squares.amin(dim=1).clamp(min=0).float()


IN_GRAPHS: dict[str, Callable[..., Tensor]] = {
    **{name: score for name, score in SCORES.items() if name != "odin"},
    "knn": _knn,
    "mahalanobis": _mahalanobis,
}
"""ODIN follows a gradient, and a graph has none."""
LARGEST_STATE_BYTES = 2**26


class DetectorGraph(nn.Module):
    """Float images (n, 3, S, S) in [0, 1] to logits (n, C), score (n,) and known (n,), whether the score reaches the threshold.

    Raises :class:`UsageError` for a score that no graph can hold, naming those that can.
    """

    def __init__(self, detector: Detector):
        super().__init__()
        refuse_score(detector.score)
        refuse_state(detector.score, detector.state)
        self.model, self.score, self.threshold = detector.model, IN_GRAPHS[detector.score], detector.threshold
        self.numbers = {key: value for key, value in detector.state.items() if not isinstance(value, Tensor)}
        self.tensors = [key for key, value in detector.state.items() if isinstance(value, Tensor)]
        for key in self.tensors:
            self.register_buffer(key, detector.state[key])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features, head = self.model.features(images), self.model.head
        bias = head.weight.new_zeros(len(head.weight)) if head.bias is None else head.bias
        logits = F.linear(features, head.weight, bias)
        refuse = getattr(self.model, "rejection", None)
        rejection = None if refuse is None else refuse(features)[:, 0]
        evidence = Evidence(logits, features, head.weight, bias, rejection)
        score = self.score(evidence, **self.numbers, **{key: getattr(self, key) for key in self.tensors})
        return logits, score, score >= self.threshold


def refuse_score(name: str) -> None:
    """Raise :class:`UsageError` where no graph can hold the score ``name``."""
    if name not in IN_GRAPHS:
        raise _unfit(name, "it follows a gradient, which a graph does not have")


def refuse_state(name: str, state: State) -> None:
    """Raise :class:`UsageError` where the ``state`` of the score ``name`` is too large for a graph."""
    size = sum(value.nbytes for value in state.values() if isinstance(value, Tensor))
    if size > LARGEST_STATE_BYTES:
        smaller = "; --knn-share makes a smaller bank" if name == "knn" else ""
        raise _unfit(name, f"its state has {size >> 20} MiB, of at most {LARGEST_STATE_BYTES >> 20}{smaller}")


def _unfit(name: str, why: str) -> UsageError:
    able = ", ".join(other for other in IN_GRAPHS if other != name)
    return UsageError(f"--score {name} cannot be put into a graph ({why}); export with --format detector, or choose of {able}")
