"""Any module as a classifier: what its head is given, in training, evaluation, perturbed and scored."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dogfast.classifiers.adapted import Adapted
from dogfast.classifiers.evidence import collect_evidence
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.detection.scores import bound_scores
from dogfast.errors import UsageError
from dogfast.events import Events
from dogfast.training.batches import Held
from dogfast.training.loop import fit
from dogfast.training.perturbation import forward_aside, perturbable
from dogfast.training.regimes import regime_of


class Foreign(nn.Module):
    """Batch normalisation, dropout, a weight that no output depends on, and a forward that answers with a softmax."""

    def __init__(self, classes=2):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.unused = nn.Linear(8, 3)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, classes))

    def forward(self, x):
        return self.classifier(self.body(x).mean((2, 3))).softmax(1)


def adapted():
    return Adapted(Foreign(), "classifier.1", mean=(0.5,) * 3, std=(0.25,) * 3)


def test_features_are_what_the_head_is_given():
    model, images = adapted().eval(), torch.rand(4, 3, 8, 8)
    expected = model.module.body((images - 0.5) / 0.25).mean((2, 3))
    torch.testing.assert_close(model.features(images), expected)
    assert torch.equal(model(images), model.module.classifier[1](model.features(images)))
    assert not model.head._forward_pre_hooks, "nothing is left behind"


def test_a_copy_sees_its_own_weights():
    model, images = adapted().eval(), torch.rand(4, 3, 8, 8)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.module.body[0].weight.zero_()
    assert not torch.equal(model.features(images), twin.features(images))


def test_a_forward_aside_stands_at_the_weights_it_is_given():
    model, images = adapted().train(), torch.rand(4, 3, 8, 8)
    before = model.module.body[1].running_mean.clone()
    weights = {name: torch.zeros_like(w, requires_grad=True) for name, w in perturbable(model).items()}
    logits = forward_aside(model, images, weights)
    torch.testing.assert_close(logits, model.head.bias.expand(4, 2))
    logits.sum().backward()
    assert weights["module.classifier.1.weight"].grad is not None
    assert torch.equal(model.module.body[1].running_mean, before)


@pytest.mark.slow
def test_compiled_features_are_the_same():
    model, images = adapted().eval(), torch.rand(4, 3, 8, 8)
    compiled = torch.compile(model.features, backend="eager")
    torch.testing.assert_close(compiled(images), model.features(images))


@pytest.mark.parametrize("head", ["fc", "classifier", "classifier.0", ""])
def test_what_is_no_linear_layer_is_refused(head):
    with pytest.raises(UsageError, match="is no linear layer of Foreign"):
        Adapted(Foreign(), head)


@pytest.mark.parametrize("objective", ["ce", "dog"])
def test_it_learns_and_is_scored(objective):
    labels = torch.arange(64) % 2
    images = torch.randint(0, 120, (64, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images[torch.arange(64), labels * 2] += 100
    images, model = images.to(torch.uint8), adapted()
    fields = {"epochs": 4, "pretrain_epochs": 4, "lr": 0.1, "batch": 16, "ood_batch": 8, "ema": 0.5}
    config, methods = TrainingConfig(objective=objective, **fields), ObjectivesConfig()
    outliers = Held(images.flip(0)[:16].roll(1, 1), 0)
    fit(model, images, labels, outliers, regime_of(config, methods, ""), config, methods, Events())
    evidence = collect_evidence(model, images, 16, "cpu", "fp32")
    assert F.cross_entropy(evidence.logits, labels) < 0.5 < torch.tensor(2.0).log()
    for score in bound_scores(("msp", "energy", "ash-s"), {"ash-s": {"percentile": 80}}).values():
        assert score(evidence).isfinite().all()
