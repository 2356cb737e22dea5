"""What a round sees of its outliers: CLIP's word on each, and a tally of every condition."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

import dogfast.workflows.refinement.looks as module
from dogfast.config import RunConfig
from dogfast.data.images import ImageSet
from dogfast.events import Events
from dogfast.shards.format import sample_key
from dogfast.workflows.refinement import tally as tallies
from dogfast.workflows.refinement.looks import Looks
from dogfast.workflows.refinement.tally import tally

NAMES = ("cat", "dog")
PLACES = {"cat": (1.0, 0.0, 0.0), "dog": (0.0, 1.0, 0.0), "lion": (0.8, 0.0, 0.6)}


def pictures(*vectors):
    """Images that say in their first pixel where CLIP sees them."""
    images = torch.zeros(len(vectors), 3, 2, 2, dtype=torch.uint8)
    images[:, :, 0, 0] = (100 * torch.tensor(vectors)).round().to(torch.uint8)
    return images


@pytest.fixture
def look(monkeypatch):
    """Words and images in three dimensions; the images of each class lie round its name."""

    class Embedder:
        def __init__(self, *given): ...

        def words(self, words):
            return torch.tensor([PLACES[word] for word in words])

        def images(self, images):
            return images.images[:, :, 0, 0].float()

    monkeypatch.setattr(module, "Pipeline", lambda *given: None)
    monkeypatch.setattr(
        module, "open_networks", lambda *given: SimpleNamespace(encode_image=lambda images: images[:, :, 0, 0].float())
    )
    monkeypatch.setattr(module, "Embedder", Embedder)
    images = pictures((1.0, 0.0, 0.0), (0.6, 0.8, 0.0), (0.0, 0.8, 0.6))
    train = ImageSet(images, torch.tensor([0, 0, 1]), ("a", "b", "c"), NAMES)
    config = RunConfig().with_values({"data": {"classes": "shapes"}, "concepts": {"eta": 0.5}}, "test")
    return module.Looker(config, SimpleNamespace(class_names=NAMES, train=train), ["lion", "cat", "lion"], Events())


def test_an_image_is_like_id_where_a_class_name_is_as_far_ahead_of_its_word_as_for_id_images(look):
    """`cat` and `dog` are 0.2, 0.32 and 0.44 ahead of `lion` for the three ID images; for the second outlier 0.14."""
    facts = [{"anchor": "lion", "cls": cls} for cls in (0, 0, 1, 0)]
    found = look(pictures((0.8, 0.0, 0.6), (1.0, 0.0, 0.1), (0.0, 1.0, 0.0), (0.6, 0.8, 0.0)), facts)
    assert found.like_id.tolist() == [False, False, True, True]
    assert found.distance.tolist() == pytest.approx([0.2, 1 - 1 / 1.01**0.5, 0.0, 0.4], abs=1e-6)


def test_a_word_that_is_ahead_is_no_class_however_id_images_look():
    """A CLIP that takes ID images for the word: that no name is ahead of it does not make anything ID."""
    pictures = torch.tensor([[0.0, 0.0, 1.0]] * 20)
    names, words = torch.eye(3)[:1], torch.eye(3)[2:]
    assert module.least_leads(pictures, names, words).tolist() == [-1.0]


def test_the_lead_is_what_nineteen_of_twenty_id_images_have():
    angles = torch.arange(20) / 20
    pictures = torch.stack([angles.cos(), angles.sin()], dim=1)
    leads = (pictures[:, 0] - pictures[:, 1]).sort().values
    assert module.least_leads(pictures, torch.eye(2)[:1], torch.eye(2)[1:]).tolist() == [leads[1]]


def test_the_bound_of_a_class_is_its_own_images_quantile(look):
    assert look.bounds == {"cat": pytest.approx(0.0, abs=1e-6), "dog": pytest.approx(0.2, abs=1e-6)}


@dataclass(frozen=True)
class Shard:
    """Three outliers, two of the first condition and one of the second; ``images`` are their brightness."""

    number: int
    images: torch.Tensor

    @property
    def facts(self):
        return [
            {"key": sample_key(self.number, at), "condition": row, "cls": row, "class_name": NAMES[row], "anchor": f"w{row}"}
            for at, row in enumerate((0, 0, 1))
        ]

    def __len__(self):
        return len(self.images)


def test_a_tally_counts_new_images_apart_and_takes_the_median(monkeypatch):
    """The detector before takes all for known, CLIP bright ones for ID, which it is right in then; that of the round takes dark ones."""
    shards = [Shard(0, torch.tensor([9, 1, 9])), Shard(1, torch.tensor([1, 9, 1]))]
    distances = iter([[0.25, 0.5, 0.1], [0.3, 0.4, 0.2]])
    monkeypatch.setattr(tallies, "selected_by_shard", lambda *given: shards)

    def look(images, facts):
        return Looks(images > 5, torch.tensor(next(distances)))

    def before(images):
        return SimpleNamespace(known=images > 0)

    def now(images):
        return SimpleNamespace(known=images < 5)

    now.side_px = 2
    one, other = tally(None, None, lambda facts: True, 1, before, now, look)
    assert (one.images, one.new, one.accepted, one.fooled, one.like_id, one.new_like_id) == (4, 2, 2, 1, 2, 1)
    assert (other.images, other.new, other.accepted, other.fooled, other.like_id, other.new_like_id) == (2, 1, 1, 1, 1, 0)
    assert (one.distance, other.distance) == (pytest.approx(0.35), pytest.approx(0.15))
    assert (one.class_name, one.anchor, other.class_name, other.anchor) == ("cat", "w0", "dog", "w1")
