"""Any module as a classifier: its features are what its last linear layer is given."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from dogfast.classifiers.classifier import Classifier
from dogfast.config.option import require


class Adapted(Classifier):
    """A module of anyone's: normalised images in, logits made by its linear layer called ``head`` ("fc", "classifier.3").

    ``mean`` and ``std`` of images in [0, 1] are for a module that expects normalised ones. Logits are the head's own output,
    whatever the module makes of it. Raises :class:`UsageError` where ``head`` names no linear layer.
    """

    def __init__(
        self,
        module: nn.Module,
        head: str = "fc",
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ):
        super().__init__(mean, std)
        layers = dict(module.named_modules())
        require(isinstance(layers.get(head), nn.Linear), f"head={head!r} is no linear layer of {type(module).__name__}")
        self.module, self.head_name = module, head

    @property
    def head(self) -> nn.Linear:
        return self.module.get_submodule(self.head_name)

    def features(self, images: Tensor) -> Tensor:
        """Float images (n, 3, H, W) in [0, 1] to what the module gives its head (n, d)."""
        given: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda head, inputs: given.append(inputs[0]))
        try:
            self.module(self.normalise(images))
        finally:
            hook.remove()
        (features,) = given
        assert features.ndim == 2, f"{self.head_name} is given {tuple(features.shape)}, not a row an image"
        return features
