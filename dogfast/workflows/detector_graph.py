"""The ONNX graph of a detector, and whether it says what torch says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dogfast.detection.detector import Detector
from dogfast.detection.graph import DetectorGraph
from dogfast.engines.backends.onnxruntime import open_engine
from dogfast.engines.choice import ONNXRUNTIME, why_not
from dogfast.engines.export import EXPORT_ROWS, check_form, write_graph
from dogfast.engines.parity import NOT_RUN, OK
from dogfast.engines.table import BOOL, Network, Port
from dogfast.errors import EnvironmentFault

NETWORK = Network(
    "detector",
    "",
    (Port("images", ("rows", "rgb", "px", "px")),),
    (Port("logits", ("rows", "classes")), Port("score", ("rows",)), Port("known", ("rows",), BOOL)),
)
FP32 = "fp32"
LARGEST_IN_ONE_FILE = 2**30
"""Bytes of weights; a graph of 2 GiB is none."""
LARGEST_DIFFERENCE = 1e-3
"""Of a row of logits as a share of its length, and of a score as a share of itself or of 1: sums in another order stay far below."""


def write_detector_graph(detector: Detector, folder: Path) -> dict[str, Any]:
    """Write the graph of ``detector``, which lies on the CPU, into ``folder``, and compare it with torch under ONNX Runtime.

    Returns ``verdict``, "ok" or "not run", and with "ok" the greatest differences of ``logits`` and ``score``. Raises
    :class:`UsageError` for a score that no graph can hold, :class:`EnvironmentFault` where the exporter refuses it or the two
    differ.
    """
    graph, images = DetectorGraph(detector).eval(), example_images(detector.side_px)
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    write_graph(graph, NETWORK, (images[:EXPORT_ROWS],), folder, _metadata(detector), external=size > LARGEST_IN_ONE_FILE)
    check_form(folder, NETWORK, FP32)
    if why_not(ONNXRUNTIME):
        return {"verdict": NOT_RUN}
    engine = open_engine(ONNXRUNTIME, folder, NETWORK, (tuple(images.shape),), FP32, "cpu")
    with torch.no_grad():
        found = differences(engine(images), graph(images), detector.threshold)
    if not all(difference <= LARGEST_DIFFERENCE for difference in found.values()):
        raise EnvironmentFault(
            f"the graph of {detector.name} by {detector.score} is refused: ONNX Runtime and torch differ by "
            f"{found['logits']:.1e} in logits and {found['score']:.1e} in scores; export it with --format detector"
        )
    return {"verdict": OK, **found}


def differences(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...], threshold: float) -> dict[str, float]:
    """The greatest relative difference of ``logits`` and of ``score``; infinite where `known` is not what the score says."""
    (logits, score, known), (expected, wanted, _) = ours, theirs
    relative = (logits - expected).norm(dim=1) / expected.norm(dim=1)
    apart = torch.where(score == wanted, 0.0, (score - wanted).abs() / wanted.abs().clamp(min=1))
    told = bool((known == (score >= threshold)).all())
    return {"logits": float(relative.max()), "score": float(apart.max()) if told else float("inf")}


def example_images(side_px: int) -> Tensor:
    """Images (n, 3, S, S) in [0, 1], the same in every process: noise, blots, black and white."""
    generator = torch.Generator().manual_seed(0)
    noise, blots = (torch.rand(3, 3, side, side, generator=generator) for side in (side_px, 4))
    plain = torch.stack([torch.full((3, side_px, side_px), value) for value in (0.0, 1.0)])
    return torch.cat([noise, F.interpolate(blots, side_px, mode="bicubic").clamp(0, 1), plain])


def _metadata(detector: Detector) -> dict[str, str]:
    side = detector.side_px
    return {
        "classifier": detector.name,
        "class_names": json.dumps(detector.class_names, ensure_ascii=False),
        "score": detector.score,
        "threshold": repr(detector.threshold),
        "recall": repr(detector.recall),
        "images": f"float32 (rows, 3, {side}, {side}), RGB in [0, 1]",
        "preparation": str(detector.preparation),
    }
