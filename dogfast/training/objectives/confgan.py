"""ConfGAN: a generator learns images at the rim of the ID data, on which the classifier learns to be uncertain.

Lee et al., "Training confidence-calibrated classifiers for detecting out-of-distribution samples" (ICLR 2018,
arXiv 1711.09325), Eq. 4 and Algorithm 1: with KL(U || P(y|x)) in both the classifier's and the generator's loss.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import get_total_norm
from torch.optim import Adam, Optimizer

from dogfast.config.option import require
from dogfast.training.batches import Batch
from dogfast.training.learner import Learner
from dogfast.training.objective import Objective, Task
from dogfast.training.objectives.oe import oe_loss
from dogfast.training.optimizers import primed, set_lr, step_unless_refused

SIDES = (8, 16, 32, 64)
BETAS = (0.5, 0.999)


def uniform_divergence(logits: Tensor) -> Tensor:
    """mean KL(U || softmax(f)) over logits (n, C): a scalar, 0 where all logits of each row are equal."""
    return oe_loss(logits) - math.log(logits.shape[1])


def build_generator(image_px: int, noise: int, channels: int) -> nn.Sequential:
    """DCGAN's (Radford et al. 2016, arXiv 1511.06434): noise (n, ``noise``, 1, 1) to images (n, 3, H, W) in [0, 1].

    ``channels`` at half of the side, twice as many at each half of that.
    """
    widths = _widths(image_px, channels)
    layers: list[nn.Module] = [nn.ConvTranspose2d(noise, widths[0], 4, bias=False), _norm(widths[0]), nn.ReLU()]
    for wide, narrow in pairwise(widths):
        layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), _norm(narrow), nn.ReLU()]
    layers += [nn.ConvTranspose2d(widths[-1], 3, 4, 2, 1, bias=False), nn.Sigmoid()]
    return nn.Sequential(*layers).apply(_initialise)


def build_discriminator(image_px: int, channels: int) -> nn.Sequential:
    """DCGAN's: images (n, 3, H, W) in [0, 1] to logits (n, 1, 1, 1) of being real."""
    widths = _widths(image_px, channels)[::-1]
    layers: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
    for narrow, wide in pairwise(widths):
        layers += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), _norm(wide), nn.LeakyReLU(0.2)]
    layers.append(nn.Conv2d(widths[-1], 1, 4, bias=False))
    return nn.Sequential(*layers).apply(_initialise)


class ConfGan(Objective):
    """Each step: the discriminator tells ID images from generated ones; the generator, then the classifier, each by its sum.

        discriminator   -log D(x) - log(1 - D(G(z)))
        generator       -log D(G(z)) + beta KL(U || P(y|G(z)))
        classifier      CE + beta KL(U || P(y|G(z))), from one forward of ID and generated images

    beta is ``oe_weight``; as many images are generated as there are ID images. All three learn at the same rate.
    """

    reads = ("confgan_",)

    def __init__(self, task: Task):
        super().__init__(task)
        require(
            task.image_px in SIDES,
            f"--objective confgan generates images of {', '.join(map(str, SIDES))} px, not {task.image_px}; choose another --image-px",
        )
        channels = self.methods.confgan_channels
        self.generator = build_generator(task.image_px, self.methods.confgan_noise, channels)
        self.discriminator = build_discriminator(task.image_px, channels)
        self.to(next(task.model.parameters())).to(memory_format=torch.channels_last)
        self._own = {name: _adam(network, self.methods.confgan_lr) for name, network in self.named_children()}

    def learned(self) -> list[nn.Parameter]:
        """Nothing: generator and discriminator have optimizers of their own."""
        return []

    def optimizers(self) -> dict[str, Optimizer]:
        return self._own

    def forward(self, learner: Learner, batch: Batch) -> dict[str, Tensor]:
        require(learner.parts == 1, "--accumulate: the steps of confgan cannot be computed in parts; lower --batch")
        beta, images = self.regime.oe_weight, batch.id_images
        generated = self._generate(learner, images)
        told = self._told(learner, images, True) + self._told(learner, generated.detach(), False)
        self._step(learner, "discriminator", told)
        fooled, shown = self._told(learner, generated, True), Batch(images, batch.id_labels, generated)
        unsure = uniform_divergence(shown.split(learner.logits_aside(shown.joint))[1])
        self._step(learner, "generator", fooled + beta * unsure)
        shown = Batch(images, batch.id_labels, generated.detach())
        id_logits, ood_logits = shown.split(learner.logits(shown.joint))
        ce, divergence = F.cross_entropy(id_logits, batch.id_labels), uniform_divergence(ood_logits)
        learner.backward(ce + beta * divergence)
        learner.step()
        losses = {"ce": ce, "divergence": divergence, "generator": fooled, "discriminator": told}
        return {name: loss.detach() for name, loss in losses.items()}

    def _generate(self, learner: Learner, images: Tensor) -> Tensor:
        """As many images as ``images``, of their type."""
        noise = torch.randn(len(images), self.methods.confgan_noise, 1, 1, dtype=images.dtype, device=images.device)
        with learner.autocast():
            return self.generator(noise).to(images.dtype)

    def _told(self, learner: Learner, images: Tensor, real: bool) -> Tensor:
        """mean -log D(x) where they shall pass for ``real``, else mean -log(1 - D(x)): a scalar."""
        with learner.autocast():
            logits = self.discriminator(images).flatten().to(images.dtype)
        return F.softplus(-logits if real else logits).mean()

    def _step(self, learner: Learner, name: str, loss: Tensor) -> None:
        """A step of one network on its own loss; where that or its gradients are not finite, it is refused and counts so."""
        optimizer, network = self._own[name], list(self.get_submodule(name).parameters())
        scale = learner.scaler.scale(loss.new_ones(()))
        for parameter, gradient in zip(network, torch.autograd.grad(scale * loss, network)):
            parameter.grad = learner.ranks.average(gradient) / scale
        norm = get_total_norm([parameter.grad for parameter in network])
        finite = (norm + learner.ranks.average(loss.detach())).isfinite()
        set_lr(optimizer, learner.optimizer.param_groups[0]["lr"])
        step_unless_refused(optimizer, finite)
        learner.finite = learner.finite * finite.float()


def _widths(image_px: int, channels: int) -> list[int]:
    """Channels from 4 px on to half of ``image_px``."""
    return [channels * 2**k for k in reversed(range(image_px.bit_length() - 3))]


def _norm(channels: int) -> nn.BatchNorm2d:
    """Always of the batch at hand: nothing is generated in evaluation mode."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _adam(network: nn.Module, lr: float) -> Optimizer:
    return primed(Adam(network.parameters(), lr, BETAS, fused=True))
