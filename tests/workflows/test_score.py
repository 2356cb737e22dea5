"""Many images through a detector, on the command line: every one in its place, the unreadable ones named, refusals explained."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import dogfast.workflows.score as workflow
from dogfast.data import shapes
from dogfast.detection.detector import Detector
from dogfast.detection.inputs import Input, read_inputs
from dogfast.events import Events
from dogfast.run import write_jsonl
from dogfast.workflows.export import Request, run_export
from dogfast.workflows.score import Scored, score_images
from dogfast.workflows.why import explainer
from tests.detection.made_run import SIDE, make_config, make_run

contract = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "cli" / "test_contract.py")))
helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))


@pytest.fixture(scope="module")
def made(tmp_path_factory, random_pipeline):
    """A run with a generator and anchors, and a detector of it; tests share them."""
    root = tmp_path_factory.mktemp("score")
    model = {"device": "cpu", "model": str(random_pipeline), "backend": "torch"}
    config = make_config(model=model)
    run = make_run(root / "run", model=model)
    anchors = [{"class_name": name, "word": f"bent {name}"} for name in shapes.ID_WORDS]
    write_jsonl(run.anchors, anchors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dogfast.data.catalogue.SHAPES_TEST_IMAGES", 16)
        run_export(config, run, Events(), Request(score="energy", folder=root / "out"))
    return SimpleNamespace(run=run, config=config, exported=root / "out", detector=Detector.load(root / "out"))


@pytest.fixture
def images(tmp_path):
    """Five images in a folder, a tar and shards, and two files that are none."""
    folder = tmp_path / "images"
    (folder / "a").mkdir(parents=True)
    for number in range(2):
        Image.fromarray(helpers.image(number, 24)).save(folder / "a" / f"{number}.png")
    (folder / "b.jpg").write_bytes(b"no image")
    (folder / "c.png").write_bytes(helpers.png()[:60])
    (folder / "d.tar").write_bytes(helpers.pack([("x/9.png", helpers.png(helpers.image(9, 24)))]))
    helpers.commit(folder / "shards", 0, count=2, side=24)
    return folder


def called(*words, cwd):
    return contract.dogfast(*map(str, words), cwd=cwd)


# --- one after the other ----------------------------------------------------------------------------------------
def test_every_input_comes_in_its_place(made, images):
    found = list(score_images(made.detector, read_inputs([str(images)])))
    assert [Path(getattr(item, "image", None) or item.name).name for item in found] == [
        *("b.jpg", "c.png", "9.png", "0.png", "1.png", "000000000.png", "000000001.png")
    ]
    assert [type(item) for item in found] == [Input, Input, *[Scored] * 5]


def test_scores_are_those_of_the_detector_called_at_once(made, images):
    files = [images / "a" / f"{number}.png" for number in range(2)]
    one_by_one = list(score_images(made.detector, read_inputs(map(str, files))))
    verdicts = made.detector(files)
    assert [item.score for item in one_by_one] == pytest.approx(verdicts.score.tolist(), rel=1e-5)
    assert [item.class_name for item in one_by_one] == list(verdicts.class_names)
    assert [item.verdict for item in one_by_one] == ["id" if known else "ood" for known in verdicts.known.tolist()]


def test_few_images_are_held_however_many_there_are(made, monkeypatch):
    monkeypatch.setattr(workflow, "TOGETHER", 4)
    content, taken = helpers.png(helpers.image(0, SIDE)), []

    def endless():
        while True:
            taken.append(1)
            yield Input(str(len(taken)), content)

    found = score_images(made.detector, endless())
    for number in range(1, 11):
        assert next(found).image == str(number)
        assert len(taken) <= number + 4


def test_a_chunk_without_any_image_is_passed_on(made):
    faults = [Input(str(number), fault="gone") for number in range(70)]
    assert list(score_images(made.detector, faults)) == faults


# --- the command ------------------------------------------------------------------------------------------------
def test_a_mixed_folder_is_scored_and_what_is_no_image_is_named(made, images, tmp_path):
    done = called("score", made.exported, images, cwd=tmp_path)
    assert done.returncode == 5
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and all(line.startswith(("id ", "ood")) for line in lines)
    threshold = f"{made.detector.threshold:.6g}"
    for line in lines:
        assert (f" ≥ {threshold} " if line.startswith("id ") else f" < {threshold} ") in line
    assert "b.jpg: no image" in done.stderr and "error: 2 of 7 images cannot be read" in done.stderr


def test_json_is_one_object_with_every_image(made, images, tmp_path):
    done = called("score", made.exported, images, "--json", cwd=tmp_path)
    assert done.returncode == 5
    answer = json.loads(done.stdout.splitlines()[-1])
    assert {key: answer[key] for key in ("model", "score", "threshold")} == {
        "model": str(made.exported),
        "score": "energy",
        "threshold": made.detector.threshold,
    }
    assert [set(item) for item in answer["images"]] == [{"image", "verdict", "class", "score"}] * 5
    assert all((item["verdict"] == "id") == (item["score"] >= answer["threshold"]) for item in answer["images"])
    assert [Path(item["image"]).name for item in answer["unreadable"]] == ["b.jpg", "c.png"]


def test_all_readable_is_exit_0_and_none_is_exit_4(made, images, tmp_path):
    done = called("score", made.exported, images / "a", "--json", cwd=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["unreadable"] == []
    done = called("score", made.exported, images / "b.jpg", images / "gone.png", "--json", cwd=tmp_path)
    assert done.returncode == 4 and not done.stdout and "none of 2 images can be read" in done.stderr


def test_a_run_has_the_detector_that_is_asked_for(made, images, tmp_path):
    answers = [
        json.loads(called("score", *words, images / "a", "--json", "--quiet", cwd=tmp_path).stdout)
        for words in (
            [made.run.root, "--objective", "ce", "--score", "energy"],
            [made.run.classifier("ce"), "--score", "energy"],
            [made.exported],
            [made.run.root, "--objective", "atom", "--outliers", "dog"],
        )
    ]
    assert answers[0]["images"] == answers[1]["images"] == answers[2]["images"]
    assert answers[3]["score"] == "msp" and answers[3]["images"] != answers[0]["images"]


def test_names_are_printed_harmlessly(made, tmp_path):
    name = "\x1b[31mred\n.png"
    Image.fromarray(helpers.image(0, SIDE)).save(tmp_path / name)
    for options in ([], ["--json"]):
        done = called("score", made.exported, tmp_path / name, *options, cwd=tmp_path)
        assert done.returncode == 0 and "\x1b" not in done.stdout and done.stdout.count("\n") == 1


def test_dry_run_says_what_is_missing(made, images, tmp_path):
    done = called("score", made.run.root, images, "gone.png", "--dry-run", "--json", cwd=tmp_path)
    planned = json.loads(done.stdout)
    assert done.returncode == 0 and planned["dry_run"] and planned["kind"] == "a run" and planned["missing"] == ["gone.png"]


# --- why --------------------------------------------------------------------------------------------------------
def test_a_refused_image_is_nearest_an_anchor_or_a_class(made):
    """Told from the embeddings of the generator's own networks, one image at a time."""
    from transformers import CLIPVisionModelWithProjection

    from dogfast.concepts.embeddings import Embedder
    from dogfast.config import ModelConfig
    from dogfast.diffusion.load import Pipeline
    from dogfast.engines.opening import open_networks

    pictures = torch.from_numpy(np.stack([helpers.image(n, SIDE) for n in range(6)])).permute(0, 3, 1, 2).contiguous()
    reasons = explainer(made.config, made.run, tuple(shapes.ID_WORDS), Events())(pictures)
    place = made.config.model.model
    pipeline = Pipeline(ModelConfig(), place)
    embedder = Embedder(pipeline, open_networks(pipeline, made.config.model, Events()), "a photo of a {}", Events())
    words = [f"bent {name}" for name in shapes.ID_WORDS]
    tower = CLIPVisionModelWithProjection.from_pretrained(f"{place}/image_encoder").eval()
    for picture, reason in zip(pictures, reasons, strict=True):
        with torch.no_grad():
            seen = tower(pipeline.pixels.prepared(picture[None])).image_embeds
        to_words, to_names = (torch.cosine_similarity(seen, embedder.words(tuple(group))) for group in (words, shapes.ID_WORDS))
        anchor, name = words[to_words.argmax()], shapes.ID_WORDS[to_names.argmax()]
        wanted = (
            f"nearest `{anchor}`, not `{name}`" if to_words.max() >= to_names.max() else f"nearest `{name}`, then `{anchor}`"
        )
        assert reason == wanted


def test_only_refused_images_are_explained(made, images):
    asked = []

    def explain(pictures):
        asked.append(len(pictures))
        return [f"reason {number}" for number in range(len(pictures))]

    strict = Detector.load(made.exported)
    object.__setattr__(strict, "recall", 0.1)
    found = [item for item in score_images(strict, read_inputs([str(images)]), explain) if isinstance(item, Scored)]
    refused = [item for item in found if item.verdict == "ood"]
    assert asked == [len(refused)] and 0 < len(refused)
    assert [item.why for item in refused] == [f"reason {number}" for number in range(len(refused))]
    assert all(not item.why for item in found if item.verdict == "id")


def test_why_is_told_for_a_run_and_refused_for_what_knows_none(made, images, tmp_path):
    done = called("score", made.run.root, images, "--why", "--json", cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert all("why" in item and bool(item["why"]) == (item["verdict"] == "ood") for item in json.loads(done.stdout)["images"])
    done = called("score", made.exported, images, "--why", cwd=tmp_path)
    assert done.returncode == 2 and "--why needs the anchors and the generator of the run" in done.stderr


def test_why_needs_anchors(tmp_path, images, few_test_images):
    run = make_run(tmp_path / "run")
    done = called("score", run.root, images, "--why", cwd=tmp_path)
    assert done.returncode == 4 and "has no anchors" in done.stderr and "dogfast anchors" in done.stderr
