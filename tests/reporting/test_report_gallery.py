"""What is read from shards, and what hostile or damaged ones cost."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from dogfast.errors import DataError
from dogfast.reporting import gallery
from dogfast.reporting.gallery import build_gallery, decoded, sample_outliers
from dogfast.run import publish, to_json
from tests.reporting.made_up_run import add_shard, png, samples, twins

FACTS = json.dumps({"class_name": "circle", "anchor": "oval", "prompt": "p", "seed": 1}).encode()


def test_at_most_per_anchor_and_limit(run):
    add_shard(run, "dog", 0, samples(classes=("circle", "ring"), per_anchor=4, n_anchors=3))
    assert len(list(sample_outliers(run.outliers("dog"), 2, 100))) == 2 * 3 * 2
    assert len(list(sample_outliers(run.outliers("dog"), 2, 5))) == 5
    assert next(sample_outliers(run.outliers("dog"), 1, 1)).image == png(0)


def test_what_was_painted_from_no_word_stands_together(run):
    places = [{"class_name": "circle", "strategy": "boundary", "anchor": f"circle #{n}"} for n in range(9)]
    words = [{"class_name": "circle", "strategy": "textual-near-ood", "anchor": word} for word in ("oval", "burst")]
    for source, facts in (("boundary", places), ("textual-near-ood", words)):
        members = [(f"{n:09d}.{kind}", body) for n, f in enumerate(facts) for kind, body in pair(n, f)]
        add_shard(run, source, 0, members)
    (one,) = build_gallery(run, {}, {}).classes
    assert [(group.source, group.anchor) for group in one.groups] == [
        ("boundary", ""),
        ("textual-near-ood", "burst"),
        ("textual-near-ood", "oval"),
    ]
    assert len(one.groups[0].pictures) == gallery.PER_ANCHOR


def test_sources_of_latents_are_passed_over(run):
    for source, kind in (("dog", "image"), ("dog-latent", "latent")):
        add_shard(run, source, 0, samples(per_anchor=1))
        publish(run.outliers(source) / "records" / "00000.json", to_json({"kind": kind}))
    gallery = build_gallery(run, {}, {})
    assert gallery.sources == ("dog",) and not gallery.problems


@pytest.mark.parametrize("strategy", [[], {}, None, 3])
def test_a_strategy_that_is_no_text_does_no_harm(run, strategy):
    facts = {"class_name": "circle", "anchor": "oval", "strategy": strategy}
    add_shard(run, "dog", 0, [(f"000000000.{kind}", body) for kind, body in pair(0, facts)])
    assert [outlier.anchor for outlier in sample_outliers(run.outliers("dog"), 9, 99)] == ["oval"]


def pair(number, facts):
    return ("png", png(number)), ("json", json.dumps(facts).encode())


def test_uncommitted_and_strangely_named_tars_are_ignored(run):
    add_shard(run, "dog", 0, samples(per_anchor=1))
    late = add_shard(run, "dog", 1, samples(per_anchor=1), record=False)
    late.rename(late.with_name(".train-00001.tar.part-7"))
    assert [path.name for path in gallery.committed_shards(run.outliers("dog"))] == ["train-00000.tar"]


def test_hostile_members_are_passed_over(run, tmp_path):
    link = tarfile.TarInfo("000000001.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard = tarfile.TarInfo("000000002.png")
    hard.type, hard.linkname = tarfile.LNKTYPE, "000000009.png"
    fifo = tarfile.TarInfo("000000003.png")
    fifo.type = tarfile.FIFOTYPE
    members = [
        *(link, ("000000001.json", FACTS), hard, ("000000002.json", FACTS), fifo, ("000000003.json", FACTS)),
        *(("../../../evil.png", png()), ("/tmp/evil.json", FACTS), ("sub/000000004.png", png()), ("sub/000000004.json", FACTS)),
        *(("000000005.png", png()), ("000000005.json", b"[" * 100_000), ("000000006.png", png()), ("000000006.json", b"[1]")),
        *(
            ("000000007.png", png()),
            ("000000007.json", b'{"class_name": 7}'),
            ("000000008.npy", b"x"),
            ("000000008.json", FACTS),
        ),
        *(("000000009.png", png()), ("000000009.json", FACTS)),
    ]
    add_shard(run, "dog", 0, members)
    found = list(sample_outliers(run.outliers("dog"), 9, 99))
    assert [(outlier.class_name, outlier.anchor, outlier.image) for outlier in found] == [("circle", "oval", png())]
    assert not list(tmp_path.rglob("evil*"))


def test_huge_member_is_passed_over(run, monkeypatch):
    monkeypatch.setattr(gallery, "MEMBER_BYTES", 2000)
    add_shard(run, "dog", 0, [("000000001.png", png(side=64)), ("000000001.json", FACTS)])
    assert list(sample_outliers(run.outliers("dog"), 9, 99)) == []


@pytest.mark.parametrize("kept", [512, 4000, 50_000, 50_176, -9000])
def test_torn_shard_costs_its_rest_and_is_announced(run, kept):
    path = add_shard(run, "dog", 0, samples(per_anchor=2))
    path.write_bytes(path.read_bytes()[:kept].rstrip(b"\0"))
    damaged(run)


def test_overwritten_header_costs_the_rest_and_is_announced(run):
    path = add_shard(run, "dog", 0, samples(per_anchor=2))
    content = bytearray(path.read_bytes())
    at = content.index(b"000000005.png")
    content[at : at + 512] = b"x" * 512
    path.write_bytes(content)
    damaged(run)


def damaged(run):
    with pytest.raises(DataError, match=r"train-00000\.tar is damaged"):
        list(sample_outliers(run.outliers("dog"), 9, 99))
    view = build_gallery(run, twins(), {})
    assert "train-00000.tar is damaged" in view.problems[0]


def test_shard_that_is_no_tar(run):
    add_shard(run, "dog", 0, []).write_bytes(b"not a tar at all" * 100)
    view = build_gallery(run, twins(), {})
    assert view.n_outliers == 0 and "is damaged" in view.problems[0]


def test_undecodable_images_are_counted(run):
    add_shard(run, "dog", 0, [("1.png", b"no image"), ("1.json", FACTS), ("2.png", png()), ("2.json", FACTS)])
    view = build_gallery(run, {}, {})
    assert view.n_outliers == 1
    assert view.problems == ("1 stored images could not be decoded and are left out; run `dogfast shards verify`.",)


def test_absurd_or_foreign_images_are_refused():
    bomb, gif = io.BytesIO(), io.BytesIO()
    Image.new("1", (5000, 10)).save(bomb, "PNG")
    Image.new("RGB", (8, 8)).save(gif, "GIF")
    assert decoded(bomb.getvalue()) is None
    assert decoded(gif.getvalue()) is None
    assert decoded(png()[:-30]) is None
    assert decoded(png()).size == (32, 32)


def test_large_images_become_thumbnails():
    uri = gallery.data_uri(Image.fromarray(np.zeros((512, 256, 3), dtype=np.uint8)))
    assert uri.startswith("data:image/jpeg;base64,") and len(uri) < 2000


def test_anchors_are_ordered_by_distance_and_sources_kept_apart(run):
    add_shard(run, "noise", 0, samples(classes=("circle",), per_anchor=1, n_anchors=1))
    add_shard(run, "dog", 0, samples(classes=("circle",), per_anchor=1, n_anchors=3))
    distances = {("circle", "word0"): 0.5, ("circle", "word1"): 0.3, ("circle", "word2"): 0.4}
    view = build_gallery(run, twins(("circle",)), distances)
    groups = [(group.source, group.anchor, group.distance) for group in view.classes[0].groups]
    assert groups == [("dog", "word1", 0.3), ("dog", "word2", 0.4), ("dog", "word0", 0.5), ("noise", "word0", None)]
    assert view.sources == ("dog", "noise")


def test_every_anchor_gets_one_before_any_gets_two(run, monkeypatch):
    add_shard(run, "dog", 0, samples(classes=("circle",), per_anchor=4, n_anchors=4))
    monkeypatch.setattr(gallery, "GALLERY_CHARACTERS", 4 * 5000)
    view = build_gallery(run, {}, {})
    counts = [len(group.pictures) for group in view.classes[0].groups]
    assert len(counts) == 4 and max(counts) - min(counts) <= 1
    assert "left out to keep this page small" in view.problems[-1]


def test_scan_is_bounded(run, monkeypatch):
    monkeypatch.setattr(gallery, "SCAN_AT_MOST", 3)
    add_shard(run, "dog", 0, samples(per_anchor=4))
    assert len(list(sample_outliers(run.outliers("dog"), 9, 99))) == 3
