"""Where outliers come from, and which of them may train."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dogfast.config import RunConfig, TrainingConfig
from dogfast.data import shapes
from dogfast.data.catalogue import IdData, paint
from dogfast.data.codec import Lossless, Sensor
from dogfast.data.images import ImageSet
from dogfast.data.splits import is_validation_word
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, publish
from dogfast.shards.id_latents import marks_of, write_id_latents
from dogfast.training.sources import check_source, shards_of, source_digest, training_outliers

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
HELD_OUT = next(f"word {n}" for n in range(99) if is_validation_word(f"word {n}"))


def id_data(n=7, codec=None):
    images = torch.zeros(n, 3, 8, 8, dtype=torch.uint8)
    few = ImageSet(images, torch.zeros(n, dtype=torch.int64), tuple(map(str, range(n))), ("circle",))
    return IdData(few, few, few, codec or Lossless())


def outliers_of(run, source, data, side_px):
    config = RunConfig().with_values({"training": {"outliers": source}, "data": {"image_px": side_px}}, "test")
    return training_outliers(config, run, data, Events()).rows


@pytest.fixture
def run(tmp_path):
    """A run with the source `dog` of three shards: a trained word, two that validate, another trained one."""
    run = Run(tmp_path / "run")
    publish(run.root / "run.json", '{"stages": {}}')
    for shard, word in enumerate(("bullseye", shapes.VALIDATION_WORDS[0], HELD_OUT, "star")):
        helpers.commit(run.outliers("dog"), shard, anchor=word)
    return run


# --- which folder -----------------------------------------------------------------------------------------------
def test_a_source_of_the_run_is_its_folder(run):
    assert shards_of(run, "dog") == run.outliers("dog")


def test_a_folder_of_shards_may_lie_anywhere(run, tmp_path, monkeypatch):
    helpers.commit(tmp_path / "elsewhere")
    assert shards_of(run, str(tmp_path / "elsewhere")) == tmp_path / "elsewhere"
    monkeypatch.chdir(tmp_path)
    assert shards_of(run, "elsewhere") == Path("elsewhere") and shards_of(run, "./elsewhere/") == Path("elsewhere")


def test_another_run_stands_for_its_own_outliers(run, tmp_path, monkeypatch):
    other = Run(tmp_path / "other")
    for place in (str(run.root), run.root.as_posix() + "/"):
        assert shards_of(other, place) == run.outliers("dog")
    monkeypatch.chdir(tmp_path)
    assert shards_of(other, "run") == Path("run") / "outliers" / "dog"


def test_a_name_of_the_run_comes_before_a_folder_of_that_name(run, tmp_path, monkeypatch):
    helpers.commit(tmp_path / "dog")
    monkeypatch.chdir(tmp_path)
    assert shards_of(run, "dog") == run.outliers("dog")


@pytest.mark.parametrize(
    "unknown", ["renders", "", ".", "..", "../none", "/", "/nowhere/at/all", "dog/records", "run.json", "Dog", "x\n"]
)
def test_an_unknown_source_is_refused_with_the_known_ones(run, unknown, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(DataError) as caught:
        shards_of(run, unknown)
    assert "--outliers" in str(caught.value) and "(dog)" in str(caught.value) and "noise" in str(caught.value)


def test_a_run_without_outliers_knows_none(tmp_path):
    with pytest.raises(DataError, match="none yet"):
        shards_of(Run(tmp_path / "bare"), "dog")


# --- which images -----------------------------------------------------------------------------------------------
def test_validation_words_never_train(run):
    images = outliers_of(run, "dog", id_data(), 8)
    assert images.shape == (6, 3, 8, 8) and images.dtype == torch.uint8
    wanted = torch.stack([torch.from_numpy(helpers.image(n)).permute(2, 0, 1) for n in (0, 1, 2)] * 2)
    assert torch.equal(images, wanted)


def test_a_source_of_validation_words_alone_is_refused(tmp_path):
    helpers.commit(tmp_path / "set", anchor=shapes.VALIDATION_WORDS[1])
    with pytest.raises(DataError, match="every outlier is of a validation word"):
        outliers_of(Run(tmp_path), str(tmp_path / "set"), id_data(), 8)


def test_outliers_go_through_the_id_codec(run):
    plain, coded = (outliers_of(run, "dog", id_data(codec=codec), 8) for codec in (Lossless(), Sensor()))
    difference = (plain.int() - coded.int()).float()
    assert 0 < difference.abs().mean() < 6


def test_noise_is_as_many_images_as_there_are_id_ones(run):
    images = outliers_of(run, "noise", id_data(7), 8)
    assert images.shape == (7, 3, 8, 8)
    assert torch.equal(images, outliers_of(run, "noise", id_data(7), 8))
    assert not torch.equal(images, paint("noise", "test", 7, 8).images), "test noise is other noise"


def test_renders_are_true_pictures_of_the_words_that_dog_painted(run):
    images = outliers_of(run, "renders", id_data(), 8)
    wanted = [shapes.render(word, "renders", 0, i, 8) for i, word in enumerate(["bullseye"] * 3 + ["star"] * 3)]
    assert torch.equal(images, torch.stack([torch.from_numpy(image).permute(2, 0, 1) for image in wanted]))


def test_renders_of_words_that_are_no_shapes_are_refused(run):
    helpers.commit(run.outliers("dog"), 4, anchor="lynx")
    with pytest.raises(DataError, match="no true picture of 'lynx'"):
        outliers_of(run, "renders", id_data(), 8)


def test_images_of_the_id_classes_are_no_outliers_under_any_name(run, tmp_path):
    helpers.commit(tmp_path / "copied", strategy="id-control", anchor="ring")
    with pytest.raises(DataError, match="--id-synthetic"):
        outliers_of(run, str(tmp_path / "copied"), id_data(), 8)


def test_outliers_are_brought_to_the_side_of_the_id_images(run):
    assert outliers_of(run, "dog", id_data(), 12).shape[2:] == (12, 12)


# --- latents ----------------------------------------------------------------------------------------------------
@pytest.fixture
def latents(run):
    """The run with `dog-latent` of three words, the second of validation, and the latents of ``id_data()``."""
    for shard, word in enumerate(("bullseye", HELD_OUT, "star")):
        helpers.commit_latents(run.outliers("dog-latent"), shard, anchor=word)
    write_beside(run, id_data())
    return run


def write_beside(run, data):
    """Latents of the ID images that carry their number."""
    images = data.train
    values = torch.arange(len(images)).view(-1, 1, 1, 1).expand(-1, 4, 8, 8).half().contiguous()
    write_id_latents(run.id_latents, [values], tuple(values.shape), marks_of(images, "r0"))


def latents_of(run, source="dog", data=None):
    config = RunConfig().with_values({"training": {"objective": "oal", "outliers": source}, "data": {"image_px": 8}}, "test")
    return training_outliers(config, run, data or id_data(), Events())


@pytest.mark.parametrize("source", ["dog", "dog-latent"])
def test_oal_gets_latents_without_those_of_validation_words_and_those_of_the_id_images_in_their_order(latents, source):
    found = latents_of(latents, source)
    wanted = [helpers.latent(10 * shard + n) for shard in (0, 2) for n in range(3)]
    assert found.rows.dtype == torch.float16 and torch.equal(found.rows, torch.from_numpy(np.stack(wanted)))
    assert found.id_latents[:, 0, 0, 0].tolist() == list(range(7))


def test_latents_of_validation_words_alone_are_refused(latents, tmp_path):
    helpers.commit_latents(tmp_path / "set", anchor=HELD_OUT)
    with pytest.raises(DataError, match="every outlier is of a validation word"):
        latents_of(latents, str(tmp_path / "set"))


def test_latents_of_the_id_classes_are_no_outliers(latents, tmp_path):
    helpers.commit_latents(tmp_path / "set", strategy="id-control", anchor="ring")
    with pytest.raises(DataError, match="--id-synthetic"):
        latents_of(latents, str(tmp_path / "set"))


def test_latents_of_other_id_images_are_refused(latents):
    with pytest.raises(DataError, match=r"id\.safetensors is of other ID images"):
        latents_of(latents, data=id_data(6))


@pytest.mark.parametrize("source", ["noise", "renders", "{root}/outliers/dog", "{root}", "{root}/photos"])
def test_images_are_refused_where_latents_are_learned_from(latents, source):
    source = source.format(root=latents.root)
    publish(latents.root / "photos" / "image.png", helpers.png())
    config = TrainingConfig(objective="oal", outliers=source)
    for refuse in (lambda: latents_of(latents, source), lambda: check_source(config, latents)):
        with pytest.raises(
            DataError, match=r"holds images, no latents; paint some with `dogfast generate --output-kind latent`"
        ):
            refuse()


def test_a_source_that_a_strategy_can_paint_may_be_missing(latents):
    for objective, source in (("oal", "boundary"), ("oal", "boundary-latent"), ("oe", "boundary"), ("oe", "noise")):
        check_source(TrainingConfig(objective=objective, outliers=source), latents)
    with pytest.raises(DataError, match="only the objective `oal`"):
        check_source(TrainingConfig(objective="oe", outliers="dog-latent"), latents)


# --- what they are ----------------------------------------------------------------------------------------------
def test_renders_change_with_what_dog_painted(run):
    before = source_digest(run, "renders")
    helpers.commit(run.outliers("dog"), 4)
    assert source_digest(run, "dog") != before != source_digest(run, "renders")


def test_the_digest_changes_with_the_shards_and_only_with_them(run, tmp_path):
    before = source_digest(run, "dog")
    assert before == source_digest(run, "dog") != source_digest(run, "noise") == "noise"
    publish(run.outliers("dog") / "README.md", "other words")
    assert source_digest(run, "dog") == before
    assert source_digest(Run(tmp_path / "other"), str(run.root)) == before, "wherever the same shards lie"
    helpers.commit(run.outliers("dog"), 4)
    assert source_digest(run, "dog") != before


def test_damaged_shards_are_named(run):
    path = run.outliers("dog") / "train-00002.tar"
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(DataError, match=r"train-00002\.tar is damaged"):
        outliers_of(run, "dog", id_data(), 8)
