"""A user's own images: a folder of class folders, and a tar of the same."""

import tarfile
from pathlib import Path

import pytest
from PIL import Image

from dogfast.data import shapes
from tests.typed import typed

SHARED = Path(__file__).parents[3] / "shared" / "data"
QUICK_TRAINING = "--backbone wrn-10-1 --pretrain-epochs 3 --epochs 1 --batch 16 --ood-batch 16 --dropout 0"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`mine/` with 40 renders of three shapes as PNG files, and `mine.tar` of the same."""
    root = tmp_path_factory.mktemp("own")
    for word in ("circle", "star", "cross"):
        (root / "mine" / word).mkdir(parents=True)
        for index in range(40):
            Image.fromarray(shapes.render(word, "own", 0, index)).save(root / "mine" / word / f"{index}.png")
    with tarfile.open(root / "mine.tar", "w") as tar:
        tar.add(root / "mine", ".")
    (root / "words.txt").write_text("\n".join(shapes.VOCABULARY))
    return root


@pytest.mark.slow
def test_generate_train_evaluate_on_a_folder(place):
    quick = "--inversion-steps 4 --steps 4 --backend torch"
    painted = typed(
        f"dogfast generate --classes {place}/mine --model tiny --vocabulary words.txt --m 6 {quick} --json", place
    ).answer
    assert painted["run"] == "runs/mine" and painted["outliers"] == 18
    trained = typed(f"dogfast train runs/mine --objective oe {QUICK_TRAINING} --json", place).answer
    assert trained["name"] == "oe"
    measured = typed("dogfast evaluate runs/mine --ood noise --ood stripes --ood-images 60 --json", place).answer
    assert {row["dataset"] for row in measured["rows"]} == {"noise", "stripes"}
    assert {row["n_ood"] for row in measured["rows"]} == {60}


def test_a_tar_is_the_same_as_its_folder(place):
    from dogfast.config import DataConfig
    from dogfast.data.catalogue import load_id

    folder, tar = (load_id(DataConfig(classes=str(place / name))) for name in ("mine", "mine.tar"))
    for one, other in ((folder.train, tar.train), (folder.validation, tar.validation), (folder.test, tar.test)):
        assert one.digest == other.digest and one.labels.tolist() == other.labels.tolist()
    assert sum(map(len, (folder.train, folder.validation, folder.test))) == 120


def test_a_bad_image_stops_everything_before_it_starts(place, tmp_path):
    (tmp_path / "bad" / "a").mkdir(parents=True)
    (tmp_path / "bad" / "b").mkdir()
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / "bad" / name)
    (tmp_path / "bad/b/broken.jpg").write_bytes(b"not a picture")
    said = typed(f"dogfast generate --classes {tmp_path}/bad --model tiny --vocabulary shapes", tmp_path, code=4).said
    assert "b/broken.jpg" in said and "Traceback" not in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "cifar10-train.tar").exists(), reason="the real CIFAR-10 images are not beside the checkout")
def test_cifar10_trains_and_is_measured_on_tiny_imagenet(tmp_path):
    command = f"--classes cifar10 --data cifar10={SHARED} --id-images 500 --objective ce {QUICK_TRAINING} --json"
    trained = typed(f"dogfast train {command}", tmp_path).answer
    assert trained["name"] == "ce" and trained["run"] == "runs/cifar10"
    ood = f"--ood tiny-imagenet={SHARED}/tiny-imagenet32-val.tar --ood gaussian --ood rademacher --ood blobs --ood-images 200"
    measured = typed(f"dogfast evaluate runs/cifar10 --objective ce {ood} --json", tmp_path).answer
    assert {row["dataset"] for row in measured["rows"]} == {"tiny-imagenet", "gaussian", "rademacher", "blobs"}
    assert measured["codec"].startswith("JPEG")
