"""Names of stores, the verbs of a place at one, and which failures pass."""

import errno
from itertools import repeat

import numpy as np
import pytest

import dogfast.store
from dogfast.errors import EnvironmentFault, UsageError
from dogfast.shards.reader import has_shards
from dogfast.store import check_place, open_place, passes
from dogfast.synthesis.crew import _Others
from dogfast.synthesis.plan import Shard


@pytest.fixture
def place(request, monkeypatch):
    monkeypatch.setattr(dogfast.store, "FIRST_PAUSE_S", 0.0)
    found = open_place(f"memory://{request.node.name}", "--store")
    yield found
    found.files.store.clear()


@pytest.mark.parametrize(
    "where", ["", "runs/x", "./a:b", "/mnt/big disk", "s3://b", "sftp://me@host:22/x", "abfs://box@account.host/x"]
)
def test_folders_and_stores_are_taken(where):
    check_place(where, "--store")


@pytest.mark.parametrize("where", ["pipe:ls", "zip://x::s3://b/a", "s3://", "s3://a:b/c@bucket/x", "dir://x", "gs://b/x?sig=1"])
def test_what_is_no_store_is_refused(where):
    with pytest.raises(UsageError, match=r"^--store: "):
        check_place(where, "--store")


def test_verbs(place):
    one = place / "records" / "00000.json"
    assert (one.name, one.stem, one.parent, place / "") == ("00000.json", "00000", place / "records", place)
    assert not one.exists() and not place.is_dir() and place.glob("*") == [] and not has_shards(place)
    with pytest.raises(FileNotFoundError, match=str(place)):
        one.read_bytes()
    one.put(b"{}")
    (place / "train-00000.tar").put(b"tar")
    assert one.is_file() and (place / "records").is_dir() and not (place / "records").is_file() and has_shards(place)
    assert (one.read_text(), one.stat().st_size, one.open().read()) == ("{}", 2, b"{}")
    assert place.glob("*.tar") == [place / "train-00000.tar"]
    one.unlink()
    one.unlink(missing_ok=True)
    assert not has_shards(place)


def failing(times, error):
    """Fails so often, then gives what it was asked for."""
    left = repeat(error, times)

    def ask(*given, **options):
        if (error := next(left, None)) is not None:
            raise error
        return b"there"

    return ask


def test_one_line_tells_of_trying_again(place, monkeypatch):
    said = []
    monkeypatch.setattr(place.files, "cat_file", failing(5, OSError(errno.ESTALE, "stale")))
    asked = open_place(str(place), "--store", said.append)
    assert asked.read_bytes() == b"there"
    (line,) = said
    assert line.startswith(f"cannot read {place} just now") and line.endswith("trying again for up to 5 minutes")


def test_patience_ends(place, monkeypatch):
    monkeypatch.setattr(dogfast.store, "PATIENCE_S", 0.01)
    monkeypatch.setattr(place.files, "cat_file", failing(10**6, TimeoutError("no answer")))
    with pytest.raises(EnvironmentFault, match=f"cannot read {place}: no answer; see that it can be reached"):
        place.read_bytes()


class HTTPClientError(Exception):
    """As botocore's own: no OSError."""


def answered(status, code="", kind=OSError):
    error = kind("told")
    error.__cause__ = cause = Exception("as the driver has it")
    cause.response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}
    return error


def garbled():
    """An answer that is no HTTP: aiohttp calls it 400, though no server said so."""
    error = HTTPClientError("garbled")
    error.__cause__ = type("BadHttpMessage", (Exception,), {"code": 400})()
    return error


PASSING = [
    garbled(),
    answered(500), answered(503, "SlowDown"), answered(429), answered(400, "BadDigest"), TimeoutError(), ConnectionResetError(),
    OSError(errno.ESTALE, ""), type("ReadTimeoutError", (HTTPClientError,), {})(), type("HttpError", (Exception,), {"code": 502})(),
]  # fmt: skip
STAYING = [
    answered(403, "AccessDenied", PermissionError), answered(404, "NoSuchBucket", FileNotFoundError), answered(400, "InvalidBucketName"),
    PermissionError(), FileNotFoundError(), OSError(errno.ENOSPC, ""), TypeError(), type("HttpError", (Exception,), {"code": 401})(),
]  # fmt: skip


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_passing(error):
    assert passes(error)


@pytest.mark.parametrize("error", STAYING, ids=repr)
def test_staying(error):
    assert not passes(error)


def test_a_crew_does_not_hammer_a_store(place, monkeypatch):
    """Asked after every batch, it lists once in some seconds; a record that came is counted once."""
    (place / "records" / "00001.json").put(b"{}")
    listings, plain = [], place.files.ls
    monkeypatch.setattr(place.files, "ls", lambda *given, **options: listings.append(given) or plain(*given, **options))
    others = _Others(place, [Shard(number, np.zeros(4), np.zeros(4)) for number in (1, 3)])
    assert [others.images() for _ in range(50)] == [4] + [0] * 49 and len(listings) == 1
    others.next_look = 0.0
    assert others.images() == 0 and len(listings) == 2
