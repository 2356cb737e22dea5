"""Outliers that do not fit into memory: order, windows, resume, growth, and which part of it all a process decodes."""

import json
import runpy
import tarfile
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from dogfast.config import RunConfig
from dogfast.data import shapes
from dogfast.data.catalogue import IdData
from dogfast.data.codec import Lossless, Sensor, pass_through
from dogfast.data.images import ImageSet
from dogfast.errors import DataError
from dogfast.events import Events
from dogfast.run import Run, publish
from dogfast.training.batches import Held
from dogfast.training.parts import Shards
from dogfast.training.sources import images_at, source_digest, training_outliers
from dogfast.training.streamed import Part, Streamed

helpers = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "shards" / "helpers.py")))


class Numbers:
    """Parts of numbered samples; what was read and decoded is noted, and more parts may come."""

    def __init__(self, *counts):
        self.counts, self.read_parts, self.decoded = list(counts), [], []

    def listed(self, beyond):
        if len(self.counts) <= beyond:
            raise DataError("nothing is left")
        return [Part(str(index), count) for index, count in enumerate(self.counts)]

    def read(self, name):
        self.read_parts.append(name)
        return [10 * int(name) + n for n in range(self.counts[int(name)])]

    def decode(self, sample):
        self.decoded.append(sample)
        return np.full((1, 1, 3), sample, np.uint8)


@pytest.fixture
def streamed():
    """Makes a row of parts, in windows of ``room`` samples; all are closed in the end."""
    made = []

    def make(parts, room=8, *seed):
        made.append(Streamed(parts, 1, 2 * room, *(seed or (0,))))
        return made[-1]

    yield make
    for each in made:
        each.close()


def numbers(taken):
    assert taken.dtype == torch.uint8 and taken.shape[1:] == (3, 1, 1)
    return taken[:, 0, 0, 0].tolist()


def everything(*counts):
    return sorted(10 * part + n for part, count in enumerate(counts) for n in range(count))


# --- order ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("counts, room, size", [((4, 4, 4, 4), 8, 5), ((3,), 8, 2), ((1, 0, 5, 2), 1, 3), ((2, 3), 100, 16)])
def test_every_outlier_is_shown_once_a_cycle(streamed, counts, room, size):
    row, total = streamed(Numbers(*counts), room), sum(counts)
    drawn = [number for _ in range(4 * total) for number in numbers(row.take(size))]
    cycles = [drawn[at : at + total] for at in range(0, len(drawn) - total + 1, total)]
    assert all(sorted(cycle) == everything(*counts) for cycle in cycles)
    assert len(set(map(tuple, cycles))) > 1, "cycles have orders of their own"


def test_order_is_a_function_of_the_seed(streamed):
    one, same, other = (numbers(streamed(Numbers(4, 4, 4), 8, seed).take(12)) for seed in (1, 1, 2))
    assert one == same != other


def test_samples_of_a_window_are_mixed_and_windows_keep_parts_whole(streamed):
    row = streamed(Numbers(*[5] * 6), 10)
    drawn = numbers(row.take(30))
    for first in (0, 10, 20):
        parts = [number // 10 for number in drawn[first : first + 10]]
        assert len(set(parts)) == 2 and sum(one != other for one, other in pairwise(parts)) > 1
    assert {number // 10 for number in drawn[:10]} != {number // 10 for number in drawn[10:20]}


def test_a_process_decodes_its_own_rows(streamed):
    whole = streamed(Numbers(7, 7, 7), 10)
    parts = Numbers(7, 7, 7)
    mine = streamed(parts, 10)
    for _ in range(8):
        assert numbers(whole.take(6))[2:4] == numbers(mine.take(6, slice(2, 4)))
    assert len(parts.decoded) <= 2 * 9, "and of what it may be asked for next, its rows too"


def test_two_windows_are_held_at_most(streamed):
    parts = Numbers(*[4] * 10)
    row = streamed(parts, 4)
    for taken in range(1, 10):
        row.take(4)
        [pool.submit(int).result() for pool in (row._readers, row._decoders)]
        assert len(parts.read_parts) <= taken + 1


# --- where it stands --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("before", [0, 1, 3, 7, 8])
def test_it_goes_on_where_it_stood(streamed, before):
    row, parts = streamed(Numbers(4, 3, 4, 5), 8), Numbers(4, 3, 4, 5)
    for _ in range(before):
        row.take(5)
    again = streamed(parts, 8)
    again.seek(json.loads(json.dumps(row.position)))
    assert [numbers(row.take(5)) for _ in range(9)] == [numbers(again.take(5)) for _ in range(9)]
    assert again.seen == row.seen


def test_only_the_window_it_stood_in_is_read_again(streamed):
    row, parts = streamed(Numbers(*[4] * 10), 8), Numbers(*[4] * 10)
    row.take(18)
    position, again = row.position, streamed(parts, 8)
    again.seek(position)
    assert set(parts.read_parts) == set(position["layout"][2]) and len(parts.read_parts) == 2


def test_a_part_that_is_gone_is_named(streamed):
    row = streamed(Numbers(4, 4), 4)
    row.take(2)
    with pytest.raises(DataError, match="1, which the interrupted training read, is gone"):
        streamed(Numbers(4), 4).seek(row.position)


# --- what comes and what does not -------------------------------------------------------------------------------
def test_parts_that_come_are_taken_in_with_the_next_cycle_that_begins(streamed):
    parts = Numbers(4, 4)
    row = streamed(parts, 4)
    first = numbers(row.take(4))
    parts.counts.append(4)
    second = numbers(row.take(4))
    assert sorted(first + second) == everything(4, 4)
    assert sorted(numbers(row.take(12))) == everything(4, 4, 4) and row.seen == {"0", "1", "2"}


@pytest.mark.parametrize("counts", [(), (0,), (0, 0, 0)])
def test_no_outlier_at_all_is_an_error_and_no_hang(streamed, counts):
    with pytest.raises(DataError, match="nothing is left"):
        streamed(Numbers(*counts), 4).take(1)


@pytest.mark.parametrize("fault", ["read", "decode"])
def test_a_fault_in_the_background_is_raised_where_its_sample_was_due(streamed, fault):
    parts, plain = Numbers(4, 4, 4), getattr(Numbers, fault)

    def faulty(given):
        if str(given)[0] == "2" and (fault == "read" or given >= 10):
            raise DataError("shard 2 is damaged")
        return plain(parts, given)

    setattr(parts, fault, faulty)
    row, drawn = streamed(parts, 4), []
    with pytest.raises(DataError, match="shard 2 is damaged"):
        while len(drawn) < 20:
            drawn += numbers(row.take(2))
    assert len(drawn) % 4 == 0 or fault == "decode"
    assert all(number < 20 for number in drawn)


# --- from shards ------------------------------------------------------------------------------------------------
def id_data(codec=None):
    few = ImageSet(torch.zeros(3, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), tuple("abc"), ("circle",))
    return IdData(few, few, few, codec or Lossless())


@pytest.fixture
def outliers_of(monkeypatch):
    """Outliers of a source as a training gets them, windows counted in ``mb``; all are closed in the end."""
    made = []

    def make(run, source, data=None, mb=1024.0, side_px=8, **training):
        config = RunConfig().with_values({"training": {"outliers": source, **training}, "data": {"image_px": side_px}}, "test")
        object.__setattr__(config.training, "window_mb", mb)
        made.append(training_outliers(config, run, data or id_data(), Events()))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def run(tmp_path):
    """A run whose source `dog` has three shards of a trained word and one of a validation word."""
    run = Run(tmp_path / "run")
    publish(run.root / "run.json", '{"stages": {}}')
    for shard in range(4):
        word = shapes.VALIDATION_WORDS[0] if shard == 1 else "bullseye"
        samples = [helpers.encode_sample(helpers.image(10 * shard + n), helpers.facts(shard, n, anchor=word)) for n in range(5)]
        helpers.commit_shard(run.outliers("dog"), shard, samples, helpers.hashlib.sha256(), {"failed": 0, "seconds": 0.5})
    return run


ONE_MB = 3 * 8 * 8 / 2**20
"""Of one outlier of 8 px, decoded."""


def rows(images):
    return sorted(map(bytes, images.permute(0, 2, 3, 1).flatten(1).numpy()))


def test_a_set_that_fits_is_held_and_a_larger_one_is_streamed_with_the_same_images(run, outliers_of):
    held, large = outliers_of(run, "dog", mb=20 * ONE_MB), outliers_of(run, "dog", mb=19 * ONE_MB)
    assert isinstance(held, Held) and isinstance(large, Streamed)
    assert rows(large.take(15)) == rows(held.take(15)) == rows(held.rows)


def test_streamed_outliers_go_through_the_id_codec_as_held_ones_do(run, outliers_of):
    held, large = (outliers_of(run, "dog", id_data(Sensor()), mb) for mb in (1.0, ONE_MB))
    assert rows(large.take(15)) == rows(held.rows) != rows(outliers_of(run, "dog").rows)


def test_streamed_outliers_are_brought_to_the_side_of_the_id_images(run, outliers_of):
    held, large = (outliers_of(run, "dog", mb=mb, side_px=12) for mb in (1.0, ONE_MB))
    assert rows(large.take(15)) == rows(held.rows)


def test_all_of_a_cycle_being_of_validation_words_is_refused(tmp_path, outliers_of):
    for shard in range(3):
        helpers.commit(tmp_path / "set", shard, anchor=shapes.VALIDATION_WORDS[1])
    with pytest.raises(DataError, match="set: every outlier is of a validation word"):
        outliers_of(Run(tmp_path), str(tmp_path / "set"), mb=ONE_MB).take(1)


def test_large_sets_of_images_of_the_id_classes_are_no_outliers(tmp_path, outliers_of):
    helpers.commit(tmp_path / "set", 0, strategy="id-control", anchor="ring")
    with pytest.raises(DataError, match=r"train-00000\.tar .*--id-synthetic"):
        outliers_of(Run(tmp_path), str(tmp_path / "set"), mb=ONE_MB).take(1)


def test_a_window_counts_encoded_bytes_where_they_are_more(run):
    shards = Shards(lambda: run.outliers("dog"), 1, Lossless())
    assert all(part.bytes == run.outliers("dog").joinpath(part.name).stat().st_size for part in shards.listed(0))
    large = Shards(lambda: run.outliers("dog"), 512, Lossless())
    assert {part.bytes for part in large.listed(0)} == {5 * 3 * 512**2}


# --- followed ---------------------------------------------------------------------------------------------------
def test_what_is_followed_is_waited_for_once_and_taken_in_as_it_comes(tmp_path):
    said = []

    def wait(missing):
        said.append(missing)
        helpers.commit(tmp_path / "dog", len(said) - 1, anchor="star" if len(said) > 1 else shapes.VALIDATION_WORDS[0])

    row = Streamed(Shards(lambda: tmp_path / "dog", 8, Lossless(), wait), 8, 10_000, 0)
    assert row.take(3).shape == (3, 3, 8, 8)
    assert "no committed outliers" in said[0] and "validation word" in said[1] and len(said) == 2
    helpers.commit(tmp_path / "dog", 2)
    row.take(9)
    assert row.seen == {"train-00000.tar", "train-00001.tar", "train-00002.tar"} and len(said) == 2
    row.close()


def test_processes_agree_on_the_shards_that_the_first_has_seen(tmp_path):
    helpers.commit(tmp_path / "dog")
    told = []

    def first(find):
        told.append(find())
        return told[-1]

    leader = Shards(lambda: tmp_path / "dog", 8, Lossless(), lambda missing: None, first)
    parts = leader.listed(0)
    helpers.commit(tmp_path / "dog", 1)
    other = Shards(lambda: tmp_path / "dog", 8, Lossless(), lambda missing: None, lambda find: told[0])
    assert other.listed(0) == parts


# --- from image files -------------------------------------------------------------------------------------------
@pytest.fixture(params=["folder", "tar"])
def files(request, tmp_path):
    """Seven images in two class folders and beside them, as a folder or as a tar."""
    folder = tmp_path / "aux.set"
    for n in range(7):
        path = folder / ("ab"[n % 2] if n < 5 else ".") / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(helpers.image(n, 8 + n)).save(path)
    (folder / "notes.txt").write_text("no image")
    if request.param == "folder":
        return folder
    with tarfile.open(tmp_path / "aux.set.tar", "w") as tar:
        tar.add(folder, "aux")
    return tmp_path / "aux.set.tar"


def test_image_files_are_outliers_held_or_streamed(files, tmp_path, outliers_of, monkeypatch):
    monkeypatch.setattr("dogfast.training.parts.FILES_A_PART", 2)
    run, data = Run(tmp_path / "run"), id_data(Sensor())
    held, large = (outliers_of(run, str(files), data, mb) for mb in (1.0, 6 * ONE_MB))
    assert isinstance(held, Held) and isinstance(large, Streamed)
    assert held.rows.shape == (7, 3, 8, 8) and rows(large.take(7)) == rows(held.rows)
    same = torch.from_numpy(helpers.image(0)).permute(2, 0, 1)[None]
    prefix = "aux/" if files.is_file() else ""
    assert rows(pass_through(Sensor(), same, (f"aux.set/{prefix}a/0.png",)))[0] in rows(held.rows)


def test_the_digest_of_files_changes_with_names_and_sizes(files, tmp_path):
    run = Run(tmp_path / "run")
    before = source_digest(run, str(files))
    assert before == source_digest(run, str(files))
    if files.is_dir():
        (files / "a" / "0.png").rename(files / "b" / "0.png")
        moved = source_digest(run, str(files))
        (files / "b" / "0.png").write_bytes(b"longer" + (files / "b" / "0.png").read_bytes())
        assert len({before, moved, source_digest(run, str(files))}) == 3


def test_a_folder_of_shards_a_run_and_a_source_are_no_image_files(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dog").mkdir()
    (tmp_path / "noise").mkdir()
    for place in ("", "dog", "noise", str(run.root), str(run.outliers("dog")), "nowhere", "s3://bucket/set"):
        assert images_at(run, place) is None
    (tmp_path / "aux").mkdir()
    assert images_at(run, "aux") == Path("aux")


def test_files_without_images_are_refused(tmp_path, outliers_of):
    (tmp_path / "aux").mkdir()
    with pytest.raises(DataError, match="aux holds no images"):
        outliers_of(Run(tmp_path / "run"), str(tmp_path / "aux"))
