"""CLIP names the ID images before anything is spent."""

import pytest
import torch

from dogfast.concepts.domain import check_domain
from dogfast.events import Events


def checked(right, classes=4, count=100):
    said = []
    names = torch.eye(classes, 8)
    labels = torch.arange(count) % classes
    shown = torch.where(torch.arange(count) < right, labels, (labels + 1) % classes)
    accuracy = check_domain(names, names[shown], labels, Events(lambda event, fields: said.append(fields["text"])))
    return accuracy, said


@pytest.mark.parametrize("right, warned", [(100, False), (60, False), (40, True), (0, True)])
def test_a_model_that_does_not_know_the_images_is_named(right, warned):
    accuracy, said = checked(right)
    assert accuracy == right / 100
    assert said[0] == f"CLIP names {right:.1f}% of the ID images right by their class names (chance 25.0%)"
    assert (len(said) == 2 and said[-1].startswith("warning: this model hardly knows these images")) == warned


def test_one_class_alone_cannot_be_misnamed():
    assert checked(10, classes=1, count=10) == (
        1.0,
        ["CLIP names 100.0% of the ID images right by their class names (chance 100.0%)"],
    )
