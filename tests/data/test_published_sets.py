"""The published sets as a run reads them: their counts, their filters, their suites, their classes by number."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dogfast.config.data import DataConfig
from dogfast.data import catalogue
from dogfast.data.catalogue import count_warning, load_id, load_ood, named_ood, names_in_ood, resize_of
from dogfast.data.class_sets import frozen_classes
from dogfast.data.codec import Jpeg, Lossless
from dogfast.data.resize import WHOLE, Resize
from dogfast.data.sets import SETS
from dogfast.errors import DataError, UsageError
from tests.data import made

REAL_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FACTS = ["name", "origin", "licence", "native", "read", "found", "expected", "count", "used", "resize"]


@pytest.fixture(autouse=True)
def no_data_variable(monkeypatch):
    monkeypatch.delenv("DOGFAST_DATA", raising=False)


def config(classes="cifar10", **values):
    return DataConfig(**{"classes": classes, "image_px": 32, "id_images": 0, "hub": False, **values})


def scene(root, width=96, height=64, count=1):
    """``count`` pictures of one bright line each, in PNG files: what is left of it tells filters apart."""
    root.mkdir(parents=True)
    for row in range(count):
        image = Image.new("RGB", (width, height))
        image.paste((255, 255, 255), (width // 2 - 1, 0, width // 2 + 1, height))
        image.save(root / f"{row}.png")
    return root


# --- what was read ----------------------------------------------------------------------------------------------
def test_what_was_read_is_told_without_a_path(tmp_path):
    facts = load_ood(f"textures={scene(tmp_path / 'here', count=3)}", config(), 2, Lossless()).facts
    assert list(facts) == [*FACTS, "group"]
    assert (facts["name"], facts["read"], facts["found"], facts["used"], facts["group"]) == ("textures", "files", 3, 2, "far")
    assert facts["origin"].startswith("Cimpoi et al. 2014") and facts["licence"] == "for research purposes"
    assert facts["resize"].startswith("bilinear, shorter side to 32 px") and facts["expected"]["published"] == 5_640
    assert str(tmp_path) not in json.dumps(facts)


def test_facts_of_sets_that_nobody_publishes(tmp_path):
    mine = load_ood(f"mine={scene(tmp_path / 'mine')}", config(), 0, Lossless()).facts
    assert list(mine) == [*FACTS, "group"] and (mine["count"], mine["expected"]) == ("not known", {}) and mine["name"] == ""
    painted = load_ood("gaussian", config(), 5, Lossless()).facts
    assert list(painted) == [*FACTS, "group"] and painted["count"] == "painted" and painted["used"] == 5
    assert painted["origin"].startswith("Hendrycks et al. 2019") and not count_warning(mine) and not count_warning(painted)


@pytest.mark.parametrize(
    "found, count",
    [(4, "published"), (3, "openood beside cifar10"), (2, "openood beside cifar100"), (5, "differs"), (1, "differs")],
)
def test_counts_are_compared(tmp_path, monkeypatch, found, count):
    known = replace(SETS["tiny-imagenet"], test_images=4, protocols={"openood beside cifar10": 3, "openood beside cifar100": 2})
    monkeypatch.setitem(SETS, "tiny-imagenet", known)
    facts = load_ood(f"tiny-imagenet={scene(tmp_path / 'x', count=found)}", config(), 1, Lossless()).facts
    assert facts["found"] == found and facts["count"] == count
    warning = count_warning(facts)
    assert bool(warning) == (count == "differs")
    if warning:
        assert f"tiny-imagenet holds {found} images here" in warning and "4 published" in warning and "3 openood" in warning


def test_counts_of_id_sets_are_compared(tmp_path, monkeypatch):
    names = list(frozen_classes("cifar10"))
    for part, each in (("train", 3), ("test", 2)):
        made.parquet(tmp_path / f"{part}-0.parquet", made.cells(10 * each), [*range(10)] * each, names)
    data = load_id(config(data=(f"cifar10={tmp_path}",), id_images=20))
    assert (data.train.facts["found"], data.train.facts["used"], data.train.facts["expected"]) == (
        30,
        20,
        {"published": 50_000},
    )
    assert (data.test.facts["found"], data.test.facts["expected"]) == (20, {"published": 10_000, "openood": 9_000})
    assert "cifar10 holds 30 images here" in count_warning(data.train.facts)
    monkeypatch.setitem(SETS, "cifar10", replace(SETS["cifar10"], train_images=30, test_images=20))
    data = load_id(config(data=(f"cifar10={tmp_path}",)))
    assert data.train.facts["count"] == data.test.facts["count"] == "published" and not count_warning(data.test.facts)


def test_an_undivided_id_set_is_counted_whole(tmp_path, monkeypatch):
    monkeypatch.setitem(SETS, "cifar10", replace(SETS["cifar10"], train_images=30, test_images=20))
    path = made.parquet(tmp_path / "x.parquet", made.cells(50), [*range(10)] * 5)
    data = load_id(config(data=(f"cifar10={path}",)))
    assert data.test.facts["found"] == 50 and data.test.facts["expected"] == {"published": 50}
    mine = load_id(config(str(made.tar(tmp_path / "m.tar", {f"{c}/{i}.png": made.encoded(i) for c in "ab" for i in range(9)}))))
    assert mine.test.facts["count"] == "not known" and str(tmp_path) not in json.dumps(mine.test.facts)


# --- filters ----------------------------------------------------------------------------------------------------
def expected(root, filter, side):
    image = Image.open(root / "0.png").convert("RGB")
    left, shorter = (image.width - image.height) // 2, image.height
    return np.asarray(image.resize((side, side), filter, box=(left, 0, left + shorter, shorter)))


def read(entry, settings):
    return load_ood(entry, settings, 0, Lossless()).images[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize("name", ["textures", "places365"])
def test_the_filter_of_the_protocol_is_used_beside_a_standard_set(tmp_path, name):
    root = scene(tmp_path / "x")
    found = read(f"{name}={root}", config())
    assert np.array_equal(found, expected(root, Image.Resampling.BILINEAR, 32))
    assert not np.array_equal(found, expected(root, Image.Resampling.BICUBIC, 32))


def test_beside_images_of_a_user_every_set_goes_through_what_they_do(tmp_path):
    """A filter of its own would tell an OOD set from the ID images, whatever it shows."""
    root, settings = scene(tmp_path / "x"), config(str(tmp_path))
    for entry in (f"textures={root}", f"mine={root}"):
        assert np.array_equal(read(entry, settings), expected(root, Image.Resampling.BICUBIC, 32))
    assert np.array_equal(read(f"mine={root}", config()), expected(root, Image.Resampling.BILINEAR, 32))


def test_id_images_of_imagenet_go_through_what_its_ood_sets_do(tmp_path):
    wanted = frozen_classes("imagenet-100")
    buffer = io.BytesIO()
    Image.open(scene(tmp_path / "x") / "0.png").save(buffer, "PNG")
    contents = {f"{wnid}/{n}.png": buffer.getvalue() for wnid in wanted.values() for n in range(3)}
    path = made.tar(tmp_path / "in.tar", contents)
    data = load_id(config("imagenet-100", data=(f"imagenet-100={path}",)))
    assert np.array_equal(data.test.images[0].permute(1, 2, 0), expected(tmp_path / "x", Image.Resampling.BILINEAR, 32))
    assert np.array_equal(data.test.images[0].permute(1, 2, 0), read(f"inaturalist={tmp_path / 'x'}", config("imagenet-100")))


def test_whose_filter_it_is():
    assert resize_of("lsun-c", "cifar10") == SETS["lsun-c"].resize and resize_of("mine", "cifar10") == SETS["cifar10"].resize
    assert resize_of("textures", "a/folder") == resize_of("mine", "a/folder") == WHOLE
    assert resize_of("textures", "imagenet") == Resize("bilinear", share=0.875)


def test_digits_of_svhn_are_left_as_they_are(tmp_path):
    images = np.stack([made.pixels(seed) for seed in range(3)])
    found = load_ood(f"svhn={made.svhn(tmp_path / 'test_32x32.mat', images)}", config(), 0, Lossless())
    assert np.array_equal(found.images.permute(0, 2, 3, 1), images)


def test_digits_of_mnist_become_grey_images_of_the_id_size(tmp_path):
    made.idx(tmp_path / "t10k-images-idx3-ubyte.gz", np.stack([made.pixels(seed)[:28, :28, 0] for seed in range(3)]))
    made.idx(tmp_path / "train-images-idx3-ubyte.gz", np.zeros((9, 28, 28), np.uint8))
    found = load_ood(f"mnist={tmp_path}", config(), 0, Lossless())
    assert found.images.shape == (3, 3, 32, 32) and found.images.float().std() > 20
    assert torch.equal(found.images[:, 0], found.images[:, 1]) and torch.equal(found.images[:, 0], found.images[:, 2])


# --- suites -----------------------------------------------------------------------------------------------------
def test_a_suite_stands_for_its_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path))
    for name in ("textures", "svhn", "places365", "lsun-c", "isun"):
        scene(tmp_path / name)
    elsewhere = scene(tmp_path / "elsewhere")
    found = named_ood((f"svhn={elsewhere}", "suite:cifar", "blobs"), config())
    assert list(found) == ["svhn", "blobs", "textures", "places365", "lsun-c", "isun"]
    assert found["svhn"] == f"svhn={elsewhere}" and found["isun"] == "isun"
    assert list(named_ood((), config())) == list(catalogue.default_ood("cifar10"))


def test_all_sets_that_are_missing_are_named_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path))
    scene(tmp_path / "svhn")
    with pytest.raises(DataError) as refusal:
        named_ood(("suite:cifar", "blobs"), config())
    message = str(refusal.value)
    assert "the images of textures, places365, lsun-c, isun are not here" in message and "isun is of suite:cifar)" in message
    assert "--data NAME=PATH" in message and "$DOGFAST_DATA/NAME" in message
    assert "--offline or --no-hub keeps from asking the Hugging Face hub for textures, lsun-c, isun" in message
    assert "\n" not in message


def test_the_id_set_is_no_ood_set():
    with pytest.raises(UsageError, match="--ood cifar10: that is the ID set"):
        named_ood(("cifar10=/x",), config())


def test_a_set_twice():
    with pytest.raises(UsageError, match="--ood names 'blobs' twice"):
        named_ood(("blobs", "gaussian", "blobs"), config())


def test_near_and_far_stand_in_what_was_read(tmp_path):
    for name, group in (("cifar100", "near"), ("tiny-imagenet", "near"), ("svhn", "far"), ("mine", "far")):
        assert load_ood(f"{name}={scene(tmp_path / name)}", config(), 0, Lossless()).facts["group"] == group
    assert load_ood("held-out-shapes", config("shapes"), 2, Lossless()).facts["group"] == "near"
    assert load_ood("held-out-shapes", config(), 2, Lossless()).facts["group"] == "far"


# --- classes ----------------------------------------------------------------------------------------------------
def test_numbers_are_the_classes_of_the_set_in_label_order(tmp_path):
    images = np.stack([made.pixels(seed) for seed in range(30)])
    labels = [*range(9, -1, -1)] * 3
    for name in ("data_batch_1", "test_batch"):
        made.cifar(tmp_path / f"{name}.bin", labels, images)
    data = load_id(config(data=(f"cifar10={tmp_path}",)))
    assert data.class_names == tuple(frozen_classes("cifar10")) and isinstance(data.codec, Lossless)
    row = data.test.keys.index("test_batch.bin/1")
    assert data.class_names[data.test.labels[row]] == "ship" and np.array_equal(
        data.test.images[row].permute(1, 2, 0), images[1]
    )


def test_numbers_of_imagenet_serve_its_subsets(tmp_path):
    whole, part = list(frozen_classes("imagenet")), list(frozen_classes("imagenet-100"))
    content, wanted = made.encoded(1, 8), [whole.index(name) for name in part]
    contents = {f"{i:05d}.{kind}": said for i, number in enumerate([*wanted, 999] * 3) for kind, said in (("png", content), ("cls", b"%d" % number))}  # fmt: skip
    data = load_id(config("imagenet-100", data=(f"imagenet-100={made.tar(tmp_path / 'x.tar', contents)}",), image_px=8))
    assert data.class_names == tuple(part)
    assert all(int(key[:5]) % (len(wanted) + 1) == label for key, label in zip(data.train.keys, data.train.labels.tolist()))


def test_lists_of_synonyms_are_the_classes_in_label_order(tmp_path):
    """As the hub names ImageNet's classes; some begin with another synonym than ours."""
    names = [f"{name}, of a kind" if n % 3 else f"other {n}, {name}" for n, name in enumerate(frozen_classes("imagenet"))]
    path = made.parquet(tmp_path / "x.parquet", [{"bytes": made.encoded(1, 8), "path": None}] * 3000, [*range(1000)] * 3, names)
    data = load_id(config("imagenet", data=(f"imagenet={path}",), image_px=8))
    assert data.class_names == tuple(frozen_classes("imagenet"))


def test_other_classes_of_the_same_number_are_refused(tmp_path):
    names = [f"digit {n}, {n}" for n in range(10)]
    path = made.parquet(tmp_path / "x.parquet", made.cells(30), [*range(10)] * 3, names)
    with pytest.raises(DataError, match=r"x\.parquet is not cifar10: no folder for 'airplane'"):
        load_id(config(data=(f"cifar10={path}",)))


def test_names_in_sets_of_any_layout(tmp_path):
    assert "apple" in names_in_ood(f"cifar100={scene(tmp_path / 'c')}", config())
    path = made.parquet(tmp_path / "x.parquet", made.cells(2), [0, 1], ["banded", "n02012849"])
    assert names_in_ood(f"textures={path}", config()) == ("banded", "crane bird")
    assert names_in_ood(f"mine={scene(tmp_path / 'flat')}", config()) == names_in_ood("blobs", config()) == ()


# --- real photographs -------------------------------------------------------------------------------------------
@pytest.mark.skipif(
    not (REAL_DATA / "tiny-imagenet32-val.tar").is_file(), reason=f"no tiny-imagenet32-val.tar under {REAL_DATA}"
)
def test_real_photographs():
    place = REAL_DATA / "tiny-imagenet32-val.tar"
    found = load_ood(f"tiny-imagenet={place}", config(), 100, Jpeg(((40,) * 64, (40,) * 64), 2))
    assert found.facts["found"] == 10_000 and found.facts["count"] == "published" and found.facts["group"] == "near"
    assert len(found) == 100 and 80 < found.images.float().mean() < 160
