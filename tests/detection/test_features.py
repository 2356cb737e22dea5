"""Kept features: what is taken instead of looking, what is not, and files that are no features."""

import math

import pytest
import safetensors.torch
import torch

from dogfast.classifiers.evidence import Evidence
from dogfast.detection.features import Shelf, Subject, load_features, save_features
from dogfast.errors import DataError

N, WIDTH, CLASSES = 6, 5, 3
HEAD = torch.randn(CLASSES, WIDTH, generator=torch.Generator().manual_seed(0)), torch.zeros(CLASSES)
FACTS = {"classifier_sha256": "a", "precision": "fp32", "images_sha256": "b"}


class Looker:
    """Shows features of images, and remembers which it was shown."""

    def __init__(self, rejects=False):
        self.seen, self.rejects = [], rejects

    def __call__(self, images, *magnitudes):
        self.seen.append((len(images), magnitudes))
        features = images.float().flatten(1)[:, :WIDTH] / 7
        logits = features @ HEAD[0].T
        moved = {magnitude: logits + magnitude for magnitude in magnitudes} or None
        return Evidence(logits, features, *HEAD, logits[:, 0] if self.rejects else None, moved)


@pytest.fixture
def subject():
    images = torch.randint(0, 256, (N, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Subject("svhn", images, torch.arange(N) % CLASSES)


def shelf(folder, kind="fp32", classifier="a", precision="fp32"):
    return Shelf(folder, kind, classifier, precision)


def lent(shelf, looker, subject, advance=lambda n: None):
    return shelf.lend(looker, [subject], advance)


# --- taken or not -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rejects", [False, True])
def test_what_is_taken_is_what_was_seen_and_nobody_looks(tmp_path, subject, rejects):
    first = lent(shelf(tmp_path), Looker(rejects), subject)(subject.images, 0.001, 0.0)
    looker, done, later = Looker(rejects), [], shelf(tmp_path, "off")
    found = lent(later, looker, subject, done.append)(subject.images, 0.001)
    assert looker.seen == [(0, ())] and done == [N] and later.taken == ["svhn"] and later.unfit == {}
    for name in ("logits", "features", "head_weight", "head_bias", "rejection"):
        before, now = getattr(first, name), getattr(found, name)
        assert (before is None and now is None) or torch.equal(before, now), name
    assert found.moved.keys() == {0.001} and torch.equal(found.moved[0.001], first.moved[0.001])
    tensors, _ = load_features(tmp_path / "svhn.safetensors")
    assert torch.equal(tensors["labels"], subject.labels) and tensors["labels"].dtype == torch.int64


def test_images_that_are_no_subject_are_looked_at_and_leave_nothing(tmp_path, subject):
    looker = Looker()
    lent(shelf(tmp_path), looker, subject)(subject.images.clone())
    assert looker.seen[-1] == (N, ()) and list(tmp_path.iterdir()) == []


def test_nothing_is_kept_unless_asked_for(tmp_path, subject):
    lent(shelf(tmp_path, "off"), Looker(), subject)(subject.images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"classifier": "x"}, "another classifier"),
        ({"precision": "bf16"}, "another precision"),
        ({"images": True}, "other images"),
        ({"magnitudes": (0.002,)}, "not moved as odin needs it"),
        ({"before": "fp16"}, "fp16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_features_that_do_not_fit_are_not_taken_and_replaced_where_they_are_kept(tmp_path, subject, change, reason):
    lent(shelf(tmp_path, change.pop("before", "fp32")), Looker(), subject)(subject.images, 0.001)
    before = (tmp_path / "svhn.safetensors").read_bytes()
    if change.pop("images", False):
        subject = Subject("svhn", subject.images.flip(0), subject.labels)
    magnitudes = change.pop("magnitudes", ())
    for kind in ("off", "fp32"):
        looker, later = Looker(), shelf(tmp_path, kind, **change)
        lent(later, looker, subject)(subject.images, *magnitudes)
        assert looker.seen[-1] == (N, magnitudes) and later.taken == [] and later.unfit == {"svhn": reason}
        assert ((tmp_path / "svhn.safetensors").read_bytes() == before) == (kind == "off")
    last = shelf(tmp_path, "fp32", **change)
    lent(last, Looker(), subject)(subject.images, *magnitudes)
    assert last.taken == ["svhn"]


def test_the_digest_is_of_shape_and_pixels(subject):
    assert subject.sha256 == Subject("x", subject.images.clone()).sha256
    assert subject.sha256 != Subject("svhn", subject.images.reshape(N, 3, 2, 8)).sha256
    assert subject.sha256 != Subject("svhn", subject.images ^ 1).sha256


# --- files ------------------------------------------------------------------------------------------------------
def test_half_precision_halves_the_file_and_refuses_what_it_cannot_hold(tmp_path, subject):
    evidence = Looker()(subject.images)
    save_features(tmp_path / "a.safetensors", evidence, None, FACTS, "fp16")
    tensors, facts = load_features(tmp_path / "a.safetensors")
    assert {values.dtype for values in tensors.values()} == {torch.float16} and facts == FACTS
    assert torch.equal(tensors["features"], evidence.features.half())
    evidence.features[0, 0] = math.inf
    save_features(tmp_path / "a.safetensors", evidence, None, FACTS, "fp16")
    evidence.features[0, 0] = 70_000
    with pytest.raises(DataError, match=r"a\.safetensors: features are too large for fp16; use --keep-features fp32"):
        save_features(tmp_path / "a.safetensors", evidence, None, FACTS, "fp16")


def whole(**changed):
    tensors = {"features": torch.rand(N, WIDTH), "logits": torch.rand(N, CLASSES), "labels": torch.zeros(N, dtype=torch.int64)}
    return {name: values for name, values in (tensors | changed).items() if values is not None}


HOSTILE = {
    "empty": b"",
    "garbage": b"not safetensors at all",
    "truncated": safetensors.torch.save(whole(), FACTS)[:-3],
    "no metadata": safetensors.torch.save(whole()),
    "part of the metadata": safetensors.torch.save(whole(), {"precision": "fp32"}),
    "no features": safetensors.torch.save(whole(features=None), FACTS),
    "a vector": safetensors.torch.save(whole(features=torch.rand(N)), FACTS),
    "a scalar": safetensors.torch.save(whole(features=torch.tensor(1.0)), FACTS),
    "doubles": safetensors.torch.save(whole(features=torch.rand(N, WIDTH).double()), FACTS),
    "mixed types": safetensors.torch.save(whole(features=torch.rand(N, WIDTH).half()), FACTS),
    "fewer logits": safetensors.torch.save(whole(logits=torch.rand(N - 1, CLASSES)), FACTS),
    "fewer labels": safetensors.torch.save(whole(labels=torch.zeros(N - 1, dtype=torch.int64)), FACTS),
    "labels that are floats": safetensors.torch.save(whole(labels=torch.zeros(N)), FACTS),
    "an unknown tensor": safetensors.torch.save(whole(extra=torch.rand(N)), FACTS),
    "moved by other classes": safetensors.torch.save(whole(**{"moved.0.001": torch.rand(N, CLASSES + 1)}), FACTS),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_files_that_are_no_features_are_refused_by_name(tmp_path, content):
    file = tmp_path / "svhn.safetensors"
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"svhn\.safetensors .*remove it"):
        load_features(file)


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "svhn.safetensors").mkdir()
    with pytest.raises(DataError, match=r"svhn\.safetensors"):
        load_features(tmp_path / "svhn.safetensors")


@pytest.mark.parametrize(
    "tensors",
    [
        whole(features=torch.rand(N, WIDTH + 1)),
        whole(logits=torch.rand(N, CLASSES + 1)),
        {n: v[:-1] for n, v in whole().items()},
    ],
    ids=["width", "classes", "images"],
)
def test_features_that_claim_to_fit_but_have_other_shapes_are_refused(tmp_path, subject, tensors):
    facts = FACTS | {"images_sha256": subject.sha256}
    (tmp_path / "svhn.safetensors").write_bytes(safetensors.torch.save(tensors, facts))
    with pytest.raises(DataError, match=r"svhn\.safetensors does not hold .* of this classifier; remove it"):
        lent(shelf(tmp_path), Looker(), subject)(subject.images)


def test_features_without_the_rejection_that_the_classifier_has_are_refused(tmp_path, subject):
    lent(shelf(tmp_path), Looker(), subject)(subject.images)
    with pytest.raises(DataError, match="does not hold rejection of this classifier"):
        lent(shelf(tmp_path), Looker(rejects=True), subject)(subject.images)


def test_a_file_that_holds_moved_logits_of_no_magnitude_says_nothing_for_odin(tmp_path, subject):
    facts = FACTS | {"images_sha256": subject.sha256}
    (tmp_path / "svhn.safetensors").write_bytes(safetensors.torch.save(whole(**{"moved.x": torch.rand(N, CLASSES)}), facts))
    later = shelf(tmp_path)
    lent(later, Looker(), subject)(subject.images, 0.001)
    assert later.unfit == {"svhn": "not moved as odin needs it"}
