"""What happens to shards while a training streams them: it ends with the file's name, in the process that trains."""

import runpy
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from dogfast.data.codec import Lossless
from dogfast.errors import DataError
from dogfast.training.parts import Shards
from dogfast.training.streamed import Streamed

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))


@pytest.fixture
def row(tmp_path):
    for shard in range(4):
        helpers.commit(tmp_path, shard)
    row = Streamed(Shards(lambda: tmp_path, 8, Lossless()), 8, 1, 0)
    yield row
    row.close()


@pytest.mark.parametrize(
    "harm", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:900]), lambda p: p.write_bytes(b"")]
)
def test_a_shard_that_goes_bad_meanwhile_is_named(row, tmp_path, harm):
    row.take(3)
    for shard in range(4):
        harm(tmp_path / f"train-{shard:05d}.tar")
    with pytest.raises(DataError, match=r"train-0000\d\.tar"):
        for _ in range(4):
            row.take(3)


def test_what_is_closed_stops_at_once(row, monkeypatch):
    slow = []
    plain = row.parts.read
    monkeypatch.setattr(row.parts, "read", lambda name: slow.append(name) or time.sleep(0.05) or plain(name))
    row.take(1)
    row.close()
    done = len(slow)
    time.sleep(0.12)
    assert len(slow) <= done, "nothing more was begun"
