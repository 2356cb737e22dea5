"""Events: what a person, a log file and a diary get to see, and that none of them can stop the work."""

import io
import json
import os
import pty
from contextlib import suppress

import pytest

from dogfast import events as events_module
from dogfast.events import PLAIN_INTERVAL_S, RATE_WINDOW_S, Events, diary, for_stream, plain_lines, terminal


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(events_module.time, "monotonic", clock)
    return clock


def collected():
    seen = []
    return seen, Events(lambda event, fields: seen.append((event, fields)))


def test_every_sink_gets_every_event():
    first, second = [], []
    events = Events(lambda *e: first.append(e), lambda *e: second.append(e))
    events("shard", number=3)
    events.say("a note")
    assert first == second == [("shard", {"number": 3}), ("note", {"text": "a note"})]


def test_no_sinks_are_silent(capfd):
    events = Events()
    events.say("nobody hears this")
    with events.progress("work", 3) as advance:
        advance(3)
    assert capfd.readouterr() == ("", "")


def test_progress_begins_counts_and_ends(clock):
    seen, events = collected()
    with events.progress("paint", 100, unit="px") as advance:
        clock.now += 2
        advance(10)
        clock.now += 2
        advance(30)
    assert [name for name, _ in seen] == ["progress_started", "progress", "progress", "progress_finished"]
    assert seen[0][1] == {"task": "paint", "total": 100, "unit": "px"}
    assert seen[1][1] == {
        "task": "paint", "unit": "px", "done": 10, "total": 100, "per_s": 5.0, "average_per_s": 5.0, "left_s": 18.0, "seconds": 2.0
    }  # fmt: skip
    assert seen[2][1]["per_s"] == 10.0 and seen[2][1]["left_s"] == 6.0 and seen[3][1] == seen[2][1]


def test_progress_ends_when_the_work_fails(clock):
    seen, events = collected()
    with pytest.raises(KeyError):
        with events.progress("paint", 5):
            raise KeyError
    assert seen[-1][0] == "progress_finished" and seen[-1][1]["done"] == 0 and seen[-1][1]["left_s"] is None


def test_the_rate_is_of_late_and_the_average_of_all(clock):
    seen, events = collected()
    with events.progress("paint", 10_000) as advance:
        for _ in range(40):
            clock.now += 1
            advance(1)
        for _ in range(int(RATE_WINDOW_S) + 2):
            clock.now += 1
            advance(100)
    assert seen[-1][1]["per_s"] == pytest.approx(100)
    assert seen[-1][1]["average_per_s"] == pytest.approx((40 + 1200) / 52)


def test_a_clock_that_stands_still_and_more_work_than_announced(clock):
    seen, events = collected()
    with events.progress("paint", 0) as advance:
        pass
    assert (seen[-1][1]["per_s"], seen[-1][1]["left_s"], seen[-1][1]["average_per_s"]) == (0, None, 0)
    with events.progress("paint", 1) as advance:
        advance(0), advance(1)
        clock.now += 1
        advance(5)
    assert seen[-1][1]["done"] == 6 and seen[-1][1]["left_s"] == 0


def test_a_sink_that_cannot_write_does_not_stop_the_work(tmp_path):
    seen = []

    def closed(event, fields):
        raise BrokenPipeError(32, "Broken pipe")

    events = Events(closed, lambda event, fields: seen.append(event))
    events.say("a note")
    with events.progress("work", 1) as advance:
        advance(1)
    assert seen == ["note", "progress_started", "progress", "progress_finished"]


def test_a_sink_that_is_wrong_is_heard():
    with pytest.raises(KeyError):
        Events(lambda event, fields: fields["absent"]).say("x")


# --- plain lines ------------------------------------------------------------------------------------------------
def test_plain_lines_come_every_half_minute_and_at_the_end(clock):
    stream = io.StringIO()
    events = Events(plain_lines(stream))
    events.say("seed 3 (asked for)")
    with events.progress("paint", 100) as advance:
        for _ in range(7):
            clock.now += PLAIN_INTERVAL_S / 3
            advance(10)
    assert stream.getvalue().splitlines() == [
        "seed 3 (asked for)",
        "paint done=30/100 img_per_s=1.0 average=1.0 left=70s seconds=30.0",
        "paint done=60/100 img_per_s=1.0 average=1.0 left=40s seconds=60.0",
        "paint done=70/100 img_per_s=1.0 average=1.0 left=30s seconds=70.0",
    ]


def test_plain_lines_of_two_tasks_at_once(clock):
    stream = io.StringIO()
    events = Events(plain_lines(stream))
    with events.progress("a", 2) as a, events.progress("b", 0) as b:
        clock.now += PLAIN_INTERVAL_S
        a(1), b(0)
    assert [line.split()[:2] for line in stream.getvalue().splitlines()] == [
        ["a", "done=1/2"], ["b", "done=0/0"], ["b", "done=0/0"], ["a", "done=1/2"]
    ]  # fmt: skip
    assert "left=?" in stream.getvalue()


def test_other_events_are_not_printed():
    stream = io.StringIO()
    Events(plain_lines(stream))("shard_committed", shard=3)
    assert stream.getvalue() == ""


# --- the diary --------------------------------------------------------------------------------------------------
def test_diary_lines_are_json(tmp_path, clock):
    file = tmp_path / "events" / "0.jsonl"
    events = Events(diary(file))
    events.say('a "note"\nof two lines, Häuschen \udcff')
    events("shard", path=file, none=None)
    with events.progress("paint", 0) as advance:
        advance(0)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["event"] for row in rows] == ["note", "shard", "progress_started", "progress", "progress_finished"]
    assert [row["seq"] for row in rows] == [0, 1, 2, 3, 4]
    assert (
        rows[0]["text"] == 'a "note"\nof two lines, Häuschen \udcff'
        and rows[1]["path"] == str(file)
        and rows[1]["none"] is None
    )
    for row in rows:
        assert row["v"] == 1 and row["mono_s"] == 1000.0 and row["utc"].endswith("Z") and len(row["utc"]) == 20


def test_the_diary_is_written_at_once_and_appended(tmp_path):
    file = tmp_path / "0.jsonl"
    first = diary(file)
    first("note", {"text": "one"})
    assert len(file.read_text().splitlines()) == 1, "before anything is closed"
    diary(file)("note", {"text": "two"})
    assert [json.loads(line)["text"] for line in file.read_text().splitlines()] == ["one", "two"]


# --- the terminal -----------------------------------------------------------------------------------------------
def work(events):
    events.say("device cpu [no CUDA device is present] :smile:")
    with events.progress("generate", 5) as advance:
        for _ in range(5):
            advance(1)
    with events.progress("nothing", 0):
        pass
    with pytest.raises(ZeroDivisionError):
        with events.progress("fails", 2) as advance:
            advance(1)
            raise ZeroDivisionError
    events.say("done")


def read_all(descriptor):
    """What waits to be read."""
    os.set_blocking(descriptor, False)
    parts = []
    with suppress(BlockingIOError):
        while part := os.read(descriptor, 4096):
            parts.append(part)
    return b"".join(parts).decode()


def test_a_bar_on_a_terminal():
    """The bar draws on a real pseudo-terminal, whose buffer is read once all is written."""
    leader, follower = pty.openpty()
    with open(follower, "w") as stream:
        work(Events(for_stream(stream)))
        shown = read_all(leader)
    os.close(leader)
    for text in ("device cpu [no CUDA device is present] :smile:", "generate", "5/5", "img/s", "nothing", "fails", "done"):
        assert text in shown, text


def test_a_bar_on_a_stream_that_is_no_terminal():
    stream = io.StringIO()
    work(Events(terminal(stream)))
    assert "done" in stream.getvalue()


def test_a_closed_terminal_does_not_stop_the_work():
    leader, follower = pty.openpty()
    stream = open(follower, "w")
    events = Events(for_stream(stream))
    events.say("before")
    os.close(leader)
    for _ in range(3):
        events.say("after")
    with pytest.raises(OSError):
        os.write(follower, b"x")
    with suppress(OSError):
        stream.close()


def test_the_kind_of_stream_decides():
    stream = io.StringIO()
    for_stream(stream)("note", {"text": "plain"})
    assert stream.getvalue() == "plain\n"
