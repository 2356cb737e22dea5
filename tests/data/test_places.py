"""Where sets are found, in the layouts that people have them in."""

import numpy as np
import pytest

from dogfast.config.data import DataConfig
from dogfast.data.pictures import unlabelled
from dogfast.data.places import Files, at_hub, locate, not_here, of_suites, open_place, part_learned, part_tested
from dogfast.errors import DataError
from tests.data import made

IMAGES = np.stack([made.pixels(seed) for seed in range(2)])


def images(root, *names):
    for seed, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(made.encoded(seed))
    return root


def names_of(place):
    return [path.name for path in place.paths] if isinstance(place, Files) else place.name


LAYOUTS = {
    "cifar10": (
        lambda root: [made.cifar(root / f"{name}.bin", [0, 1], IMAGES) for name in ("data_batch_1", "data_batch_2", "test_batch")],
        ["data_batch_1.bin", "data_batch_2.bin"], ["test_batch.bin"],
    ),
    "cifar100": (
        lambda root: [made.cifar(root / f"{name}.bin", [0, 1], IMAGES, 0) for name in ("train", "test")], ["train.bin"], ["test.bin"],
    ),
    "mnist": (
        lambda root: [made.idx(root / f"{name}-images-idx3-ubyte.gz", IMAGES[..., 0]) for name in ("train", "t10k")],
        ["train-images-idx3-ubyte.gz"], ["t10k-images-idx3-ubyte.gz"],
    ),
    "svhn": (
        lambda root: [made.svhn(root / f"{name}_32x32.mat", IMAGES) for name in ("train", "test", "extra")],
        ["train_32x32.mat"], ["test_32x32.mat"],
    ),
    "mine": (
        lambda root: [made.parquet(root / "data" / f"{name}-0-of-1.parquet", made.cells(2)) for name in ("train", "test", "validation")],
        ["train-0-of-1.parquet"], ["test-0-of-1.parquet"],
    ),
    "imagenet": (
        lambda root: [made.parquet(root / "data" / f"{name}-0-of-1.parquet", made.cells(2)) for name in ("train", "test", "validation")],
        ["train-0-of-1.parquet"], ["validation-0-of-1.parquet"],
    ),
    "tiny-imagenet": (
        lambda root: [made.tar(root / f"{name}-{n}.tar", {"a.png": made.encoded(n)}) for name in ("train", "val") for n in range(2)],
        ["train-0.tar", "train-1.tar"], ["val-0.tar", "val-1.tar"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_published_layouts_are_divided(tmp_path, name):
    """Of ImageNet the validation part is tested on, for its test part has no labels."""
    make, learned, tested = LAYOUTS[name]
    make(tmp_path)
    assert names_of(part_learned(tmp_path, name)) == learned and names_of(part_tested(tmp_path, name)) == tested
    assert len(unlabelled(open_place(part_tested(tmp_path, name)), 8)) == 2


def test_the_hubs_own_conversion_to_parquet(tmp_path):
    """A folder a part below one a configuration, and the same names in each."""
    for part, start in (("train", 0), ("test", 10)):
        made.parquet(tmp_path / "default" / part / "0000.parquet", made.cells(2, start))
    whole = open_place(tmp_path)
    assert whole.keys == [f"{part}/0000.parquet/{row}" for part in ("test", "train") for row in range(2)]
    assert dict(whole.read(["train/0000.parquet/1"])) == {"train/0000.parquet/1": made.encoded(1)}
    assert dict(open_place(part_tested(tmp_path, "mine")).read(["0000.parquet/1"])) == {"0000.parquet/1": made.encoded(11)}
    assert len(open_place(part_learned(tmp_path, "mine")).keys) == 2


def test_hidden_files_are_skipped(tmp_path):
    made.parquet(tmp_path / "test.parquet", made.cells(2)), made.parquet(tmp_path / ".cache" / "test.parquet", made.cells(2))
    assert open_place(tmp_path).keys == ["test.parquet/0", "test.parquet/1"]


def test_parts_in_folders_of_their_own(tmp_path):
    for part in ("train", "test"):
        made.parquet(tmp_path / part / "0.parquet", made.cells(2))
    assert part_learned(tmp_path, "mine") == tmp_path / "train" and part_tested(tmp_path, "mine") == tmp_path / "test"
    assert len(unlabelled(open_place(tmp_path / "test"), 8)) == 2


def test_textures_are_tested_on_whole(tmp_path):
    for part in ("train", "test"):
        made.parquet(tmp_path / f"{part}-0.parquet", made.cells(2))
    assert part_tested(tmp_path, "textures") is None and len(open_place(tmp_path).keys) == 4


def test_tiny_imagenet_as_it_is_unpacked(tmp_path):
    """Class folders with a folder `images` in each, a validation part told by a table, a test part without labels."""
    images(tmp_path, "train/n1/images/n1_0.JPEG", "train/n2/images/n2_0.JPEG", "val/images/val_0.JPEG", "val/images/val_1.JPEG")
    images(tmp_path, "test/images/test_0.JPEG")
    (tmp_path / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn2\t0\t0\t9\t9\nval_1.JPEG\tn1\t0\t0\t9\t9\nodd\n")
    assert part_tested(tmp_path, "tiny-imagenet") == tmp_path / "val"
    assert open_place(tmp_path / "train").by_class() == {"n1": ["n1/images/n1_0.JPEG"], "n2": ["n2/images/n2_0.JPEG"]}
    assert open_place(tmp_path / "val").by_class() == {"n1": ["images/val_1.JPEG"], "n2": ["images/val_0.JPEG"]}


def test_an_archive_beside_its_images_is_not_read(tmp_path):
    images(tmp_path, "a/deep/1.png", "b/2.png")
    made.tar(tmp_path / "archive.tar", {"x.png": made.encoded(5)}), made.parquet(tmp_path / "x.parquet", made.cells(3))
    assert open_place(tmp_path).keys == ["a/deep/1.png", "b/2.png"]


def test_files_of_several_sets_in_one_folder_are_refused(tmp_path):
    for name in ("cifar10-test.tar", "tiny-imagenet32-val.tar"):
        made.tar(tmp_path / name, {"a.png": made.encoded(1)})
    with pytest.raises(DataError, match=r"files of several sets \('cifar', 'tiny-imagenet'\)"):
        open_place(tmp_path)


def test_a_file_of_another_name_is_tried_as_a_tar(tmp_path):
    made.tar(tmp_path / "x.images", {"a/1.png": made.encoded(1)})
    assert open_place(tmp_path / "x.images").keys == ["a/1.png"]
    (tmp_path / "x.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match="neither a folder nor a readable, uncompressed tar"):
        open_place(tmp_path / "x.npz")


def test_an_empty_place(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        unlabelled(open_place(tmp_path), 8)


def test_sets_beside_one_another(tmp_path, monkeypatch):
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path))
    made.parquet(tmp_path / "isun.parquet", made.cells(1)), made.tar(tmp_path / "sun.tar", {"a.png": made.encoded(1)})
    assert locate("isun", DataConfig()) == tmp_path / "isun.parquet" and locate("sun", DataConfig()) == tmp_path / "sun.tar"
    assert locate("svhn", DataConfig()) is None


def test_the_hub_is_asked_only_where_it_may_be():
    assert str(at_hub("svhn", "test", DataConfig())) == "ufldl-stanford/svhn (test) of the Hugging Face hub"
    assert at_hub("textures", "test", DataConfig()).split == "train+test"
    assert at_hub("svhn", "test", DataConfig(hub=False)) is None
    assert at_hub("svhn", "train", DataConfig()) is None, "it is not learned from"
    assert at_hub("places365", "test", DataConfig()) is None and at_hub("mine", "test", DataConfig()) is None


def test_what_is_said_of_sets_that_are_nowhere():
    one = not_here(["svhn"], DataConfig(hub=False))
    assert one.startswith("the images of svhn are not here; ")
    assert "--data svhn=PATH" in one and "$DOGFAST_DATA/svhn" in one and "--offline or --no-hub keeps from asking" in one
    several = not_here(["places365", "isun"], DataConfig())
    assert several.startswith("the images of places365, isun are not here") and "--data NAME=PATH" in several
    assert "--offline" not in several
    assert (
        of_suites(["isun", "blobs", "sun"]) == " (isun is of suite:cifar, sun is of suite:imagenet)" and of_suites(["x"]) == ""
    )
