"""What may be asked for: seeds, tables, axes; and where each seed lies."""

from pathlib import Path

import pytest

from dogfast.config import RunConfig
from dogfast.config.presets import preset
from dogfast.errors import UsageError
from dogfast.workflows.comparison.request import AXES, Comparison, at, whole_numbers
from dogfast.workflows.comparison.settings import comparison_preset, of_seed, seed_place, with_sets


@pytest.mark.parametrize(
    "entry",
    ["", "m", "m=", "=1", "m=1,,2", "nonesuch=1", "m=1,m=2", "m=0", "m=many", "m=1.5", "eta=1", "eta=2,0.1", "k=0", "lambda=3", "quantile=0", "m=5,5", "m=16,0x10", "1,2"],
)  # fmt: skip
def test_what_is_no_sweep_is_refused(entry):
    with pytest.raises(UsageError, match="--sweep"):
        Comparison(sweep=(entry,)).swept(RunConfig())


def test_an_axis_named_in_two_entries_is_refused():
    with pytest.raises(UsageError, match="names m twice"):
        Comparison(sweep=("m=1", "m=2"))


def test_axes_may_come_in_one_entry_or_several():
    apart = Comparison(sweep=("m=200,50", "k=6,12", "lambda=0.7")).swept(RunConfig())
    assert apart == {"m": (50, 200), "k": (6, 12), "lambda": (0.7,)}
    assert Comparison(sweep=("m=200,50,k=6,12,lambda=0.7",)).swept(RunConfig()) == apart
    assert Comparison(sweep=("eta=0.1",)).swept(RunConfig()) == {"eta": (0.1,)}


def test_a_swept_value_reaches_its_field():
    values = {"m": 3, "k": 4, "eta": 0.2, "lambda": 0.6, "quantile": 0.7}
    assert values.keys() == AXES.keys()
    found = {axis: at(RunConfig(), axis, value) for axis, value in values.items()}
    assert (found["m"].synthesis.m, found["k"].concepts.top_k, found["eta"].concepts.eta) == (3, 4, 0.2)
    assert (found["lambda"].concepts.anchor_lambda, found["quantile"].concepts.anchor_quantile) == (0.6, 0.7)


@pytest.mark.parametrize(
    "fields, named",
    [
        ({"tables": (5,)}, "--tables '5'"),
        ({"tables": (1, 1)}, "--tables names"),
        ({"seeds": (1, 1)}, "--seeds names"),
        ({"seeds": (2**60,)}, "--seeds must"),
        ({"auxiliary": "dog"}, "--auxiliary dog"),
        ({"scores": ("nonesuch",)}, "--scores 'nonesuch'"),
        ({"jobs": 0}, "--jobs 0 must be at least 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(fields, named):
    with pytest.raises(UsageError, match=named):
        Comparison(**fields)


def test_tables_go_by_the_classes():
    assert Comparison().tables_of(preset("shapes")) == (1, 2, 4)
    assert Comparison().tables_of(preset("imagenet")) == Comparison().tables_of(preset("imagenet-100")) == (2, 3, 4)
    assert Comparison(sweep=("m=1",)).tables_of(preset("shapes")) == ()
    assert Comparison(sweep=("m=1",), tables=(2,)).tables_of(preset("shapes")) == (2,)
    with pytest.raises(UsageError, match="--tables 3 is of ImageNet"):
        Comparison(tables=(3,)).tables_of(preset("cifar10"))


@pytest.mark.parametrize("text", ["a", "1,", "1;2", "-1", "1.5", "١", "9" * 400])
def test_what_is_no_list_of_numbers_is_refused(text):
    with pytest.raises(UsageError, match="--seeds"):
        whole_numbers(text, "--seeds")


def test_lists_of_numbers():
    assert whole_numbers("0, 1,2", "--seeds") == (0, 1, 2) and whole_numbers("", "--seeds") == ()


def test_the_papers_sets_are_the_columns_unless_others_are_named():
    assert with_sets(preset("cifar10")).detection.ood == ("svhn", "lsun-c", "isun", "textures", "places365")
    assert with_sets(preset("imagenet-200")).detection.ood == ("textures", "places365", "inaturalist", "sun")
    named = preset("cifar10").with_values({"detection": {"ood": ("gaussian",)}}, "test")
    assert with_sets(named) == named and with_sets(preset("shapes")).detection.ood == ()


def test_each_other_seed_is_a_run_of_its_own_with_that_seed_in_every_stage():
    config, root = comparison_preset("shapes"), Path("run")
    assert of_seed(config, 0) == config and seed_place(root, config, 0) == root
    other = of_seed(config, 2)
    assert (other.concepts.concepts_seed, other.synthesis.seed, other.training.train_seed) == (2, 2, 2)
    assert seed_place(root, config, 2) == root / "seeds" / "2"


def test_the_runs_own_seed_stays_where_it_is():
    config = RunConfig().with_values({"synthesis": {"seed": 3}, "training": {"train_seed": 5}}, "test")
    assert of_seed(config, 5) == config and seed_place(Path("run"), config, 0) == Path("run/seeds/0")
    assert of_seed(config, 0).synthesis.seed == 0 and Comparison().seeds_of(config) == (5,)


def test_a_store_is_divided_among_the_seeds():
    config = RunConfig().with_values({"synthesis": {"store": "s3://bucket/path/"}}, "test")
    assert of_seed(config, 1).synthesis.store == "s3://bucket/path/seeds/1" and of_seed(config, 0) == config
