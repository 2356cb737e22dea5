"""Objectives: their losses against scalar loops, and their steps against gradients taken by hand in float64."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from dogfast.classifiers.wrn import WideResNet
from dogfast.config.training import OBJECTIVES as CONFIGURED
from dogfast.config.training import TrainingConfig
from dogfast.training.learner import Batch, Learner
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.objectives.ce import CrossEntropy
from dogfast.training.objectives.dog import Dog
from dogfast.training.objectives.oe import OutlierExposure, oe_loss
from dogfast.training.perturbation import Perturbation

STRENGTH = 0.1


@pytest.fixture
def model():
    torch.manual_seed(0)
    return WideResNet(10, 1, classes=4, dropout=0.0).double().train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(14, 3, 8, 8, dtype=torch.float64, generator=generator)
    return Batch(images[:6], torch.tensor([0, 1, 2, 3, 0, 1]), images[6:])


def learner_of(model, lr=1.0, momentum=0.0):
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=momentum, nesterov=momentum > 0)
    return Learner(model, optimizer)


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def statistics(model):
    return {name: b.clone() for name, b in model.named_buffers()}


def gradients_at(model, batch, weights, loss):
    """Gradients of ``loss(logits of the joint batch)`` on a copy of ``model`` that stands at ``weights``."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in weights.items():
            twin.get_parameter(name).copy_(weight)
    names, values = zip(*twin.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss(twin(batch.joint)), values)))


def ce_of(batch):
    return lambda logits: F.cross_entropy(logits[:6], batch.id_labels)


def outlier_loss(logits):
    return (logits[6:].logsumexp(1) - logits[6:].mean(1)).mean()


def clipped(gradients):
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
    return {name: g * min(1.0, 1.0 / (norm + 1e-6)) for name, g in gradients.items()}


def assert_moved_by(before, after, expected):
    for name in before:
        torch.testing.assert_close(before[name] - after[name], expected[name], atol=1e-12, rtol=1e-9)


def test_what_can_be_configured_exists():
    assert tuple(OBJECTIVES) == CONFIGURED


def test_oe_loss_against_a_scalar_loop():
    logits = torch.randn(7, 5, dtype=torch.float64) * 4
    total = 0.0
    for row in logits.tolist():
        total += math.log(sum(math.exp(f) for f in row)) - sum(row) / len(row)
    assert float(oe_loss(logits)) == pytest.approx(total / 7, rel=1e-12)


def test_oe_loss_is_the_cross_entropy_to_the_uniform_distribution():
    logits = torch.randn(7, 5, dtype=torch.float64)
    torch.testing.assert_close(oe_loss(logits), F.cross_entropy(logits, torch.full((7, 5), 0.2, dtype=torch.float64)))
    assert float(oe_loss(torch.full((3, 5), 9.0, dtype=torch.float64))) == pytest.approx(math.log(5))


def test_ce_uses_id_images_only(model, batch):
    before = parameters(model)
    logits = copy.deepcopy(model)(batch.id_images).detach()
    losses = CrossEntropy(TrainingConfig())(learner_of(model, lr=0.0), Batch(batch.id_images, batch.id_labels))
    assert losses.keys() == {"ce"} and float(losses["ce"]) == pytest.approx(float(F.cross_entropy(logits, batch.id_labels)))
    assert_moved_by(before, parameters(model), {name: torch.zeros_like(p) for name, p in before.items()})


@pytest.mark.parametrize("configured, weight", [(None, 0.5), (2.0, 2.0), (0.0, 0.0)])
def test_oe_step_is_the_gradient_of_the_weighted_sum(model, batch, configured, weight):
    before = parameters(model)
    expected = gradients_at(model, batch, {}, lambda f: ce_of(batch)(f) + weight * outlier_loss(f))
    losses = OutlierExposure(TrainingConfig(oe_weight=configured))(learner_of(model), batch)
    assert losses.keys() == {"ce", "oe"} and not losses["oe"].requires_grad
    assert_moved_by(before, parameters(model), expected)


@pytest.mark.parametrize("configured, gamma", [(None, 1.0), (0.7, 0.7)])
def test_joint_step_adds_ce_at_the_weights_and_oe_at_the_perturbed_ones(model, batch, configured, gamma):
    before, initial = parameters(model), copy.deepcopy(model)
    dog = Dog(TrainingConfig(oe_weight=configured, wor_strengths=(STRENGTH,)))
    dog(learner_of(model), batch)
    perturbed = {name: before[name] + STRENGTH * p for name, p in dog.perturbation.tensors.items()}
    ce = gradients_at(initial, batch, {}, ce_of(batch))
    oe = gradients_at(initial, batch, perturbed, outlier_loss)
    assert_moved_by(before, parameters(model), {name: ce[name] + gamma * oe[name] for name in before})


@pytest.mark.parametrize("dropout, forwards", [(0.0, 2), (0.3, 3)])
def test_the_perturbation_is_that_of_a_proxy_without_dropout(batch, dropout, forwards):
    """Without dropout the forward of CE serves the proxy; with dropout the proxy has one of its own."""
    torch.manual_seed(0)
    model = WideResNet(10, 1, classes=4, dropout=dropout).double().train()
    proxy = Perturbation((STRENGTH,), "ascend", 0.6, 0)
    proxy.refresh(copy.deepcopy(model), batch.joint, len(batch.id_images))
    seen = []
    model.stem.register_forward_hook(lambda *_: seen.append(1))
    dog = Dog(TrainingConfig(dropout=dropout, wor_strengths=(STRENGTH,)))
    losses = dog(learner_of(model, lr=0.0), batch)
    for name, tensor in dog.perturbation.tensors.items():
        torch.testing.assert_close(tensor, proxy.tensors[name])
    assert len(seen) == forwards and losses["regret"] > 0


@pytest.mark.parametrize("wor_step", ["joint", "alternate"])
def test_weights_are_bit_identical_where_the_learning_rate_is_zero(model, batch, wor_step):
    before = parameters(model)
    Dog(TrainingConfig(wor_step=wor_step))(learner_of(model, lr=0.0), batch)
    assert all(torch.equal(before[name], p) for name, p in parameters(model).items())


def test_alternate_step_carries_the_outlier_step_back_and_then_steps_on_ce(model, batch):
    before, initial = parameters(model), copy.deepcopy(model)
    dog = Dog(TrainingConfig(wor_step="alternate", wor_strengths=(STRENGTH,)))
    dog(learner_of(model, lr=0.5), batch)
    perturbed = {name: before[name] + STRENGTH * p for name, p in dog.perturbation.tensors.items()}
    oe = clipped(gradients_at(initial, batch, perturbed, outlier_loss))
    between = {name: before[name] - 0.5 * oe[name] for name in before}
    ce = clipped(gradients_at(initial, batch, between, ce_of(batch)))
    assert_moved_by(before, parameters(model), {name: 0.5 * (oe[name] + ce[name]) for name in before})


@pytest.mark.parametrize("wor_step", ["joint", "alternate"])
def test_running_statistics_come_from_the_clean_joint_forward_alone(model, batch, wor_step):
    twin = copy.deepcopy(model)
    twin(batch.joint)
    Dog(TrainingConfig(wor_step=wor_step, wor_strengths=(0.5,)))(learner_of(model, lr=0.0), batch)
    expected = statistics(twin)
    for name, buffer in statistics(model).items():
        torch.testing.assert_close(buffer, expected[name], atol=0, rtol=0)


def test_warm_up_is_plain_exposure(model, batch):
    twin = copy.deepcopy(model)
    dog = Dog(TrainingConfig(wor_warmup=2))
    learner = learner_of(model)
    learner.epoch = 1
    dog(learner, batch)
    OutlierExposure(TrainingConfig(oe_weight=1.0))(learner_of(twin), batch)
    assert not dog.perturbation.tensors
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters()))
    learner.epoch = 2
    assert "regret" in dog(learner, batch) and dog.perturbation.tensors


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_fp32_under_bf16(name, batch):
    torch.manual_seed(0)
    model = WideResNet(10, 1, 4).train()
    single = Batch(batch.id_images.float(), batch.id_labels, batch.ood_images.float())
    learner = Learner(model, torch.optim.SGD(model.parameters(), 0.01), "bf16")
    losses = OBJECTIVES[name](TrainingConfig())(learner, single)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_a_refused_step_changes_nothing(model, batch):
    learner = learner_of(model, momentum=0.9)
    CrossEntropy(TrainingConfig())(learner, batch)
    state, momentum = copy.deepcopy(model.state_dict()), copy.deepcopy(learner.optimizer.state_dict())
    CrossEntropy(TrainingConfig())(learner, Batch(batch.id_images * math.inf, batch.id_labels))
    assert learner.refused
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    after = learner.optimizer.state_dict()["state"]
    assert all(torch.equal(after[i]["momentum_buffer"], s["momentum_buffer"]) for i, s in momentum["state"].items())
    learner.refused = False
    CrossEntropy(TrainingConfig())(learner, batch)
    assert not learner.refused
