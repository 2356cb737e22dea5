"""Evidence that no classifier gave."""

import torch

from dogfast.classifiers.evidence import Evidence

MAGNITUDE = 0.002


def make_evidence(features, classes=5, seed=0):
    """A random head on ``features``, a logit of rejection, and logits of moved images."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, features.shape[1], generator=generator)
    bias = torch.randn(classes, generator=generator)
    logits = features @ weight.T + bias
    moved = {MAGNITUDE: logits + torch.randn(logits.shape, generator=generator)}
    return Evidence(logits, features, weight, bias, torch.randn(len(features), generator=generator), moved)


def relu_features(n, width, seed=1):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed)).relu()


def labels_of(n, classes=5):
    return torch.arange(n) % classes
