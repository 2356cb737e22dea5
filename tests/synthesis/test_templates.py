"""Prompt templates: every word in every sentence, dealt evenly."""

import runpy
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.config.synthesis import SynthesisConfig
from dogfast.errors import UsageError
from dogfast.events import Events
from dogfast.run import launch
from dogfast.shards.reader import read_records, read_shard
from dogfast.synthesis.stage import generate
from dogfast.synthesis.templates import require_words, with_templates

fakes = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "fakes.py")))
TEMPLATES = ("a photo of a {}", "a sketch of a {}", "{} at night")


def test_every_condition_gets_every_template_and_neighbours_different_ones():
    found = with_templates(fakes.conditions(), TEMPLATES)
    words = [condition["anchor"] for condition in fakes.conditions()]
    prompts = [condition["text"][0][0] for condition in found]
    assert set(prompts) == {template.replace("{}", word) for template in TEMPLATES for word in words}
    assert len(prompts) == len(set(prompts)), "twins would grow from the same seeds"
    assert prompts[:3] == ["a photo of a oval", "a sketch of a frame", "bullseye at night"]
    assert [condition["anchor"] for condition in found] == words * len(TEMPLATES)


def test_without_templates_the_prompt_of_the_anchors_is_painted():
    assert with_templates(fakes.conditions(), ()) == fakes.conditions()


def test_images_of_a_word_take_the_templates_in_turn_and_their_facts_say_so(tmp_path):
    config = fakes.config(m=6, templates=TEMPLATES)
    with fakes.installed(), launch(tmp_path / "run", config.to_toml()) as run:
        fakes.write_conditions(config, run, Events())
        generate(config, run, Events())
        folder = run.outliers("dog")
        facts = [sample.facts for record in read_records(folder) for sample in read_shard(folder / record["tar"])]
    assert Counter(fact["prompt"] for fact in facts if fact["anchor"] == "oval") == {
        "a photo of a oval": 2,
        "a sketch of a oval": 2,
        "oval at night": 2,
    }
    assert Counter(fact["prompt"] for fact in facts if fact["class_name"] == fakes.CLASSES[2]).most_common()[0][1] == 1


@pytest.mark.parametrize("templates, said", [(("a photo",), "{} exactly once"), (("a {}", "a {}"), "stands twice")])
def test_templates_without_a_place_for_the_word_or_twice_are_refused(templates, said):
    with pytest.raises(UsageError, match=f"--templates.*{said}"):
        SynthesisConfig(templates=templates)


@pytest.mark.parametrize("strategy", ["boundary", "visual-reconstruction", "id-control"])
@pytest.mark.parametrize("flag", ["--templates", "--reject-id"])
def test_a_strategy_without_words_is_refused(flag, strategy):
    with pytest.raises(UsageError, match=f"{flag} needs .*{strategy} has none"):
        require_words(flag, strategy)
