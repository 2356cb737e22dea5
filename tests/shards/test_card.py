"""The dataset card: its head is YAML that the hub reads."""

import pytest
import yaml

from dogfast.shards.card import card


def head_of(text):
    assert text.startswith("---\n")
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize(
    "images, size",
    [
        (0, "n<1K"),
        (999, "n<1K"),
        (1_000, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (999_999, "100K<n<1M"),
        (9_999_999, "1M<n<10M"),
        (10_000_000, "10M<n<100M"),
    ],
)
def test_the_head_names_the_size_and_where_the_tars_lie(images, size):
    head = head_of(card("shapes", "dog", "tiny", "r0", [{"samples": images}] if images else []))
    assert head["size_categories"] == [size]
    assert head["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "train-*.tar"}]}]
    assert {"license", "task_categories", "tags"} <= head.keys()


@pytest.mark.parametrize("name", ["---\nlicense: mit", '"quoted": yes', "ring/of ☃", "a\nb", "# title", "{}"])
def test_names_of_users_do_not_reach_the_head(name):
    text = card(name, "dog", name, "r0", [{"samples": 3}, {"samples": 4}])
    assert head_of(text)["license"] == "other"
    assert "7 images in 2 tars" in text
