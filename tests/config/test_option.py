"""Fields as data: their help, and which of them decide what a result is."""

import dataclasses

import pytest

from dogfast.config import DataConfig, ModelConfig, RunConfig, SynthesisConfig
from dogfast.config.option import identity, one_of, require
from dogfast.errors import UsageError

SECTIONS = {field.name: field.default_factory for field in dataclasses.fields(RunConfig)}
FIELDS = [(section, item) for section, kind in SECTIONS.items() for item in dataclasses.fields(kind)]


@pytest.mark.parametrize("section, item", FIELDS, ids=[f"{section}.{item.name}" for section, item in FIELDS])
def test_every_field_is_documented(section, item):
    assert len(item.metadata["help"]) > 8 and not item.metadata["help"].endswith(".")


def test_no_two_sections_share_a_flag():
    names = [item.name for _, item in FIELDS]
    assert len(set(names)) == len(names)


def test_sections_are_frozen_and_by_keyword():
    for kind in SECTIONS.values():
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(kind(), dataclasses.fields(kind)[0].name, None)
        with pytest.raises(TypeError):
            kind("x")


def test_what_may_change_within_a_run():
    left_out = {item.name for _, item in FIELDS if not item.metadata["identity"]}
    assert left_out >= {"data", "device", "offline", "m", "rows"}
    assert not left_out & {"classes", "model", "prompt", "eta", "recipe", "seed", "objective", "lr", "image_px", "train_seed"}
    for kind in SECTIONS.values():
        assert set(identity(kind())) == {f.name for f in dataclasses.fields(kind)} - left_out


def test_identity_is_plain_and_follows_the_fields():
    assert identity(SynthesisConfig(m=5, rows=3)) == identity(SynthesisConfig(m=9))
    assert identity(SynthesisConfig(seed=1)) != identity(SynthesisConfig())
    assert identity(ModelConfig(device="cuda", offline=True)) == identity(ModelConfig())
    assert identity(DataConfig(data=("a=b",))) == identity(DataConfig())
    assert identity(RunConfig().objectives)["wor_strengths"] == [0.1, 0.01, 0.001, 0.0001]


def test_require_and_one_of():
    require(True, "fine"), one_of("a", ("a", "b"), "--x")
    with pytest.raises(UsageError, match=r"^not so$"):
        require(False, "not so")
    with pytest.raises(UsageError, match="--x 'c' is unknown; choose one of: a, b"):
        one_of("c", ("a", "b"), "--x")
