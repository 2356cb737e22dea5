"""Sets of the Hugging Face hub, which is a folder of parquet files here: what is asked for, and what is made of its answers."""

import sys

import numpy as np
import pytest

from dogfast.config import RunConfig
from dogfast.config.data import DataConfig
from dogfast.data import hub
from dogfast.data.catalogue import load_id, load_ood, named_ood
from dogfast.data.class_sets import frozen_classes
from dogfast.data.codec import Lossless
from dogfast.data.pictures import labelled
from dogfast.data.sets import SETS
from dogfast.errors import DataError, EnvironmentFault
from tests.data import made

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def nothing_here(monkeypatch):
    monkeypatch.delenv("DOGFAST_DATA", raising=False)
    hub.check_hub.cache_clear()


@pytest.fixture
def answers(tmp_path, monkeypatch):
    """A hub that knows the files put under ``tmp_path/REPO``; the list of what it was asked."""
    asked, load = [], datasets.load_dataset

    def answer(repo, config, split):
        asked.append((repo, config, split))
        files = {path.stem: str(path) for path in (tmp_path / repo).glob("*.parquet")}
        return load("parquet", data_files=files, split=split, cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", answer)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda repo, config: asked.append((repo, config)))
    return asked


def refuse(monkeypatch, error):
    def ask(*given, **named):
        raise error

    monkeypatch.setattr(datasets, "load_dataset", ask)
    monkeypatch.setattr(datasets, "load_dataset_builder", ask)


def test_an_ood_set_comes_from_the_hub(tmp_path, answers):
    made.parquet(tmp_path / "ufldl-stanford" / "svhn" / "test.parquet", made.cells(7), list(range(7)))
    assert named_ood(("svhn",), DataConfig(classes="cifar10")) == {"svhn": "svhn"}
    images = load_ood("svhn", DataConfig(classes="cifar10"), 4, Lossless())
    assert len(images) == 4 and images.facts["read"] == "ufldl-stanford/svhn (test) of the Hugging Face hub"
    assert images.facts["found"] == 7 and images.facts["count"] == "differs"
    for key, image in zip(images.keys, images.images):
        assert np.array_equal(image.permute(1, 2, 0), made.pixels(int(key.removeprefix("test/"))))
    assert set(answers) == {("ufldl-stanford/svhn", "cropped_digits"), ("ufldl-stanford/svhn", "cropped_digits", "test")}


def test_an_id_set_comes_from_the_hub(tmp_path, answers):
    names = list(frozen_classes("cifar10"))
    for part, start in (("train", 0), ("test", 100)):
        made.parquet(
            tmp_path / "uoft-cs" / "cifar10" / f"{part}.parquet", made.cells(20, start), [*range(10)] * 2, names, column="img"
        )
    data = load_id(DataConfig(classes="cifar10", id_images=0))
    assert data.class_names == tuple(names) and (len(data.train) + len(data.validation), len(data.test)) == (20, 20)
    assert np.array_equal(data.test.images[data.test.keys.index("test/7")].permute(1, 2, 0), made.pixels(107))
    assert data.codec == Lossless() and data.test.labels[data.test.keys.index("test/7")] == 7


def test_several_splits_are_one_set(tmp_path, answers):
    for part, count in (("train", 3), ("test", 2)):
        made.parquet(tmp_path / "tanganke" / "dtd" / f"{part}.parquet", made.cells(count), [0] * count)
    assert load_ood("textures", DataConfig(classes="cifar10"), 0, Lossless()).facts["found"] == 5


def test_few_rows_are_in_memory_at_once(tmp_path, answers, monkeypatch):
    made.parquet(tmp_path / "x" / "y" / "test.parquet", made.cells(9), [0] * 9)
    monkeypatch.setattr(hub, "DECODED_TOGETHER", 2)
    sizes, encoded_in = [], hub.encoded_in
    monkeypatch.setattr(hub, "encoded_in", lambda column, *given: (sizes.append(len(column)), encoded_in(column, *given))[1])
    found = hub.open_hub("mine", hub.Hub(repo="x/y"), "test")
    assert dict(found.read(["test/8", "test/1", "test/4"])) == {f"test/{row}": made.encoded(row) for row in (1, 4, 8)}
    assert max(sizes) <= 2 and labelled(found, 8).class_names == ("0",)


def test_a_row_without_bytes_is_refused(tmp_path, answers):
    (tmp_path / "secret.png").write_bytes(made.encoded(1))
    cells = [*made.cells(1), {"bytes": None, "path": str(tmp_path / "secret.png")}]
    made.parquet(tmp_path / "x" / "y" / "test.parquet", cells)
    with pytest.raises(DataError, match=r"x/y \(test\): row test/1 holds no bytes of an image"):
        list(hub.open_hub("mine", hub.Hub(repo="x/y"), "test").read(["test/0", "test/1"]))


def test_columns_that_are_not_there(tmp_path, answers):
    made.parquet(tmp_path / "x" / "y" / "test.parquet", made.cells(1))
    with pytest.raises(DataError, match=r"x/y \(test\) of .* has no column 'label' any more; its columns: image"):
        labelled(hub.open_hub("mine", hub.Hub(repo="x/y"), "test"), 8)
    with pytest.raises(DataError, match=r"x/y \(test\) of .* has no column 'img' any more"):
        hub.open_hub("mine", hub.Hub(repo="x/y", image="img"), "test")


@pytest.mark.parametrize(
    "error", [ConnectionError("no route"), FileNotFoundError("no route"), ValueError("no route\nand more")]
)
def test_a_hub_that_does_not_answer(monkeypatch, error):
    refuse(monkeypatch, error)
    for ask in (lambda: named_ood(("isun",), DataConfig(classes="cifar10")), lambda: load_id(DataConfig(classes="cifar100"))):
        with pytest.raises(
            DataError, match=r"cannot be read \(no route\); go online, .*--data (isun|cifar100)=PATH"
        ) as refusal:
            ask()
        assert "\n" not in str(refusal.value)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentFault, match=r"isun is not here.*pip install 'dogfast\[data\]'.*--data isun=PATH"):
        named_ood(("isun",), DataConfig(classes="cifar10"))


@pytest.mark.parametrize("flags", [{"model": {"offline": True}}, {"data": {"hub": False}}])
def test_offline_no_hub_is_asked(monkeypatch, flags):
    refuse(monkeypatch, AssertionError("asked"))
    config = (
        RunConfig()
        .with_values({"data": {"classes": "cifar10"}} | flags, "test")
        .with_values({"data": {"classes": "cifar10"}}, "test")
    )
    assert config.data.hub is False
    with pytest.raises(DataError, match=r"svhn .*are not here.*--offline or --no-hub keeps from asking"):
        named_ood(("svhn",), config.data)
    with pytest.raises(DataError, match=r"images of cifar10 .*are not here.*--data cifar10=PATH"):
        load_id(config.data)


def test_what_is_here_is_read_and_the_hub_not_asked(tmp_path, monkeypatch):
    refuse(monkeypatch, AssertionError("asked"))
    made.parquet(tmp_path / "isun.parquet", made.cells(3))
    monkeypatch.setenv("DOGFAST_DATA", str(tmp_path))
    assert len(load_ood("isun", DataConfig(classes="cifar10"), 0, Lossless())) == 3


def test_every_set_at_the_hub_names_its_columns():
    for name, known in SETS.items():
        if known.hub:
            assert known.hub.image and known.hub.label and known.hub.test, name
