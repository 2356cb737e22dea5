"""A detector: what it says, on whose threshold, and that it is the same wherever it is loaded from."""

import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import roc_auc_score

import dogfast
import dogfast.detection.opening as opening
from dogfast.data.catalogue import load_id
from dogfast.data.codec import Jpeg, codec_of
from dogfast.data.resize import Resize
from dogfast.detection.detector import Detector
from dogfast.detection.inputs import Preparation
from dogfast.detection.pytorch_ood import OutlierScorer
from dogfast.detection.scores import SCORES
from dogfast.errors import DataError, UsageError
from dogfast.numerics.metrics import auroc, threshold_at_recall
from tests.detection.made_run import SIDE, add_classifier, make_config, make_run

SOME_SCORES = ("msp", "energy", "ash-s", "mahalanobis", "knn", "odin")


@pytest.fixture(autouse=True)
def few_images(few_test_images):
    pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run that tests share; do not write in it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dogfast.data.catalogue.SHAPES_TEST_IMAGES", 16)
        run = make_run(tmp_path_factory.mktemp("detector") / "run")
        for score in SOME_SCORES:
            Detector.load(run.root, "ce", score)
    return run


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def noise(count, seed=0, side=SIDE):
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def picture(seed=0, size=(20, 30)):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def same(ours, theirs, images):
    first, second = ours(images), theirs(images)
    return (
        ours.threshold == theirs.threshold
        and first.class_names == second.class_names
        and torch.equal(first.score, second.score)
        and torch.equal(first.probabilities, second.probabilities)
        and torch.equal(first.known, second.known)
    )


# --- what it says -----------------------------------------------------------------------------------------------
def test_it_says_class_probabilities_score_and_whether_it_knows(made):
    detector = Detector.load(made.root, "ce", "energy")
    found = detector(noise(7))
    assert len(found.class_names) == 7 and set(found.class_names) <= set(detector.class_names)
    assert found.probabilities.shape == (7, 8) and torch.allclose(found.probabilities.sum(1), torch.ones(7))
    assert found.class_names == tuple(detector.class_names[label] for label in found.probabilities.argmax(1).tolist())
    assert torch.equal(found.known, found.score >= detector.threshold) and found.known.dtype == torch.bool


def test_it_is_reached_from_the_package():
    assert dogfast.Detector is Detector


def test_no_image_is_no_verdict(made):
    detector = Detector.load(made.root, "ce", "msp")
    for nothing in ([], torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8)):
        found = detector(nothing)
        assert found.class_names == () and found.score.shape == found.known.shape == (0,)


@pytest.mark.parametrize(
    "images",
    [noise(2).float(), noise(2, side=8), noise(2)[0], torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8)],
    ids=["floats", "another size", "one image", "grey"],
)
def test_a_tensor_is_taken_as_id_images_are_or_refused(made, images):
    with pytest.raises(DataError, match="give uint8 \\(n, 3, 16, 16\\)"):
        Detector.load(made.root, "ce", "msp")(images)


def test_files_and_pictures_say_the_same_wherever_they_lie(made, tmp_path):
    detector = Detector.load(made.root, "ce", "msp")
    places = [tmp_path / "a.png", tmp_path / "elsewhere" / "b.png"]
    for place in places:
        place.parent.mkdir(exist_ok=True)
        picture().save(place)
    by_picture = detector([picture(), Image.open(places[0])])
    by_file = detector([str(places[0]), places[1]])
    assert torch.equal(by_picture.score, by_file.score) and by_file.score[0] == by_file.score[1]
    assert by_picture.class_names == by_file.class_names


def test_one_picture_needs_no_list(made, tmp_path):
    detector = Detector.load(made.root, "ce", "msp")
    picture().save(tmp_path / "a.png")
    found = [detector(given).score.tolist() for given in (picture(), tmp_path / "a.png", str(tmp_path / "a.png"))]
    assert found[0] == found[1] == found[2] and len(found[0]) == 1


def test_what_is_no_image_is_named(made, tmp_path):
    detector = Detector.load(made.root, "ce", "msp")
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"x\.png is no image"):
        detector([tmp_path / "x.png"])
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        detector([tmp_path / "gone.png"])
    with pytest.raises(DataError, match="cannot be read"):
        detector([Image.open(io.BytesIO(encoded(picture(), "PNG")[:900]))])


def test_a_score_that_is_no_number_is_refused(made):
    detector = Detector.load(made.root, "ce", "energy")
    torch.nn.init.constant_(detector.model.head.bias, float("nan"))
    with pytest.raises(DataError, match="energy of 3 images is NaN"):
        detector(noise(3))


# --- how images are prepared ------------------------------------------------------------------------------------
def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_what_comes_in_the_id_codec_is_left_as_it_is_and_all_else_passes_through_it():
    jpeg = encoded(picture(size=(SIDE, SIDE)), "JPEG", quality=40)
    codec = codec_of(jpeg, SIDE)
    assert isinstance(codec, Jpeg)
    preparation = Preparation(SIDE, Resize(), codec)
    pixels = np.asarray(Image.open(io.BytesIO(jpeg)))
    assert np.array_equal(preparation.of_file(jpeg), pixels)
    assert np.array_equal(preparation.of_picture(Image.open(io.BytesIO(jpeg))), pixels)
    png = encoded(picture(size=(SIDE, SIDE)), "PNG")
    assert np.array_equal(preparation.of_file(png), pixels)
    finer = encoded(picture(size=(SIDE, SIDE)), "JPEG", quality=95)
    assert np.array_equal(preparation.of_file(finer), codec(np.asarray(Image.open(io.BytesIO(finer))), ""))


def test_images_are_resized_as_the_id_images_were():
    preparation = Preparation(100, Resize("bilinear", 0.875), codec_of(encoded(picture(), "PNG"), 100))
    image = picture(size=(300, 400))
    assert np.array_equal(preparation.of_picture(image), np.array(Resize("bilinear", 0.875).squared(image, 100)))


# --- its threshold ----------------------------------------------------------------------------------------------
def test_the_threshold_is_that_of_validation_images_and_no_test_image_is_looked_at(run, monkeypatch):
    data = load_id(make_config().data)
    monkeypatch.setattr(opening, "load_id", lambda config: replace(data, test=None))
    detector = Detector.load(run.root, "ce", "knn")
    scores = detector(data.validation.images).score
    assert torch.allclose(detector.validation, scores, atol=1e-6)
    assert detector.threshold == threshold_at_recall(detector.validation)
    assert (detector.validation >= detector.threshold).float().mean() >= 0.95
    stricter = replace(detector, recall=0.5)
    assert stricter.threshold > detector.threshold
    assert 0.5 <= (detector.validation >= stricter.threshold).float().mean() < 0.95


def test_hyper_parameters_are_chosen_on_validation_images_alone(run, monkeypatch):
    seen = []
    plain = opening.learn

    def learn(look, training, validation, *others):
        seen.append((training, validation))
        return plain(look, training, validation, *others)

    monkeypatch.setattr(opening, "learn", learn)
    Detector.load(run.root, "ce", "ash-s")
    ((training, (known, _)),) = seen
    assert training is None and torch.equal(known, load_id(make_config().data).validation.images)


# --- where it is loaded from ------------------------------------------------------------------------------------
@pytest.mark.parametrize("score", SOME_SCORES)
def test_a_run_its_classifier_and_what_was_kept_are_one_detector(made, score):
    again = Detector.load(made.classifier("ce"), score=score)
    assert same(Detector.load(made.root, "ce", score), again, noise(9))
    assert again.score == score and again.name == "ce"


def test_the_classifier_of_a_run_is_the_one_it_was_last_used_with_unless_named(made):
    assert Detector.load(made.root).name == "ce"
    with pytest.raises(DataError, match=r"has no classifier 'dog'; it has atom, ce"):
        Detector.load(made.root, "dog")


def test_a_relative_classifier_finds_its_run(made, monkeypatch):
    monkeypatch.chdir(made.classifier("ce"))
    assert Detector.load(".").name == "ce"


def test_what_was_kept_is_taken_without_the_id_images(made, monkeypatch):
    monkeypatch.setattr(opening, "load_id", lambda config: pytest.fail("the ID images were read"))
    Detector.load(made.root, "ce", "mahalanobis")


@pytest.mark.parametrize("change", ["classifier", "configuration", "record", "state"])
def test_what_was_kept_of_something_else_is_made_anew(run, monkeypatch, change):
    Detector.load(run.root, "ce", "energy")
    kept = run.detector("ce", "energy")
    if change == "classifier":
        add_classifier(run, "ce", seed=7)
    elif change == "configuration":
        run.config_file.write_text(make_config(data={"id_images": 120}).to_toml())
    else:
        (kept / {"record": "detector.json", "state": "state.safetensors"}[change]).write_bytes(b"{}")
    made = []
    plain = opening.make_detector
    monkeypatch.setattr(opening, "make_detector", lambda *given: made.append(given) or plain(*given))
    fresh = Detector.load(run.root, "ce", "energy")
    assert len(made) == 1 and same(fresh, Detector.load(run.root, "ce", "energy"), noise(3)) and len(made) == 1


@pytest.mark.parametrize("score, times", [("ash-s", 2), ("energy", 1)])
def test_what_was_chosen_on_other_outliers_is_chosen_anew(run, monkeypatch, score, times):
    made = []
    plain = opening.make_detector
    monkeypatch.setattr(opening, "make_detector", lambda *given: made.append(given) or plain(*given))
    for digest in ("", "0a", "0a"):
        monkeypatch.setattr(opening, "validation_digest", lambda config, run, digest=digest: digest)
        Detector.load(run.root, "ce", score)
    assert len(made) == times


def test_a_class_of_outliers_decides_where_there_is_one(made):
    detector = Detector.load(made.root, "atom", "rejection")
    evidence = detector.evidence(noise(4))
    assert torch.allclose(detector(noise(4)).score, evidence.logits.logsumexp(1) - evidence.rejection)
    with pytest.raises(UsageError, match="ce has no class of outliers"):
        Detector.load(made.root, "ce", "rejection")


def test_what_is_no_detector_is_refused(made, tmp_path):
    with pytest.raises(DataError, match="no exported detector"):
        Detector.load(tmp_path)
    with pytest.raises(UsageError, match="--score 'nonesuch' is unknown"):
        Detector.load(made.root, "ce", "nonesuch")


def test_a_score_that_is_infinite_on_validation_images_gives_no_threshold(run, monkeypatch):
    monkeypatch.setitem(SCORES, "energy", lambda evidence: torch.full((len(evidence.logits),), float("inf")))
    with pytest.raises(DataError, match="energy of ce is infinite for most ID validation images"):
        Detector.load(run.root, "ce", "energy")


def test_only_validation_scores_and_digests_of_plain_files_are_kept(made):
    record = json.loads((made.detector("ce", "knn") / "detector.json").read_text())
    assert sorted(os.listdir(made.detector("ce", "knn"))) == ["detector.json", "state.safetensors"] and list(
        record["files"]
    ) == ["state.safetensors"]


# --- pytorch-ood's convention -----------------------------------------------------------------------------------
def test_as_pytorch_ood_has_it_larger_is_more_ood_and_labels_below_0_are_unknown(made):
    detector = Detector.load(made.root, "ce", "energy")
    adapter = OutlierScorer(detector)
    images = noise(12)
    assert adapter.fit(None) is adapter
    assert torch.equal(adapter(images.float() / 255), -detector(images).score)
    labels = torch.tensor([3, 0, 1, 2, 5, 7] + [-1] * 6)
    known, unknown = detector(images[labels >= 0]).score, detector(images[labels < 0]).score
    assert roc_auc_score(labels < 0, adapter.predict(images.float() / 255)) == pytest.approx(auroc(known, unknown))
