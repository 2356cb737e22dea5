"""`dogfast anchors --explain WORD`: senses, the rule against it, and what the run found."""

import pytest

from dogfast.concepts.explain import explain
from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.errors import DataError
from dogfast.run import Run, write_jsonl


def test_before_a_search_the_rules_alone_answer(tmp_path):
    tabby, wolf = explain(["tabby", "wolf"], preset("cifar10"), Run(tmp_path))
    assert tabby["reason"] == "a kind of a class" and wolf["reason"] == "" and not wolf["searched"]
    assert wolf["senses"][0]["synset"] == "n02114100"


ROW = {"word": "oval", "class_name": "ring", "kept": True, "reason": "", "distance": 0.4, "bound": 0.3, "limit": 0.5}
ROW |= {"text_cosine": 0.8}


def test_what_the_run_found_is_told(tmp_path):
    run = Run(tmp_path)
    rows = [ROW | {"word": "gear", "kept": True}, ROW | {"word": "wave", "kept": False}]
    run.candidates.parent.mkdir(parents=True)
    write_jsonl(run.candidates, rows)
    config = RunConfig()
    gear, kite = explain(["Gear", "kite"], config, run)
    assert gear["searched"] and gear["rows"] == rows[:1] and kite["rows"] == []


@pytest.mark.parametrize("change", [{"word": 3}, {"distance": "x"}, {"kept": 1}, {"reason": None}], ids=str)
def test_a_candidate_that_is_none_is_named(tmp_path, change):
    run = Run(tmp_path)
    run.candidates.parent.mkdir(parents=True)
    write_jsonl(run.candidates, [ROW, ROW | change])
    with pytest.raises(DataError, match=r"candidates\.jsonl: candidate 2 is none; .*`dogfast anchors`"):
        explain(["gear"], RunConfig(), run)


def test_names_of_a_folder_are_read_without_its_images(tmp_path):
    for name in ("cat", "n03126707"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        (tmp_path / "mine" / name / "1.png").write_bytes(b"no image at all")
    config = RunConfig().with_values(
        {"data": {"classes": str(tmp_path / "mine")}, "concepts": {"vocabulary": "wordnet"}}, "test"
    )
    (hoist,) = explain(["tower crane"], config, Run(tmp_path / "run"))
    assert hoist["reason"] in ("a kind of a class", "not a word of --vocabulary wordnet")
