import pytest
import torch
from torch import nn

from dogfast.classifiers.evidence import accuracy, collect_evidence, images_together


class Net(nn.Module):
    """Convolution, BatchNorm and dropout (both tell eval mode from training), pooled to 6 features; 4 classes."""

    def __init__(self, bias=True):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(6, 4, bias=bias)
        self.seen = []

    def features(self, x):
        self.seen.append((len(x), x.dtype, x.is_contiguous(memory_format=torch.channels_last), torch.is_grad_enabled()))
        assert 0 <= x.min() and x.max() <= 1
        return self.body(x).mean(dim=(2, 3))


@pytest.fixture
def images():
    return torch.randint(0, 256, (10, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_features_and_logits_of_every_image_in_order(images):
    model, done = Net(), []
    evidence = collect_evidence(model, images, 4, "cpu", "fp32", done.append)
    model.eval()
    with torch.no_grad():
        expected = model.body(images.float() / 255).mean(dim=(2, 3))
        torch.testing.assert_close(evidence.features, expected)
        torch.testing.assert_close(evidence.logits, model.head(expected))
    assert model.seen == [(n, torch.float32, True, False) for n in (4, 4, 2)]
    assert done == [4, 4, 2]
    assert not any(t.requires_grad for t in vars(evidence).values() if t is not None) and evidence.rejection is None


def test_evidence_is_consistent_and_a_copy(images):
    model = Net()
    evidence = collect_evidence(model, images, 16, "cpu", "fp32")
    torch.testing.assert_close(evidence.features @ evidence.head_weight.T + evidence.head_bias, evidence.logits)
    before = evidence.head_weight.clone(), evidence.head_bias.clone()
    with torch.no_grad():
        model.head.weight.zero_(), model.head.bias.zero_()
    assert torch.equal(evidence.head_weight, before[0]) and torch.equal(evidence.head_bias, before[1])


def test_bf16_is_for_the_features_only(images):
    model = Net()
    exact = collect_evidence(model, images, 10, "cpu", "fp32")
    evidence = collect_evidence(model, images, 10, "cpu", "bf16")
    assert evidence.features.dtype == evidence.logits.dtype == torch.float32
    assert not torch.equal(evidence.features, exact.features)
    torch.testing.assert_close(evidence.features, exact.features, rtol=0.05, atol=0.02)
    torch.testing.assert_close(evidence.features @ evidence.head_weight.T + evidence.head_bias, evidence.logits)


def test_modes_and_batchnorm_statistics_are_restored(images):
    model = Net().train()
    model.body[3].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    collect_evidence(model, images, 5, "cpu", "fp32")
    assert model.training and model.body[1].training and not model.body[3].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_batch_size_does_not_matter(images):
    model = Net()
    one, all_at_once = (collect_evidence(model, images, batch, "cpu", "fp32") for batch in (1, 10))
    torch.testing.assert_close(one.features, all_at_once.features)


def test_a_head_without_bias_has_a_bias_of_zero(images):
    evidence = collect_evidence(Net(bias=False), images, 10, "cpu", "fp32")
    assert evidence.head_bias.tolist() == [0.0] * 4


@pytest.mark.parametrize("side, count", [(8, 500), (64, 500), (224, 83), (512, 16)])
def test_large_images_are_looked_at_in_smaller_batches(side, count):
    assert images_together(side) == count


def test_accuracy_is_the_share_of_right_answers(images):
    evidence = collect_evidence(Net(), images, 10, "cpu", "fp32")
    labels = evidence.logits.argmax(dim=1)
    assert accuracy(evidence, labels) == 1.0
    labels[:3] = (labels[:3] + 1) % 4
    assert accuracy(evidence, labels) == 0.7
