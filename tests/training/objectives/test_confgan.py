"""ConfGAN: divergence and steps against formulas, images in range, and that nothing is poisoned."""

import copy
import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.errors import UsageError
from dogfast.training.batches import Batch
from dogfast.training.objective import Task
from dogfast.training.objectives.confgan import ConfGan, build_discriminator, build_generator, uniform_divergence
from dogfast.training.regimes import regime_of
from tests.training.steps import learner_of, objective_of, plain_model, small_model, some_batch

BETA = 0.3


@pytest.fixture
def batch():
    return Batch(some_batch().id_images, some_batch().id_labels)


def confgan(model, weight=BETA):
    torch.manual_seed(4)
    return objective_of("confgan", model, {"oe_weight": weight}, confgan_noise=5)


def step(objective, learner, batch, seed=7):
    torch.manual_seed(seed)
    return objective(learner, batch)


def generated_by(objective, count, seed=7):
    torch.manual_seed(seed)
    return objective.generator(torch.randn(count, 5, 1, 1, dtype=torch.float64))


def gradients(optimizer):
    """Those of the one step taken: Adam's first moment is half of them."""
    return [optimizer.state[p]["exp_avg"] / (1 - 0.5) for p in optimizer.param_groups[0]["params"]]


def test_divergence_against_a_scalar_loop():
    logits = torch.randn(7, 5, dtype=torch.float64) * 3
    total = 0.0
    for row in logits.tolist():
        mass = sum(map(math.exp, row))
        total += sum(1 / 5 * math.log((1 / 5) / (math.exp(f) / mass)) for f in row)
    assert float(uniform_divergence(logits)) == pytest.approx(total / 7, rel=1e-12)
    assert float(uniform_divergence(torch.full((3, 5), 2.0))) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("side", [8, 16, 32, 64])
def test_generated_images_are_as_large_as_wished_and_in_range(side):
    images = build_generator(side, 5, 2)(torch.randn(2, 5, 1, 1))
    assert images.shape == (2, 3, side, side) and 0 <= images.min() < images.max() <= 1
    assert build_discriminator(side, 2)(images).shape == (2, 1, 1, 1)


def test_another_side_is_refused():
    config, methods = TrainingConfig(objective="confgan"), ObjectivesConfig()
    with pytest.raises(UsageError, match=r"--objective confgan .* 8, 16, 32, 64 px, not 48; .*--image-px"):
        ConfGan(Task(methods, regime_of(config, methods, ""), small_model(), 48))


def test_the_discriminator_moves_along_its_cross_entropy(batch):
    model = small_model()
    objective = confgan(model)
    twin = copy.deepcopy(objective)
    step(objective, learner_of(model), batch)
    fake = generated_by(twin, 6).detach()
    real, told = (twin.discriminator(x).sigmoid().flatten() for x in (batch.id_images, fake))
    loss = -(real.log().mean() + (1 - told).log().mean())
    expected = torch.autograd.grad(loss, list(twin.discriminator.parameters()))
    for found, gradient in zip(gradients(objective.optimizers()["discriminator"]), expected, strict=True):
        torch.testing.assert_close(found, gradient)


def test_the_generator_moves_along_both_of_its_terms(batch):
    """At the discriminator that has just moved, and the classifier that has not."""
    model = small_model()
    objective, still = confgan(model), copy.deepcopy(model)
    twin = copy.deepcopy(objective)
    losses = step(objective, learner_of(model), batch)
    fake = generated_by(twin, 6)
    fooled = -objective.discriminator(fake).sigmoid().log().mean()
    unsure = uniform_divergence(still(torch.cat([batch.id_images, fake]))[6:])
    expected = torch.autograd.grad(fooled + BETA * unsure, list(twin.generator.parameters()))
    torch.testing.assert_close(losses["generator"], fooled.detach())
    for found, gradient in zip(gradients(objective.optimizers()["generator"]), expected, strict=True):
        torch.testing.assert_close(found, gradient)


def test_the_classifier_moves_along_ce_and_divergence_of_one_joint_forward(batch):
    model = small_model()
    objective, still = confgan(model), copy.deepcopy(model)
    fake = generated_by(copy.deepcopy(objective), 6).detach()
    losses = step(objective, learner_of(model), batch)
    logits = still(torch.cat([batch.id_images, fake]))
    ce = F.cross_entropy(logits[:6], batch.id_labels)
    (ce + BETA * uniform_divergence(logits[6:])).backward()
    assert losses.keys() == {"ce", "divergence", "generator", "discriminator"}
    torch.testing.assert_close(losses["ce"], ce.detach())
    for moved, was in zip(model.parameters(), still.parameters()):
        torch.testing.assert_close(was - moved, was.grad, atol=1e-12, rtol=1e-9)
    for kept, expected in zip(model.buffers(), still.buffers()):
        torch.testing.assert_close(kept, expected)


def test_the_models_optimizer_has_the_model_alone(batch):
    model = small_model()
    objective = confgan(model)
    assert objective.learned() == [] and not dict(objective.named_buffers())
    own = [p for optimizer in objective.optimizers().values() for g in optimizer.param_groups for p in g["params"]]
    assert {id(p) for p in own} == {id(p) for p in objective.parameters()} and objective.optimizers() is objective.optimizers()
    for optimizer in objective.optimizers().values():
        assert optimizer.param_groups[0]["betas"] == (0.5, 0.999) and optimizer.param_groups[0]["lr"] == 2e-4


def test_all_three_learn_at_the_rate_of_the_step(batch):
    model = small_model()
    objective, learner = confgan(model), learner_of(model, lr=0.0)
    before = copy.deepcopy(objective.state_dict())
    step(objective, learner, batch)
    assert all(torch.equal(before[name], tensor) for name, tensor in objective.state_dict().items())
    learner.optimizer.param_groups[0]["lr"] = 0.01
    step(objective, learner, batch)
    assert not any(torch.equal(before[name], tensor) for name, tensor in objective.state_dict().items())


def test_the_gradients_of_every_process_are_averaged(batch):
    alone, several = confgan(small_model()), confgan(small_model())
    step(alone, learner_of(small_model()), batch)
    learner = learner_of(small_model())
    learner.ranks = SimpleNamespace(count=1, average=lambda tensor: 3 * tensor)
    step(several, learner, batch)
    one, other = (gradients(objective.optimizers()["discriminator"]) for objective in (alone, several))
    assert all(torch.allclose(b, 3 * a) for a, b in zip(one, other))


def states(objective):
    own = [s for o in objective.optimizers().values() for state in o.state.values() for s in state.values()]
    return copy.deepcopy([*objective.state_dict().values(), *own])


@pytest.mark.parametrize("part", ["images", "classifier", "discriminator"])
def test_a_refused_step_poisons_none_of_the_three(batch, part):
    model = small_model()
    objective, learner = confgan(model), learner_of(model, momentum=0.9)
    step(objective, learner, batch)
    if part == "images":
        batch = Batch(batch.id_images * math.nan, batch.id_labels)
    broken = {"classifier": model.head, "discriminator": objective.discriminator[0]}.get(part)
    hook = broken.register_forward_hook(lambda _, __, found: found * math.nan) if broken else None
    kept, before, own = copy.deepcopy(model.state_dict()), states(objective), objective
    learner.finite = torch.ones(())
    step(objective, learner, batch)
    assert not learner.finite
    if part == "images":
        assert all(torch.equal(a, b) for a, b in zip(before, states(own)))
    if part != "discriminator":
        assert all(torch.equal(kept[name], tensor) for name, tensor in model.state_dict().items())
    assert all(tensor.isfinite().all() for tensor in [*states(own), *model.state_dict().values()])
    if hook:
        hook.remove()
    learner.finite = torch.ones(())
    step(objective, learner, Batch(some_batch().id_images, batch.id_labels))
    assert learner.finite


def test_steps_cannot_be_computed_in_parts(batch):
    model = small_model()
    learner = learner_of(model)
    learner.parts = 2
    with pytest.raises(UsageError, match="--accumulate"):
        confgan(model)(learner, batch)


def test_the_classifier_becomes_unsure_of_what_is_generated(batch):
    """ID images of one colour a class: the divergence on generated images falls, and the classes are learned."""
    model, labels = plain_model().double(), torch.arange(4).repeat(4)
    with torch.no_grad():
        model.head.weight.mul_(20)
    images = 0.2 * torch.rand(16, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    images[torch.arange(16), labels % 3] += 0.25 + 0.5 * (labels == 3).double().view(16, 1, 1)
    objective = confgan(model, 1.0)
    learner = learner_of(model)
    learner.optimizer = torch.optim.Adam(model.parameters(), 5e-3, fused=True)
    rows = [step(objective, learner, Batch(images, labels), seed) for seed in range(60)]
    assert rows[-1]["divergence"] < 0.5 * rows[0]["divergence"] and rows[-1]["ce"] < rows[0]["ce"]


def test_losses_are_fp32_under_bf16(batch):
    model = small_model().float()
    single = Batch(batch.id_images.float(), batch.id_labels)
    losses = confgan(model)(learner_of(model, 0.01, precision="bf16"), single)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
