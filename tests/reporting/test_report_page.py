"""The whole page: what it shows, what it announces, and that nothing in it can run or call out."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dogfast.errors import DataError
from dogfast.reporting.page import PAGE_MB, write_report
from dogfast.run import publish, read_jsonl, write_jsonl
from tests.reporting.made_up_run import (
    CLASSES,
    HOSTILE,
    add_anchors,
    add_evaluation,
    add_features,
    add_shard,
    add_training,
    change_metrics,
    png,
    samples,
    twins,
)

PNG = b"\x89PNG\r\n\x1a\n"
VOID = {"meta", "img", "br", "input", "link", "hr"}


class Balance(HTMLParser):
    """Counts tags and refuses elements closed in the wrong order."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page_of(run, said, examples=None) -> str:
    """The page alone: drawing the PNG files takes most of a report's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dogfast.reporting.page._pngs", lambda view: {})
        write_report(run, twins() if examples is None else examples, said[0])
    return run.report.read_text()


CHARTS = {f"{chart}-{score}" for chart in ("changes", "histograms", "roc") for score in ("msp", "energy", "ash-s")}
CHARTS |= {"features", "outliers", "anchors", "words", "throughput", "training"}


def test_full_run(full_run, said):
    for name in ("ce", "dog"):
        add_features(full_run, name, {"id": 12, "near": 8})
        control = [{"score": "msp", "called_ood": 0.2, "n": 40}]
        change_metrics(full_run, name, artefact_control=control * 3)
    summary = write_report(full_run, twins(), said[0])
    page = full_run.report.read_text()
    shown = {"report": str(full_run.report), "classifiers": 3, "outliers_shown": 3 * 5 * 6, "bytes": len(page.encode())}
    assert summary == shown
    assert page.count("data:image/png;base64,") == 3 * 5 * 6 + 3 * 6 + 3 * 4, "the gallery's, and four a class at the top"
    assert "2.13" in page and "2 epochs, 12 s, 321 images/s" in page
    pictures = {path.stem: path.read_bytes() for path in full_run.report.parent.glob("*.png")}
    assert pictures.keys() == CHARTS and all(content.startswith(PNG) for content in pictures.values())
    assert set(re.findall(r'href="([^"#]+)\.png"', page)) == CHARTS, "each is linked from its chart"
    notices = re.findall(r'class="notice">([^<]*)', page)
    assert [words.split(" under")[0] for words in notices] == ["Not measured"] * 2, "two scores have no control"
    assert said[1] == []


def test_page_is_well_formed_and_self_contained(full_run, said):
    page = page_of(full_run, said)
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    assert not {"link", "iframe", "object", "form", "base"} & set(balance.tags)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    policy = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "default-src 'none'" in page and f"script-src 'sha256-{policy}'" in page, "no script but this one may run"
    assert balance.tags.count("script") == 2, "that, and the anchors as data"
    assert not re.search(r"https?://|//[a-z]+\.|url\((?!#)|@import", page)
    assert not re.search(r'(?:src|href)="(?!data:image/|#|[a-z-]+\.png")', page)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_hostile_names_are_text(full_run, said):
    page = page_of(full_run, said)
    assert HOSTILE not in page and "<i>far</i>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;i&gt;far&lt;/i&gt;" in page
    assert "word0&#34; &lt;b&gt;" in page, "the prompt of an outlier stands in its title"
    assert "&lt;b&gt;&amp;" in page, "run.toml is text"


def test_hostile_dataset_score_and_classifier_names(run, said):
    for name in ("ce", 'dog+`"><img src=x onerror=alert(1)>`'):
        add_evaluation(run, name, 0.9, {'"><svg onload=alert(1)>': (0.3, 0.9), "$\\frac{$": (0.2, 0.9)}, ("<b>$^$",))
    page = page_of(run, said)
    balance = Balance()
    balance.feed(page)
    assert "<img src=x" not in page and "<svg onload" not in page and "<b>$^$" not in page
    write_report(run, twins(), said[0])
    drawn = {path.name for path in run.report.parent.glob("*.png")}
    assert drawn == {"changes-b.png", "histograms-b.png", "roc-b.png", "outliers.png"}, (
        "names are reduced to what any file system takes"
    )


def test_lone_surrogates_are_written(run, said):
    add_shard(run, "dog", 0, samples(classes=("bad\ud800name",), per_anchor=1))
    assert "bad?name" in page_of(run, said, {})


def test_nothing_to_report(run, said):
    with pytest.raises(DataError, match="dogfast generate"):
        write_report(run, twins(), said[0])
    assert not run.report.exists()


def test_uncommitted_shard_is_nothing(run, said):
    add_shard(run, "dog", 0, samples(), record=False)
    with pytest.raises(DataError, match="nothing to report"):
        write_report(run, twins(), said[0])


def test_missing_evaluation_is_announced(run, said):
    add_shard(run, "dog", 0, samples())
    page = page_of(run, said)
    assert "Not evaluated yet" in page and "dogfast evaluate" in page
    assert "No anchors found yet" in page and "by-score" not in page.split("</style>")[1]
    assert "No record of its shards tells their seconds" in page


def test_missing_outliers_and_scores_are_announced(run, said):
    add_evaluation(run, "ce", 0.95, {"near": (0.4, 0.9)}, ("msp",))
    (run.evaluation("ce") / "scores" / "msp.safetensors").unlink()
    run.config_file.unlink()
    page = page_of(run, said)
    assert "Nothing painted yet" in page and "No stored scores" in page and "This run has no run.toml" in page
    for part in (
        "no classifier that learned from outliers is evaluated",
        "Nothing to compare",
        "Not measured under",
        "No features",
    ):
        assert part in page
    assert "Nothing trained yet" in page and "No anchors found yet" in page and "No map yet" in page


def test_missing_record_of_the_run(full_run, said):
    (full_run.root / "run.json").unlink()
    assert "run.toml" in page_of(full_run, said)


def test_edited_anchors_decide(full_run, said):
    rows = [row for row in full_run.anchors.read_text().splitlines() if json.loads(row)["word"] != "word3"]
    publish(full_run.anchors, "\n".join(rows) + "\n")
    page = page_of(full_run, said)
    assert "word3: 0.370, dropped: taken out by hand" in page
    assert "word2: 0.350, kept" in page


def test_broken_anchors_are_named(full_run, said):
    publish(full_run.anchors, '{"word": 3, "owner": 0, "class_name": "x", "distance": 1}\n')
    with pytest.raises(DataError, match=r"anchors\.jsonl: 'word' is 3"):
        write_report(full_run, twins(), said[0])


@pytest.mark.parametrize("change", [{"id_accuracy": 95}, {"id_accuracy": None}, {"rows": 3}, {"rows": [3]}])
def test_broken_metrics_are_named(full_run, said, change):
    path = full_run.evaluation("dog") / "metrics.json"
    publish(path, json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"dog/metrics\.json"):
        write_report(full_run, twins(), said[0])


@pytest.mark.slow
def test_size_is_bounded(run, said, monkeypatch):
    """Many classes, classifiers, scores, sets and shards, long words, and pictures that do not compress."""
    monkeypatch.setattr(
        "dogfast.reporting.embedding.tsne", lambda features: 100 * np.random.default_rng(0).random((len(features), 2))
    )
    classes = tuple(f"class {k} " + "x" * 500 for k in range(100))
    scores = ("msp", "energy", *(f"score{k}" for k in range(10)))
    for name in ("ce", "dog", *(f"dog@{k}" for k in range(1, 11))):
        add_evaluation(run, name, 0.9, {f"set{k}": (0.3, 0.9) for k in range(15)}, scores)
        add_training(run, name, steps=300)
    add_features(run, "ce", {"id": 3000, **{f"set{k}": 900 for k in range(15)}})
    add_features(run, "dog", {"id": 3000, **{f"set{k}": 900 for k in range(15)}})
    add_anchors(run, classes)
    noise = [png(k, 64) for k in range(10)]
    add_shard(run, "dog", 0, samples(classes, 2, 8, make=lambda k: noise[k % 10]))
    for number in range(1, 400):
        publish(run.outliers("dog") / "records" / f"{number:05d}.json", json.dumps({"samples": 9, "seconds": 1 + number % 7}))
    examples = {name: np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8) for name in classes}
    page = page_of(run, said, examples)
    assert len(page.encode()) < PAGE_MB * 1_000_000
    assert "left out to keep this page small" in page


def test_written_again_after_more_work(run, said):
    add_shard(run, "dog", 0, samples(per_anchor=1))
    assert "Not evaluated yet" in page_of(run, said)
    add_evaluation(run, "ce", 0.95, {"near": (0.4, 0.9)})
    assert "Not evaluated yet" not in page_of(run, said)


def test_class_without_outliers_still_shows_its_images(run, said):
    add_shard(run, "dog", 0, samples(classes=CLASSES[:1], per_anchor=1))
    assert "none sampled for this class" in page_of(run, said)


def test_features_of_one_classifier_alone_are_announced(full_run, said):
    add_features(full_run, "ce", {"id": 12, "near": 8})
    page = page_of(full_run, said)
    assert page.count("t-SNE map of") == 1 and "no features are kept: run" in page


# --- the map and the vetoes -------------------------------------------------------------------------------------
def test_every_point_of_the_map_can_be_read(full_run, said):
    page = page_of(full_run, said)
    assert page.count('class="m-pseudo"') == len(CLASSES) == page.count('class="m-class"')
    assert page.count('class="m-anchor"') == 5 * len(CLASSES) and page.count('class="m-candidate"') == 3 * len(CLASSES)
    assert "<title>word0, anchor of " in page and "&lt;i&gt;far&lt;/i&gt;, candidate of" in page


def test_the_page_holds_the_anchors_as_they_are(full_run, said):
    page = page_of(full_run, said)
    (held,) = re.findall(r'<script type="application/json" id="anchors-json">(.*?)</script>', page, re.S)
    assert json.loads(held) == read_jsonl(full_run.anchors) and "<" not in held
    assert page.count('<input type="checkbox" checked data-class=') == 5 * len(CLASSES)


def test_of_very_many_anchors_none_are_held(full_run, said, monkeypatch):
    monkeypatch.setattr("dogfast.reporting.page.VETOABLE", 3)
    page = page_of(full_run, said)
    assert "<script" not in page and "script-src" not in page and 'data-word="' not in page


def test_words_that_a_person_added_have_no_distance(full_run, said):
    added = {"class_name": CLASSES[0], "owner": 0, "word": "mine", "kept": True}
    write_jsonl(full_run.anchors, [*read_jsonl(full_run.anchors), added])
    assert '"mine"' in page_of(full_run, said)


def test_a_broken_map_is_named(full_run, said):
    full_run.text_map.write_text('{"kind": "class", "name": "a", "class_name": "a", "x": "far"}\n')
    with pytest.raises(DataError, match=r"map\.jsonl"):
        page_of(full_run, said)
