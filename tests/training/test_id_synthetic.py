"""ID-class images of the generator among the ID data: how many, which, with what labels."""

import hashlib
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dogfast.data.catalogue import IdData
from dogfast.data.codec import Lossless, Sensor
from dogfast.data.images import ImageSet
from dogfast.data.splits import is_test_key
from dogfast.errors import DataError
from dogfast.run import Run
from dogfast.shards.writer import commit_shard, encode_sample
from dogfast.training.id_synthetic import mixed_id

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
COUNT = 12
TRAINS = [n for n in range(COUNT) if not is_test_key(str(n))]
HELD = next(n for n in range(99) if is_test_key(str(n)))


def id_data(n=8, codec=None):
    images = torch.zeros(n, 3, 8, 8, dtype=torch.uint8)
    few = ImageSet(images, torch.zeros(n, dtype=torch.int64), tuple(map(str, range(n))), ("circle", "ring"))
    return IdData(few, few, few, codec or Lossless())


def commit(run, seeds=range(COUNT), shard=0, **changes):
    """A shard of the source id-control: image n grew from seed n."""
    told = dict(cls=1, class_name="ring", anchor="ring", strategy="id-control") | changes
    samples = [encode_sample(helpers.image(n), helpers.facts(shard, i, seed=n, **told)) for i, n in enumerate(seeds)]
    commit_shard(run.outliers("id-control"), shard, samples, hashlib.sha256(), {"failed": 0})


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run")
    commit(run)
    return run


def test_this_shard_has_images_of_both_kinds():
    assert 0 < len(TRAINS) < COUNT


def test_without_a_share_nothing_is_read(tmp_path):
    data = id_data()
    images, labels = mixed_id(Run(tmp_path), data, 0.0, 8)
    assert images is data.train.images and labels is data.train.labels


@pytest.mark.parametrize("share, added", [(0.2, 2), (0.5, 8), (0.75, 24)])
def test_the_share_is_of_the_whole_and_the_real_images_stay(run, share, added):
    images, labels = mixed_id(run, id_data(), share, 8)
    assert images.shape == (8 + added, 3, 8, 8) and images.dtype == torch.uint8
    assert not images[:8].any() and labels.tolist() == [0] * 8 + [1] * added


def test_images_kept_for_the_control_never_train(run):
    images, _ = mixed_id(run, id_data(), 0.75, 8)
    allowed = [torch.from_numpy(helpers.image(n)).permute(2, 0, 1) for n in TRAINS]
    for place, image in enumerate(images[8:]):
        assert torch.equal(image, allowed[place % len(allowed)]), "in turn, repeated where there are too few"


def test_repainting_in_other_shards_moves_no_image_into_the_control(run, tmp_path):
    other = Run(tmp_path / "other")
    for shard in range(4):
        commit(other, range(3 * shard, 3 * shard + 3), shard)
    assert torch.equal(mixed_id(run, id_data(), 0.75, 8)[0], mixed_id(other, id_data(), 0.75, 8)[0])


def test_painted_images_go_through_the_id_codec(run):
    plain, coded = (mixed_id(run, id_data(codec=codec), 0.5, 8)[0][8:] for codec in (Lossless(), Sensor()))
    assert 0 < (plain.int() - coded.int()).abs().float().mean() < 6


@pytest.mark.parametrize("foreign", [{"cls": 0, "class_name": "ring"}, {"cls": 7, "class_name": "ring"}, {"class_name": "cat"}])
def test_images_of_other_classes_are_refused(tmp_path, foreign):
    run = Run(tmp_path / "run")
    commit(run, **foreign)
    with pytest.raises(DataError, match="painted for other classes"):
        mixed_id(run, id_data(), 0.5, 8)


def test_missing_images_are_named(tmp_path):
    with pytest.raises(DataError, match="id-control"):
        mixed_id(Run(tmp_path / "run"), id_data(), 0.5, 8)


def test_a_source_that_only_controls_is_refused(tmp_path):
    run = Run(tmp_path / "run")
    commit(run, [HELD])
    with pytest.raises(DataError, match="no image to train on"):
        mixed_id(run, id_data(), 0.5, 8)
