"""MNIST, CIFAR and SVHN as their authors publish them: whole, cut, lying about themselves."""

import gzip
import struct

import numpy as np
import pytest

from dogfast.data import binaries
from dogfast.data.pictures import labelled, unlabelled
from dogfast.data.places import open_place
from dogfast.errors import DataError
from tests.data import made

IMAGES = np.stack([made.pixels(seed) for seed in range(6)])
GREY = IMAGES[:, :28, :28, 0]


# --- MNIST ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"])
def test_digits_become_grey_images_in_three_channels(tmp_path, name):
    images = unlabelled(open_place(made.idx(tmp_path / name, GREY)), 28)
    assert len(images) == 6 and images.keys[2] == f"{name}/2"
    for row in range(6):
        assert all(np.array_equal(channel, GREY[row]) for channel in images.images[row])
    assert unlabelled(open_place(tmp_path / name), 32).images.shape == (6, 3, 32, 32)


@pytest.mark.parametrize(
    "change", [{"magic": 0x801}, {"claimed": 7}, {"claimed": 5}, {"claimed": 0}, {"claimed": 2**32 - 1}, {"claimed": 1_000_001}]
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_header_that_lies(tmp_path, change, suffix):
    path = made.idx(tmp_path / f"t10k-images-idx3-ubyte{suffix}", GREY, **change)
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte.* is no readable file of images in MNIST's idx format"):
        open_place(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"\x1f\x8b", gzip.compress(b"\0\0\x08\x03", mtime=0)[:-9], b"no gzip at all", gzip.compress(b"x", mtime=0)],
)
def test_no_idx(tmp_path, content):
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match="is no readable file of images"):
        open_place(tmp_path)


def test_of_a_gzip_bomb_no_more_is_unpacked_than_the_header_says(tmp_path, monkeypatch):
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(struct.pack(">4I", 0x803, 2, 28, 28) + bytes(8 * 2**20)))
    asked, read = [], gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: (asked.append(size), read(self, size))[1])
    with pytest.raises(DataError, match=r"1,569 of 1,568 bytes"):
        open_place(path)
    assert asked == [16, 2 * 28 * 28 + 1]


# --- CIFAR ------------------------------------------------------------------------------------------------------
def test_cifar10(tmp_path):
    made.cifar(tmp_path / "test_batch.bin", [3, 0, 9, 3, 0, 9], IMAGES)
    images = labelled(open_place(tmp_path / "test_batch.bin"), 32)
    assert images.class_names == ("3", "0", "9") and images.labels.tolist() == [0, 1, 2, 0, 1, 2]
    for row in range(6):
        assert np.array_equal(images.images[row].permute(1, 2, 0), IMAGES[row])


def test_cifar100_goes_by_its_fine_classes(tmp_path):
    path = made.cifar(tmp_path / "test.bin", [90, 4, 90, 4, 90, 4], IMAGES, coarse=1)
    assert list(open_place(path).by_class()) == ["90", "4"]
    assert np.array_equal(unlabelled(open_place(path), 32).images[5].permute(1, 2, 0), IMAGES[5])


@pytest.mark.parametrize("content", [b"", bytes(3072), bytes(3074), bytes(3 * 3073 + 1)])
def test_no_rows_of_cifar10(tmp_path, content):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_1\.bin is no readable file of CIFAR's binary version"):
        open_place(tmp_path / "data_batch_1.bin")


@pytest.mark.parametrize("names", [["py/data_batch_1", "py/test_batch", "py/batches.meta"], ["train", "test", "meta"]])
def test_pickles_are_never_read(tmp_path, names):
    class Harmful:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    import pickle

    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(DataError, match=r"holds CIFAR's Python pickles.*cifar-10-binary\.tar\.gz"):
        open_place(tmp_path)
    (tmp_path / "a.png").write_bytes(made.encoded(1))
    assert open_place(tmp_path).keys == ["a.png"], "images beside them are images"


# --- SVHN -------------------------------------------------------------------------------------------------------
def test_svhn(tmp_path):
    images = unlabelled(open_place(made.svhn(tmp_path / "test_32x32.mat", IMAGES)), 32)
    assert len(images) == 6
    for row in range(6):
        assert np.array_equal(images.images[row].permute(1, 2, 0), IMAGES[row])


def test_what_else_is_in_a_matrix_file_is_not_read(tmp_path, monkeypatch):
    import scipy.io

    asked, load = [], scipy.io.loadmat
    monkeypatch.setattr(scipy.io, "loadmat", lambda path, **k: (asked.append(k), load(path, **k))[1])
    path = made.svhn(tmp_path / "test_32x32.mat", IMAGES, other=np.array([{"a": 1}], dtype=object))
    assert len(unlabelled(open_place(path), 32)) == 6 and asked == [{"variable_names": ["X"]}]


@pytest.mark.parametrize(
    "x",
    [
        IMAGES.astype(float).transpose(1, 2, 3, 0), IMAGES.transpose(1, 2, 3, 0)[:16], IMAGES[0],
        np.array([[1, "a"], [{"b": 2}, 3]], dtype=object), "text", np.zeros((32, 32, 3, 0), np.uint8),
    ],
    ids=["floats", "16px", "one", "objects", "text", "none"],
)  # fmt: skip
def test_an_x_that_is_none_is_refused_unread(tmp_path, monkeypatch, x):
    import scipy.io

    scipy.io.savemat(tmp_path / "test_32x32.mat", {"X": x})
    monkeypatch.setattr(scipy.io, "loadmat", lambda *a, **k: pytest.fail("read"))
    with pytest.raises(DataError, match=r"test_32x32\.mat is no readable MATLAB file of SVHN's cropped digits \(its X is"):
        open_place(tmp_path / "test_32x32.mat")


def test_an_x_that_is_too_large_is_refused_unread(tmp_path, monkeypatch):
    path = made.svhn(tmp_path / "test_32x32.mat", IMAGES)
    monkeypatch.setattr(binaries, "MAX_BYTES", IMAGES.nbytes - 1)
    with pytest.raises(DataError, match="its X is uint8"):
        open_place(path)


def test_damaged_matrices_end_in_a_sentence_or_in_images(tmp_path):
    path = made.svhn(tmp_path / "test_32x32.mat", IMAGES)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    damaged = [whole[:cut] for cut in (0, 1, 100, 200, len(whole) // 2)]
    for _ in range(40):
        content = bytearray(whole)
        for at in rng.integers(0, len(whole), 6):
            content[at] ^= int(rng.integers(1, 256))
        damaged.append(bytes(content))
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        try:
            assert len(unlabelled(open_place(path), 8)) >= 1
        except DataError as error:
            refused += 1
            assert "test_32x32.mat is no readable MATLAB file" in str(error) and "\n" not in str(error)
    assert refused >= 5


@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "test_32x32.mat"])
def test_digits_are_no_classes_to_learn(tmp_path, name):
    made.idx(tmp_path / name, GREY) if name.startswith("t10k") else made.svhn(tmp_path / name, IMAGES)
    with pytest.raises(DataError, match="is read as an OOD set only"):
        labelled(open_place(tmp_path / name), 8)
