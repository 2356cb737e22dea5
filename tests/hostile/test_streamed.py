"""Streamed shards made by a stranger: one DataError that names the file, raised where the training takes, and never a hang."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.data.codec import Lossless
from dogfast.errors import DataError
from dogfast.training.parts import Shards
from dogfast.training.streamed import Streamed

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))
GOOD = helpers.pack(helpers.pair())
SHARDS = {
    "another file": (GOOD, {"sha256": "0" * 64}, r"train-00001\.tar is damaged"),
    "no tar": (b"x" * 5000, {}, r"train-00001\.tar"),
    "cut short": (GOOD[:900], {}, r"train-00001\.tar"),
    "empty": (b"", {}, r"train-00001\.tar"),
    "fewer than it says": (GOOD, {"samples": 2}, r"train-00001\.tar holds 1 samples, its record says 2"),
    "more than it says": (GOOD, {"samples": 0}, r"train-00001\.tar holds 1 samples, its record says 0"),
    "no image": (helpers.pack(helpers.pair(content=b"x" * 60)), {}, r"train-00001\.tar: the image of sample '000000000'"),
    "another size": (helpers.pack(helpers.pair(content=helpers.png(helpers.image(0, 9)))), {}, r"train-00001\.tar: .*9 x 9"),
    "a bomb": (helpers.pack(helpers.pair(helpers.text(width=60_000, height=60_000))), {}, r"train-00001\.tar: the image"),
    "a latent": (helpers.pack([("000000000.json", helpers.text()), ("000000000.npy", b"x")]), {}, "holds latents"),
    "a record that is none": (GOOD, {"samples": "1"}, r"00001\.json is not a shard record"),
}


def drained(folder):
    row = Streamed(Shards(lambda: folder, 8, Lossless()), 8, 1, 0)
    try:
        for _ in range(8):
            row.take(2)
    finally:
        row.close()


@pytest.mark.parametrize("name", SHARDS)
def test_a_bad_shard_among_good_ones_is_named(tmp_path, name):
    content, record, said = SHARDS[name]
    for shard in (0, 2):
        helpers.commit(tmp_path, shard)
    drained(tmp_path)
    helpers.plant(tmp_path, content, 1, **record)
    with pytest.raises(DataError, match=said):
        drained(tmp_path)


def test_a_position_that_a_stranger_wrote_is_no_way_out(tmp_path):
    helpers.commit(tmp_path)
    row = Streamed(Shards(lambda: tmp_path, 8, Lossless()), 8, 1, 0)
    for layout in ([["../x.tar"]], [["train-00000.tar"], ["/etc/passwd"]]):
        with pytest.raises(DataError, match="is gone"):
            row.seek({"cycle": 0, "layout": layout, "window": 0, "offset": 0, "seen": []})
    row.close()
