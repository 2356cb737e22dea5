"""Scores on a GPU say what they say on a CPU. Skipped where there is none."""

import pytest
import torch

from dogfast.config.detection import SCORES, DetectionConfig
from dogfast.detection.fitting import fit_scores
from dogfast.detection.scores import bound_scores
from tests.detection.made_up import MAGNITUDE, labels_of, make_evidence, relu_features

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is present")]


@pytest.mark.parametrize("name", SCORES)
def test_a_score_is_the_same_on_a_gpu(name):
    training = make_evidence(relu_features(200, 64)), labels_of(200)
    states = fit_scores((name,), training, None, DetectionConfig())[0] | {"odin": {"magnitude": MAGNITUDE}}
    evidence = make_evidence(relu_features(50, 64, seed=2))
    on_cpu, on_gpu = (bound_scores((name,), states, device)[name](evidence) for device in ("cpu", "cuda"))
    assert on_gpu.device.type == "cpu"
    torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-4, atol=1e-4)
