"""CSI: its step from the rotations by hand, its labels, and a head over four rotations at the end."""

import copy

import pytest
import torch
from torch.nn import functional as F

from dogfast.classifiers.rotations import RotationAveraged
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.events import Events
from dogfast.training.batches import Batch
from dogfast.training.loop import fit
from dogfast.training.objectives.supcon import contrast_loss
from dogfast.training.optimizers import Lars, build_optimizer
from dogfast.training.regimes import regime_of
from tests.training.steps import assert_moved_by, learner_of, objective_of, parameters, plain_model, small_model


def pairs(dtype=torch.float64):
    views = torch.rand(3, 2, 3, 8, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))
    return Batch(views, torch.tensor([0, 1, 0]))


def test_the_step_contrasts_classes_and_rotations():
    model, batch = RotationAveraged(small_model()).double(), pairs()
    objective = objective_of("csi", model)
    twin, other = copy.deepcopy(model), copy.deepcopy(objective)
    before = parameters(model) | parameters(objective)
    losses = objective(learner_of(model, objective=objective), batch)
    images = [view.rot90(quarter, (1, 2)) for quarter in range(4) for view in batch.id_images.flatten(0, 1)]
    labels = [(c, quarter) for quarter in range(4) for c in (0, 0, 1, 1, 0, 0)]
    numbers = torch.tensor([sorted(set(labels)).index(label) for label in labels])
    points = F.normalize(other.projection(twin.backbone.features(torch.stack(images))), dim=1)
    loss = contrast_loss(points, numbers, 0.07)
    loss.backward()
    assert len(numbers.unique()) == 8 and float(losses["contrast"]) == pytest.approx(loss.item())
    grads = {name: p.grad for name, p in [*twin.named_parameters(), *other.named_parameters()] if p.grad is not None}
    unmoved = {name: torch.zeros_like(p) for name, p in before.items() if "head" in name}
    assert_moved_by(before, parameters(model) | parameters(objective), unmoved | grads)


def test_the_projection_is_of_one_rotation():
    objective = objective_of("csi", RotationAveraged(plain_model()))
    assert objective.projection[0].in_features == 8 and objective.projection[2].out_features == 128


def test_it_steps_with_lars():
    config, methods = TrainingConfig(objective="csi"), ObjectivesConfig()
    model = RotationAveraged(plain_model())
    objective = objective_of("csi", model)
    optimizer = build_optimizer([*model.parameters(), *objective.learned()], regime_of(config, methods, ""), 0.9)
    assert isinstance(optimizer, Lars)


def test_half_precision_losses_are_fp32_and_finite():
    model = RotationAveraged(plain_model())
    losses = objective_of("csi", model)(learner_of(model, precision="bf16"), pairs(torch.float32))
    assert losses["contrast"].dtype == torch.float32 and losses["contrast"].isfinite()


def test_the_model_that_comes_out_classifies():
    labels = torch.arange(24) % 2
    images = torch.randint(0, 200, (24, 3, 8, 8), generator=torch.Generator().manual_seed(0))
    images[labels == 1, 0] += 55
    images, model = images.to(torch.uint8), RotationAveraged(plain_model(2))
    config, methods = TrainingConfig(objective="csi", batch=12, pretrain_epochs=2), ObjectivesConfig()
    fit(model, images, labels, None, regime_of(config, methods, ""), config, methods, Events())
    assert (model(images / 255).argmax(1) == labels).float().mean() > 0.9
