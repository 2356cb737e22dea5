"""`mini`, the generator of photographs, in every command that takes a model."""

from pathlib import Path

import pytest
from PIL import Image
from proof.world import MODEL, known_words

from dogfast.data import shapes
from tests.typed import typed

CLASSES = ("frog", "ship", "truck")
QUICK = "--backbone wrn-10-1 --pretrain-epochs 2 --epochs 1 --batch 16 --ood-batch 16 --dropout 0"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """`mine/`: class folders that bear names `mini` knows; what the pictures show does not matter here."""
    root = tmp_path_factory.mktemp("mini")
    for name, figure in zip(CLASSES, ("circle", "star", "cross")):
        (root / "mine" / name).mkdir(parents=True)
        for index in range(30):
            Image.fromarray(shapes.render(figure, "own", 0, index)).save(root / "mine" / name / f"{index}.png")
    (root / "words.txt").write_text("\n".join(known_words()))
    return root


def test_anchors_painting_training_and_rounds(place):
    asked = f"--classes {place}/mine --model {MODEL} --vocabulary words.txt --top-k 12 --inversion-steps 4 --backend torch"
    found = typed(f"dogfast anchors {asked} --json", place).answer
    assert found["anchors"] > 0
    painted = typed(f"dogfast generate {asked} --steps 4 --m 8 --json", place).answer
    assert painted["outliers"] == 24
    refined = typed(f"dogfast refine runs/mine --objective oe --rounds 2 {QUICK} --json", place).answer
    assert [row["round"] for row in refined["rounds"]] == [1, 2]
    measured = typed("dogfast evaluate runs/mine --objective oe --ood noise --ood-images 50 --json", place).answer
    assert {row["dataset"] for row in measured["rows"]} == {"noise"}
    compared = typed("dogfast compare runs/mine --tables 2 --dry-run --json", place).answer
    assert compared["tables"] == [2]


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tensorrt-rtx"])
def test_its_engines_are_built(place, backend):
    if backend == "tensorrt-rtx":
        pytest.importorskip("tensorrt_rtx")
    target = "--target sm120" if backend == "tensorrt-rtx" else ""
    built = typed(
        f"dogfast build-engines --model {MODEL} --backend {backend} {target} --rows 8 --engine-dir {place}/engines --json",
        place,
    ).answer
    assert {each["network"] for each in built["engines"]} == {
        "text_encoder",
        "image_encoder",
        "unet",
        "vae_encoder",
        "vae_decoder",
    }
    assert all(Path(each["path"]).stat().st_size == each["bytes"] > 0 for each in built["engines"])
