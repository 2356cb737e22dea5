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
    """Of some outliers a looker; words and images in three dimensions; the images of each class lie round its name."""

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
    data = SimpleNamespace(class_names=NAMES, train=train)
    return lambda painted: module.Looker(config, data, ["lion", "cat", "lion"], painted, Events())


FACTS = [{"anchor": "lion", "cls": cls} for cls in (0, 0, 1)]


def test_an_image_is_like_id_where_a_class_name_is_nearer_than_its_own_word(look):
    found = look([])(pictures((0.8, 0.0, 0.6), (1.0, 0.0, 0.1), (0.0, 1.0, 0.0)), FACTS)
    assert found.like_id.tolist() == [False, True, True]
    assert found.distance.tolist() == pytest.approx([0.2, 1 - 1 / 1.01**0.5, 0.0], abs=1e-6)


def test_of_nearness_counts_what_is_beyond_that_of_outliers(look):
    """Outliers are at 0.99 of `cat` and 0.86 of `lion`; one at 0.98 and 0.90 is nearer to `cat`, and yet more of a lion than they."""
    outliers, one = pictures((1.0, 0.0, 0.1), (1.0, 0.0, 0.1)), pictures((1.0, 0.0, 0.2), (0.0, 1.0, 0.0))
    plain, usual = look([])(one, FACTS[1:]), look([outliers[:1], outliers[1:]])(one, FACTS[1:])
    assert (plain.like_id.tolist(), usual.like_id.tolist()) == ([True, True], [False, True])
    assert torch.equal(plain.distance, usual.distance), "distances stay"


def test_no_more_outliers_are_embedded_than_tell_their_mean(look, monkeypatch):
    monkeypatch.setattr(module, "ENOUGH", 2)
    given = iter([pictures((1.0, 0.0, 0.1))] * 5)
    look(given)
    assert len(list(given)) == 3


def test_the_bound_of_a_class_is_its_own_images_quantile(look):
    assert look([]).bounds == {"cat": pytest.approx(0.0, abs=1e-6), "dog": pytest.approx(0.2, abs=1e-6)}


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
