"""Data sets by name: where they are looked for, how they are split, and what is said when they are not there."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dogfast.config.data import DataConfig
from dogfast.data import catalogue, shapes
from dogfast.data.catalogue import default_ood, known_class_sets, load_id, load_ood, paint, parse_ood
from dogfast.data.class_sets import CLASS_SETS, frozen_classes
from dogfast.data.codec import Jpeg, Lossless, Sensor
from dogfast.data.places import locate
from dogfast.data.sets import SETS
from dogfast.data.splits import is_test_key, is_validation_key
from dogfast.errors import DataError, UsageError

PAINTED = [name for name, known in SETS.items() if known.painter]
CIFAR10 = tuple(frozen_classes("cifar10"))
REAL_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def no_data_variable(monkeypatch):
    monkeypatch.delenv("DOGFAST_DATA", raising=False)


@pytest.fixture
def few_shapes(monkeypatch):
    monkeypatch.setattr(catalogue, "SHAPES_TEST_IMAGES", 80)


def encoded(seed, side=8, format="JPEG", **options):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, format, **options)
    return buffer.getvalue()


def contents(class_names=CIFAR10, n=3, start=0, **options):
    return {
        f"{name}/{start + i}.jpg": encoded(100 * c + start + i, **options)
        for c, name in enumerate(class_names)
        for i in range(n)
    }


def folder(root, **options):
    for name, content in contents(**options).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def pack(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in contents(**options).items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def config(classes="cifar10", **values):
    return DataConfig(**{"classes": classes, "image_px": 8, "id_images": 0, "hub": False, **values})


def parts(data):
    return data.train, data.validation, data.test


def sizes(data):
    return [len(part) for part in parts(data)]


def assert_whole(data, n):
    """Disjoint splits that cover ``n`` images, with every class in each."""
    keys = [set(part.keys) for part in parts(data)]
    for part in parts(data):
        assert part.class_names == data.class_names
        assert set(part.labels.tolist()) == set(range(len(data.class_names)))
    assert sum(map(len, keys)) == len(set.union(*keys)) == n


# --- shapes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [16, 30, 400])
def test_shapes_in_three_splits(few_shapes, count):
    data = load_id(config("shapes", id_images=count, image_px=16))
    assert_whole(data, count + 80)
    assert data.class_names == shapes.ID_WORDS and data.codec == Sensor()
    assert data.train.images.shape[1:] == (3, 16, 16)


def test_shapes_pass_through_their_camera_once(few_shapes):
    data = load_id(config("shapes", id_images=40, image_px=16))
    for part in parts(data):
        split, word, index = part.keys[0].split("/")
        clean = shapes.render(word, split, 0, int(index), 16)
        assert np.array_equal(part.images[0].permute(1, 2, 0), Sensor()(clean, part.keys[0]))
        assert part.class_names[part.labels[0]] == word


def test_shapes_are_the_same_every_time(few_shapes):
    first, second = (load_id(config("shapes", id_images=40, image_px=16)) for _ in range(2))
    assert all(torch.equal(a.images, b.images) and a.keys == b.keys for a, b in zip(parts(first), parts(second)))


def test_validation_is_chosen_by_key(few_shapes):
    data = load_id(config("shapes", id_images=2000))
    assert {key for key in data.train.keys + data.validation.keys if is_validation_key(key)} == set(data.validation.keys)


def test_shapes_without_codec_matching(few_shapes):
    matched, bare = (load_id(config("shapes", id_images=16, match_codec=codec)) for codec in ("auto", "none"))
    assert bare.codec == Lossless() and torch.equal(bare.train.images, matched.train.images)


@pytest.mark.parametrize("count", [1, 5, 15])
def test_too_few_shapes(count):
    with pytest.raises(UsageError, match=f"--id-images {count} is too few for 8 classes; choose at least 16"):
        load_id(config("shapes", id_images=count))


# --- where files lie --------------------------------------------------------------------------------------------
def layout_folders(root):
    folder(root / "cifar10" / "train"), folder(root / "cifar10" / "test", n=2, start=50)


def layout_val_folder(root):
    folder(root / "cifar10" / "train"), folder(root / "cifar10" / "val", n=2, start=50)


def layout_tars_in_a_folder(root):
    pack(root / "cifar10" / "cifar10-train.tar"), pack(root / "cifar10" / "cifar10-test.tar", n=2, start=50)


def layout_plain_tars_in_a_folder(root):
    pack(root / "cifar10" / "train.tar"), pack(root / "cifar10" / "test.tar", n=2, start=50)


def layout_tars_side_by_side(root):
    pack(root / "cifar10-train.tar"), pack(root / "cifar10-test.tar", n=2, start=50)


LAYOUTS = [layout_folders, layout_val_folder, layout_tars_in_a_folder, layout_plain_tars_in_a_folder, layout_tars_side_by_side]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_with_a_test_part_by_variable(tmp_path, monkeypatch, layout):
    layout(tmp_path)
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path))
    data = load_id(config())
    assert_whole(data, 50)
    assert len(data.test) == 20 and all(Path(key).stem in ("50", "51") for key in data.test.keys)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_with_a_test_part_by_flag(tmp_path, layout):
    layout(tmp_path)
    place = tmp_path / ("cifar10" if (tmp_path / "cifar10").exists() else "cifar10-train.tar")
    assert sizes(load_id(config(data=(f"cifar10={place}",))))[2] == 20


def test_a_test_set_of_its_own_by_flag(tmp_path):
    pack(tmp_path / "a.tar"), pack(tmp_path / "b.tar", n=2, start=50)
    data = load_id(config(data=(f"cifar10={tmp_path / 'a.tar'}", f"cifar10-test={tmp_path / 'b.tar'}")))
    assert_whole(data, 50)
    assert len(data.test) == 20


@pytest.mark.parametrize("place", ["cifar10", "cifar10.tar"])
def test_a_single_set_is_split_by_hash(tmp_path, monkeypatch, place):
    (pack if place.endswith("tar") else folder)(tmp_path / place, n=20)
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path))
    data = load_id(config())
    assert_whole(data, 200)
    chosen = {key for part in parts(data) for key in part.keys if is_test_key(key)}
    assert len(chosen.symmetric_difference(data.test.keys)) <= 2
    assert 10 < len(data.validation) < 35


def test_the_flag_goes_before_the_variable(tmp_path, monkeypatch):
    folder(tmp_path / "env" / "cifar10", n=3), folder(tmp_path / "flag", n=5)
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path / "env"))
    assert sum(sizes(load_id(config(data=(f"cifar10={tmp_path / 'flag'}",))))) == 50
    assert locate("cifar10", config()) == tmp_path / "env" / "cifar10"


def test_an_empty_variable_is_no_place(monkeypatch, tmp_path):
    monkeypatch.chdir(folder(tmp_path / "cifar10").parent)
    monkeypatch.setenv("DOGFAST_DATA", "")
    assert locate("cifar10", config()) is None


@pytest.mark.parametrize("by", ["path", "name", "tar"])
def test_a_folder_of_the_user(tmp_path, monkeypatch, by):
    monkeypatch.chdir(tmp_path)
    folder(tmp_path / "my pets", class_names=("cat", "polar_bear"), n=6)
    pack(tmp_path / "pets.tar", class_names=("cat", "polar_bear"), n=6)
    data = load_id(config({"path": str(tmp_path / "my pets"), "name": "my pets", "tar": "pets.tar"}[by]))
    assert_whole(data, 12)
    assert data.class_names == ("cat", "polar bear")


def test_three_images_a_class_are_enough(tmp_path):
    for names in (("a", "b"), ("c", "d", "e"), ("fox", "Häuschen", "日本")):
        root = folder(tmp_path / names[0], class_names=names, n=3)
        assert_whole(load_id(config(str(root))), 3 * len(names))


@pytest.mark.parametrize("n, with_test, refused", [(1, True, True), (2, True, False), (2, False, True), (3, False, False)])
def test_every_split_needs_every_class(tmp_path, n, with_test, refused):
    folder(tmp_path / "set" / ("train" if with_test else "."), class_names=("a", "b"), n=n)
    if with_test:
        folder(tmp_path / "set" / "test", class_names=("a", "b"), n=1, start=9)
    if refused:
        with pytest.raises(DataError, match=r"fewer than (two|three) images: 'a', 'b'"):
            load_id(config(str(tmp_path / "set")))
    else:
        assert_whole(load_id(config(str(tmp_path / "set"))), 2 * n + 2 * with_test)


def test_one_class_is_none(tmp_path):
    root = folder(tmp_path / "pets", class_names=("cat",), n=9)
    with pytest.raises(DataError, match="holds one class, 'cat'; a classifier needs two"):
        load_id(config(str(root)))


def test_classes_called_as_splits_are(tmp_path):
    root = folder(tmp_path / "vehicles", class_names=("bus", "test", "train"), n=4)
    data = load_id(config(str(root)))
    assert data.class_names == ("bus", "test", "train")
    assert_whole(data, 12)


def test_a_neighbour_is_not_a_part(tmp_path):
    root = folder(tmp_path / "set", class_names=("a", "b"))
    pack(tmp_path / "set-train.tar", class_names=("x", "y")), pack(tmp_path / "set-test.tar", class_names=("x", "y"))
    assert load_id(config(str(root))).class_names == ("a", "b")


# --- how many ---------------------------------------------------------------------------------------------------
def test_id_images_are_drawn_evenly(tmp_path):
    folder(tmp_path / "train", class_names=("a", "b"), n=20), folder(tmp_path / "test", class_names=("a", "b"), n=7, start=50)
    data = load_id(config(str(tmp_path), id_images=10))
    known = torch.cat([data.train.labels, data.validation.labels])
    assert torch.bincount(known).tolist() == [5, 5] and len(data.test) == 14


def test_id_images_that_leave_a_split_empty(tmp_path):
    root = folder(tmp_path, class_names=("a", "b"), n=20)
    with pytest.raises(UsageError, match="--id-images 5 is too few for 2 classes; choose at least 6, or 0 for all"):
        load_id(config(str(root), id_images=5))
    assert_whole(load_id(config(str(root), id_images=6)), 6)


# --- the codec --------------------------------------------------------------------------------------------------
def test_the_codec_is_read_from_the_images(tmp_path):
    jpeg = load_id(config(str(folder(tmp_path / "a", class_names=("a", "b"), quality=33, subsampling=1)))).codec
    assert isinstance(jpeg, Jpeg) and jpeg.subsampling == 1
    expected = Image.open(io.BytesIO(encoded(0, quality=33, subsampling=1))).quantization
    assert [list(table) for table in jpeg.tables] == [expected[0], expected[1]]
    assert load_id(config(str(folder(tmp_path / "b", class_names=("a", "b"), format="PNG")))).codec == Lossless()
    assert load_id(config(str(tmp_path / "a"), image_px=16)).codec == Lossless()
    assert load_id(config(str(tmp_path / "a"), match_codec="none")).codec == Lossless()


def test_the_codec_is_that_of_an_image_in_use(tmp_path):
    root = folder(tmp_path, class_names=("a", "b"), n=6)
    (root / "0.png").write_bytes(encoded(1, format="PNG"))
    drawn = {key for part in parts(load_id(config(str(root), id_images=6))) for key in part.keys}
    for name in contents(("a", "b"), 6).keys() - drawn:
        (root / name).write_bytes(b"broken, but never drawn")
    assert isinstance(load_id(config(str(root), id_images=6)).codec, Jpeg)


# --- what is refused --------------------------------------------------------------------------------------------
def test_unknown_classes_are_a_usage_error():
    with pytest.raises(
        UsageError, match=r"--classes 'cfar10' is neither a known set .*shapes, cifar10.* nor an existing folder"
    ) as e:
        load_id(config("cfar10"))
    assert e.value.exit_code == 2 and known_class_sets() == ("shapes", *CLASS_SETS)


def test_missing_data_says_where_to_put_it():
    with pytest.raises(DataError, match=r"cifar10 are not here.*--data cifar10=PATH.*\$DOGFAST_DATA/cifar10") as refusal:
        load_id(config())
    assert refusal.value.exit_code == 4


def test_a_place_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"--data cifar10=.*gone does not exist"):
        load_id(config(data=(f"cifar10={tmp_path / 'gone'}",)))


def test_other_classes_are_not_cifar10(tmp_path):
    root = folder(tmp_path, class_names=("cat", "dog"))
    with pytest.raises(
        DataError, match=r"is not cifar10: no folder for 'airplane', 'automobile'.* and 3 more among 'cat', 'dog'"
    ):
        load_id(config(data=(f"cifar10={root}",)))


def test_imagenets_folders_serve_every_set_of_its_classes(tmp_path):
    wanted = frozen_classes("imagenet-100")
    for part, n in (("train", 2), ("val", 1)):
        folder(tmp_path / part, class_names=(*wanted.values(), "n01443537", "n02110341"), n=n)
    data = load_id(config("imagenet-100", data=(f"imagenet-100={tmp_path}",)))
    assert data.class_names == tuple(wanted) and {key.split("/")[0] for key in data.test.keys} == set(wanted.values())
    assert sizes(data) == [100, 100, 100]


def test_folders_named_by_wnid_bear_their_names(tmp_path):
    data = load_id(config(str(folder(tmp_path, class_names=("n02012849", "n03126707", "mine")))))
    by_id = {wnid: name for name, wnid in frozen_classes("imagenet").items()}
    assert data.class_names == ("mine", by_id["n02012849"], by_id["n03126707"])


def test_more_images_than_memory_are_refused_before_decoding(tmp_path, monkeypatch):
    from collections import namedtuple

    from dogfast.data import pictures

    monkeypatch.setattr(pictures.psutil, "virtual_memory", lambda: namedtuple("Free", "available")(100))
    with pytest.raises(DataError, match=r"6 images of 8 px need .* choose fewer with --id-images"):
        load_id(config(str(folder(tmp_path, class_names=("a", "b")))))


def test_test_images_of_other_classes(tmp_path):
    folder(tmp_path / "train", class_names=("a", "b")), folder(tmp_path / "test", class_names=("a", "c"))
    with pytest.raises(DataError, match=r"test holds other classes than .*train"):
        load_id(config(str(tmp_path)))


def test_a_broken_image_is_named(tmp_path):
    folder(tmp_path, class_names=("a", "b"))
    (tmp_path / "a" / "1.jpg").write_bytes(b"no")
    with pytest.raises(DataError, match=r"a/1\.jpg"):
        load_id(config(str(tmp_path)))


# --- out of distribution ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PAINTED)
def test_painted_sets(name):
    images = load_ood(name, config("shapes", image_px=16), 6, Lossless())
    assert images.images.shape == (6, 3, 16, 16) and set(images.labels.tolist()) == {-1} and images.class_names == ()
    assert torch.equal(images.images, load_ood(name, config("shapes", image_px=16), 6, Lossless()).images)
    assert len({image.numpy().tobytes() for image in images.images}) == 6
    assert not torch.equal(images.images, load_ood(name, config("shapes", image_px=16), 6, Lossless(), "val").images)


def test_held_out_shapes_are_the_held_out_words():
    images = paint("held-out-shapes", "test", 8, 16).images
    for index, word in enumerate(shapes.TEST_WORDS):
        assert np.array_equal(images[index].permute(1, 2, 0), shapes.render(word, "test", 0, index, 16))
    assert np.array_equal(
        paint("validation-shapes", "val", 1, 16).images[0].permute(1, 2, 0),
        shapes.render(shapes.VALIDATION_WORDS[0], "val", 0, 0, 16),
    )


def test_without_a_limit_painted_sets_have_their_size(monkeypatch):
    monkeypatch.setattr(catalogue, "PAINTED_OOD_IMAGES", 13)
    assert len(load_ood("gaussian", config(), 0, Lossless())) == 13


@pytest.mark.parametrize("classes", ["shapes", "cifar10", "some/folder"])
def test_default_sets_need_no_files(classes):
    names = default_ood(classes)
    assert names and set(names) <= set(PAINTED)
    assert "validation-shapes" not in names, "validation sets are never tested on"


@pytest.mark.parametrize("place", ["set", "set.tar"])
def test_a_set_by_path(tmp_path, place):
    (pack if place.endswith("tar") else folder)(tmp_path / place, class_names=("x", "y"), n=4)
    images = load_ood(f"mine={tmp_path / place}", config(), 0, Lossless())
    assert len(images) == 8 and set(images.labels.tolist()) == {-1}
    assert len(load_ood(f"mine={tmp_path / place}", config(), 3, Lossless())) == 3


def test_a_path_with_an_equals_sign(tmp_path):
    folder(tmp_path / "a=b", class_names=("x",))
    assert parse_ood(f"mine={tmp_path / 'a=b'}", config()) == ("mine", tmp_path / "a=b")


def test_a_named_set_gives_its_test_part(tmp_path, monkeypatch):
    layout_tars_side_by_side(tmp_path)
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path))
    assert parse_ood("cifar10", config()) == ("cifar10", tmp_path / "cifar10-test.tar")
    assert parse_ood("cifar10-test", config()) == ("cifar10-test", tmp_path / "cifar10-test.tar")
    folder(tmp_path / "svhn" / "train"), folder(tmp_path / "svhn" / "test")
    assert parse_ood("svhn", config())[1] == tmp_path / "svhn" / "test"
    assert parse_ood("textures", config(data=(f"textures={folder(tmp_path / 't')}",)))[1] == tmp_path / "t"


@pytest.mark.parametrize("entry", ["", "=", "mine=", "=path"])
def test_entries_that_are_none(entry, monkeypatch, tmp_path):
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path))
    with pytest.raises(UsageError, match="is not NAME or NAME=PATH"):
        parse_ood(entry, config())


def test_a_path_without_a_name_is_told_how_to_bear_one(tmp_path, monkeypatch):
    monkeypatch.chdir(folder(tmp_path / "photos").parent)
    for path in ("photos", "./photos", "no/photos"):
        with pytest.raises(UsageError, match=rf"--ood '{path}' is a path without a name; give it one: --ood photos={path}"):
            parse_ood(path, config())


def test_unknown_and_missing_sets(tmp_path):
    with pytest.raises(
        DataError,
        match=r"--ood 'svnh': the images of svnh are not here; .*--data svnh=PATH.*known by name: cifar10, .*suite:openood",
    ):
        load_ood("svnh", config(), 5, Lossless())
    with pytest.raises(DataError, match=r"--ood mine=.*gone does not exist"):
        load_ood(f"mine={tmp_path / 'gone'}", config(), 5, Lossless())
    with pytest.raises(DataError, match="holds no images"):
        load_ood(f"mine={tmp_path}", config(), 5, Lossless())


def test_ood_images_pass_through_the_codec(tmp_path):
    codec = Jpeg(((40,) * 64, (40,) * 64), 2)
    root = folder(tmp_path, class_names=("x",), n=3, format="PNG")
    for entry in (f"mine={root}", "glyphs"):
        plain, coded = (load_ood(entry, config(), 3, c).images for c in (Lossless(), codec))
        assert not torch.equal(plain, coded)
        assert torch.equal(coded[1], torch.from_numpy(codec(plain[1].permute(1, 2, 0).numpy(), "").copy()).permute(2, 0, 1))


def test_ood_images_in_the_codec_are_left_as_they_are(tmp_path):
    root = folder(tmp_path, class_names=("a", "b"), n=3, quality=20)
    codec = load_id(config(str(root))).codec
    plain, coded = (load_ood(f"mine={root}", config(), 0, each).images for each in (Lossless(), codec))
    assert isinstance(codec, Jpeg) and torch.equal(plain, coded)


def test_sensor_noise_is_of_the_set_and_the_image():
    for name in ("stripes", "checkers"):
        clean, noisy = (
            load_ood(name, config(image_px=16), 2, codec).images.permute(0, 2, 3, 1) for codec in (Lossless(), Sensor())
        )
        for index in range(2):
            assert np.array_equal(noisy[index], Sensor()(clean[index].numpy(), f"{name}/test/{index}"))


# --- real photographs -------------------------------------------------------------------------------------------
@pytest.mark.skipif(not (REAL_DATA / "cifar10-test.tar").is_file(), reason=f"no cifar10-test.tar under {REAL_DATA}")
def test_real_photographs():
    data = load_id(config(data=(f"cifar10={REAL_DATA / 'cifar10-test.tar'}",), id_images=200, image_px=32))
    assert_whole(data, 200)
    assert data.class_names == CIFAR10 and isinstance(data.codec, Jpeg) and data.codec.subsampling == 2
    assert 80 < data.train.images.float().mean() < 160 and data.train.images.float().std() > 40
