"""The head that is fitted to frozen features, against scikit-learn's logistic regression."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from dogfast.training.linear_head import fit_head, logistic_regression
from tests.training.steps import learner_of, plain_model


class Pass:
    """ID images and labels in chunks, as batches give them."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def id_chunks(self, size):
        return zip(self.images.split(7), self.labels.split(7))


def some_features():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    spread = torch.tensor([1.0, 50.0, 1e-3, 0.0, 1.0])
    return (torch.randn(60, 5, generator=generator) + labels[:, None]) * spread + 0.1, labels


@pytest.mark.parametrize("biased", [True, False])
def test_it_is_scikit_learns_logistic_regression_on_standardised_features(biased):
    features, labels = some_features()
    weight, bias = logistic_regression(features, labels, 3, biased)
    features64 = features.double().numpy()
    inputs = StandardScaler().fit_transform(features64) if biased else features64 / (features64**2).mean(0) ** 0.5
    known = LogisticRegression(tol=1e-10, max_iter=5000, fit_intercept=biased).fit(inputs, labels.numpy())
    found = (features.double() @ weight.T + bias).softmax(1)
    torch.testing.assert_close(found, torch.from_numpy(known.predict_proba(inputs)), atol=1e-5, rtol=1e-4)
    assert weight.isfinite().all() and bool((bias == 0).all()) is not biased and bool((weight[:, 3] == 0).all()) is biased


def test_separable_classes_have_a_finite_head():
    weight, bias = logistic_regression(torch.eye(4), torch.arange(4), 4)
    assert weight.isfinite().all() and (torch.eye(4).double() @ weight.T + bias).argmax(1).tolist() == [0, 1, 2, 3]


def test_the_model_gets_it_and_nothing_else_changes():
    model = plain_model(2)
    images = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = (images.mean((1, 2, 3)) > 0.5).long()
    backbone = {name: tensor.clone() for name, tensor in model.stem.state_dict().items()}
    learner = learner_of(model)
    fit_head(learner, Pass(images, labels))
    weight, bias = logistic_regression(model.features(images).detach(), labels, 2)
    torch.testing.assert_close(model.head.weight.double(), weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.head.bias.double(), bias, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(tensor, backbone[name]) for name, tensor in model.stem.state_dict().items())
    assert model.training and model.head.weight.requires_grad
