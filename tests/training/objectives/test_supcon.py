"""Supervised contrast: Eq. 2 from its formula, its step, and a backbone on which a linear head classifies."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from dogfast.classifiers.wrn import WideResNet
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.data.augment import Draws
from dogfast.events import Events
from dogfast.training.batches import Batch
from dogfast.training.loop import fit
from dogfast.training.objectives.supcon import contrast_loss, views_of
from dogfast.training.regimes import regime_of
from tests.training.steps import assert_moved_by, learner_of, objective_of, parameters, plain_model, small_model


def pairs(dtype=torch.float64):
    """3 images of 2 classes, two views each."""
    views = torch.rand(3, 2, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return Batch(views, torch.tensor([0, 1, 0]))


def unit_rows(n, width=5):
    return F.normalize(torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(2)), dim=1)


def scalar_contrast(points, labels, temperature):
    """Eq. 2, as it is written."""
    dot = [[sum(a * b for a, b in zip(z, w)) / temperature for w in points] for z in points]
    total = 0.0
    for i in range(len(points)):
        positives = [p for p in range(len(points)) if p != i and labels[p] == labels[i]]
        below = sum(math.exp(dot[i][a]) for a in range(len(points)) if a != i)
        total -= sum(math.log(math.exp(dot[i][p]) / below) for p in positives) / len(positives)
    return total / len(points)


@pytest.mark.parametrize("temperature", [0.07, 0.1, 2.0])
def test_contrast_against_a_scalar_loop(temperature):
    points, labels = unit_rows(7), [0, 1, 0, 2, 2, 1, 0]
    expected = scalar_contrast(points.tolist(), labels, temperature)
    assert float(contrast_loss(points, torch.tensor(labels), temperature)) == pytest.approx(expected, rel=1e-12)


def test_a_row_without_positives_counts_as_nothing_and_stays_finite():
    points = unit_rows(3).requires_grad_()
    loss = contrast_loss(points, torch.tensor([0, 0, 1]), 0.1)
    loss.backward()
    dot = (points @ points.T / 0.1).tolist()
    rows = [-math.log(math.exp(dot[i][1 - i]) / (math.exp(dot[i][1 - i]) + math.exp(dot[i][2]))) for i in (0, 1)]
    assert loss.item() == pytest.approx(sum(rows) / 3) and points.grad.isfinite().all()


def test_views_lie_beside_each_other():
    views, labels = views_of(pairs())
    assert labels.tolist() == [0, 0, 1, 1, 0, 0] and torch.equal(views[3], pairs().id_images[1, 1])


def test_the_step_is_the_gradient_of_the_loss():
    model, batch = small_model(), pairs()
    objective = objective_of("supcon", model, contrast_temperature=0.5)
    twin, other = copy.deepcopy(model), copy.deepcopy(objective)
    before = parameters(model) | parameters(objective)
    losses = objective(learner_of(model, objective=objective), batch)
    points = other.projection(twin.features(batch.id_images.flatten(0, 1)))
    points = points / points.norm(dim=1, keepdim=True)
    loss = contrast_loss(points, torch.tensor([0, 0, 1, 1, 0, 0]), 0.5)
    loss.backward()
    assert points.shape == (6, 128) and float(losses["contrast"]) == pytest.approx(loss.item())
    zero = {name: torch.zeros_like(p) for name, p in model.head.named_parameters(prefix="head")}
    moved = {name: p.grad for name, p in [*twin.named_parameters(), *other.named_parameters()] if p.grad is not None}
    assert_moved_by(before, parameters(model) | parameters(objective), zero | moved)
    assert all("head" in name for name in zero) and not zero.keys() & moved.keys()


def test_it_augments_into_pairs_of_views():
    images = torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)
    views = objective_of("supcon", plain_model()).augment(images, Draws(torch.Generator().manual_seed(0), 4))
    assert views.shape == (4, 2, 3, 8, 8) and not torch.equal(views[:, 0], views[:, 1])
    assert len(Batch(views, torch.arange(4)).parts(2)[1].id_images) == 2


def test_half_precision_losses_are_fp32_and_finite():
    model = plain_model()
    losses = objective_of("supcon", model)(learner_of(model, precision="bf16"), pairs(torch.float32))
    assert losses["contrast"].dtype == torch.float32 and losses["contrast"].isfinite()


@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_the_model_that_comes_out_classifies(ema):
    """The averaged weights too: the head is fitted to the features that are kept."""
    labels = torch.arange(48) % 2
    images = torch.randint(0, 200, (48, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images[labels == 1, 0] += 55
    images = images.to(torch.uint8)
    config = TrainingConfig(objective="supcon", batch=16, pretrain_epochs=2, pretrain_lr=0.05, ema=ema)
    methods = ObjectivesConfig()
    torch.manual_seed(0)
    model = WideResNet(10, 1, 2)
    report = fit(model, images, labels, None, regime_of(config, methods, ""), config, methods, Events())
    assert (model(images / 255).argmax(1) == labels).float().mean() > 0.9
    assert report["history"][-1]["contrast"] < report["history"][0]["contrast"]
