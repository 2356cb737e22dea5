"""What tests of objectives share: a small model, a task, a learner, and gradients taken by hand."""

import copy
import math

import torch
from torch.nn import functional as F

from dogfast.classifiers.wrn import WideResNet
from dogfast.config import ObjectivesConfig, TrainingConfig
from dogfast.training.batches import Batch, Batches, Held
from dogfast.training.learner import Learner
from dogfast.training.objective import Task
from dogfast.training.objectives import OBJECTIVES
from dogfast.training.optimizers import primed
from dogfast.training.regimes import regime_of


def small_model(classes=4, dropout=0.0):
    torch.manual_seed(0)
    return WideResNet(10, 1, classes=classes, dropout=dropout).double().train()


class PlainModel(torch.nn.Module):
    """A convolution and a head, without batch normalisation: rows do not see each other."""

    def __init__(self, classes):
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, 2)
        self.head = torch.nn.Linear(8, classes)

    def features(self, images):
        return self.stem(images).relu().mean((2, 3))

    def forward(self, images):
        return self.head(self.features(images))


def plain_model(classes=4):
    torch.manual_seed(0)
    return PlainModel(classes)


def some_batch():
    """6 ID images of 4 classes and 8 outliers, float64 in [0, 1]."""
    images = torch.rand(14, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return Batch(images[:6], torch.tensor([0, 1, 2, 3, 0, 1]), images[6:])


def objective_of(name, model, training=None, **methods):
    """The objective ``name`` for ``model``, with fields of `TrainingConfig` and of `ObjectivesConfig`."""
    config, methods = TrainingConfig(objective=name, **(training or {})), ObjectivesConfig(**methods)
    task = Task(methods, regime_of(config, methods, ""), model, 8, latent_shape=(4, 4, 4))
    return OBJECTIVES[name](task).to(next(model.parameters()).dtype)


def latents_of(images):
    """What a generator might make of uint8 images (n, 3, 8, 8): float16 (n, 4, 4, 4)."""
    pooled = F.avg_pool2d(images.float() / 127.5 - 1, 2)
    return torch.cat([pooled, pooled.mean(1, keepdim=True)], 1).half()


def held_for(objective, images, outliers, seed=0):
    """``outliers`` (uint8 images) as the objective meets them: themselves, or as latents beside those of the ID ``images``."""
    if OBJECTIVES[objective].brings == "latents":
        return Held(latents_of(outliers), seed, id_latents=latents_of(images))
    return Held(outliers, seed)


def marked(n):
    """Images of noise, uint8 (n, 3, 8, 8), whose first value is their number below 256."""
    images = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    images[:, 0, 0, 0] = torch.arange(n) % 256
    return images


def batches_of(name, n, outliers, model=None):
    """Batches of ``n`` ID images and ``outliers`` for the objective ``name``."""
    methods, regime = ObjectivesConfig(), regime_of(TrainingConfig(objective=name), ObjectivesConfig(), "")
    objective = OBJECTIVES[name](Task(methods, regime, model or plain_model(), 8))
    labels = torch.arange(n) % 4
    return Batches(marked(n), labels, Held(outliers, 0), regime, objective, 0, torch.device("cpu"))


def learner_of(model, lr=1.0, momentum=0.0, objective=None, precision="fp32"):
    parameters = [*model.parameters(), *(objective.learned() if objective is not None else [])]
    return Learner(
        model, primed(torch.optim.SGD(parameters, lr, momentum=momentum, nesterov=momentum > 0, fused=True)), precision
    )


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def gradients_at(model, images, weights, loss):
    """Gradients of ``loss(logits of images)`` on a copy of ``model`` that stands at ``weights``."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in weights.items():
            twin.get_parameter(name).copy_(weight)
    names, values = zip(*twin.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss(twin(images)), values)))


def clipped(gradients):
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradients.values()))
    return {name: g * min(1.0, 1.0 / (norm + 1e-6)) for name, g in gradients.items()}


def assert_moved_by(before, after, expected):
    for name in before:
        torch.testing.assert_close(before[name] - after[name], expected[name], atol=1e-12, rtol=1e-9)
