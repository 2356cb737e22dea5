"""Names of shards, samples and records, and the fields of a sample."""

import dataclasses
import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.shards.format import MAX_SAMPLES, Facts, Sample, record_name, sample_key, tar_name

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "helpers.py")))


def test_names_sort_as_numbers_do():
    assert (sample_key(7, 12), tar_name(7), record_name(7)) == ("000070012", "train-00007.tar", "00007.json")
    for name in (tar_name, record_name, lambda n: sample_key(n, 9999), lambda n: sample_key(3, n)):
        names = [name(n) for n in (0, 9, 10, 99, 100, 9999)]
        assert names == sorted(names)


def test_keys_have_one_length_up_to_the_most_samples():
    assert len(sample_key(7, 0)) == len(sample_key(7, MAX_SAMPLES - 1)) < len(sample_key(7, MAX_SAMPLES))


def test_the_fields_of_a_sample_are_these_and_no_others():
    """A release that changes them breaks every reader of older sets."""
    names = "key cls class_name strategy anchor synset prompt condition seed status attempt width height recipe steps"
    names += " guidance_scale resize model model_revision"
    assert [field.name for field in dataclasses.fields(Facts)] == names.split()
    kinds = {name: type(value) for name, value in helpers.facts().to_dict().items()}
    whole = {"cls", "condition", "seed", "attempt", "width", "height", "steps"}
    assert kinds == {name: int if name in whole else float if name == "guidance_scale" else str for name in names.split()}


def test_facts_are_plain_json_without_nulls():
    plain = helpers.facts().to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert None not in plain.values()


def test_a_sample_knows_its_key():
    assert Sample({"key": "000010002"}, b"", "png").key == "000010002"


def test_facts_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        helpers.facts().cls = 2
