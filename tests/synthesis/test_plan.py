"""The plan: order, balance, what raising m adds, and segment files that are not what they say."""

import json
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dogfast.errors import DataError
from dogfast.synthesis.plan import Segment, append_segment, planned_a_condition, read_segments, shards_of, spread

CLASS_OF = [0, 1, 1, 2, 2, 2]


def segment(class_of, total, already=0, samples=4, first_shard=0):
    before = planned_a_condition([Segment(0, samples, spread(class_of, already, Counter()))])
    return Segment(first_shard, samples, spread(class_of, total, before))


def items(one, class_of):
    return [item for shard in shards_of([one], class_of).values() for item in shard.items()]


def pairs(one, class_of=CLASS_OF):
    return [(item.condition, item.index) for item in items(one, class_of)]


# --- order ------------------------------------------------------------------------------------------------------
def test_items_are_index_major_and_a_class_takes_its_conditions_in_turn():
    assert pairs(segment(CLASS_OF, 4)) == [
        *((0, 0), (1, 0), (3, 0)),
        *((0, 1), (2, 0), (4, 0)),
        *((0, 2), (1, 1), (5, 0)),
        *((0, 3), (2, 1), (3, 1)),
    ]


classes_of_conditions = st.lists(st.integers(0, 3), min_size=1, max_size=9)


@settings(max_examples=60, deadline=None)
@given(classes_of_conditions, st.integers(1, 12), st.integers(1, 7))
def test_every_prefix_is_balanced_and_every_item_stands_once(class_of, m, samples):
    one = segment(class_of, m, samples=samples)
    counts = Counter(dict.fromkeys(class_of, 0))
    conditions = Counter(dict.fromkeys(range(len(class_of)), 0))
    for condition, index in pairs(one, class_of):
        assert index == conditions[condition], "a condition's images are numbered in the order they are painted"
        counts[class_of[condition]] += 1
        conditions[condition] += 1
        assert max(counts.values()) - min(counts.values()) <= 1
        for cls in counts:
            own = [conditions[row] for row, owner in enumerate(class_of) if owner == cls]
            assert max(own) - min(own) <= 1
    assert set(counts.values()) == {m} and one.images == m * len(counts)


@settings(max_examples=60, deadline=None)
@given(classes_of_conditions, st.integers(1, 9), st.integers(1, 9), st.integers(1, 7))
def test_raising_m_appends_exactly_what_is_missing(class_of, few, more, samples):
    first = segment(class_of, few, samples=samples)
    second = segment(class_of, few + more, already=few, samples=samples, first_shard=first.shards)
    both = pairs(first, class_of) + pairs(second, class_of)
    assert len(both) == len(set(both))
    assert set(both) == set(pairs(segment(class_of, few + more), class_of))
    shards = [item.shard for one in (first, second) for item in items(one, class_of)]
    assert shards == sorted(shards) and set(shards) == set(range(first.shards + second.shards))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 7), st.integers(0, 5))
def test_shards_are_full_but_the_last_and_places_count_up(m, samples, first_shard):
    one = segment(CLASS_OF, m, samples=samples, first_shard=first_shard)
    places = [(item.shard, item.position) for item in items(one, CLASS_OF)]
    assert places == [(first_shard + n // samples, n % samples) for n in range(one.images)]
    assert len({shard for shard, _ in places}) == one.shards


def test_nothing_is_added_where_all_is_planned():
    planned = planned_a_condition([segment(CLASS_OF, 5)])
    assert spread(CLASS_OF, 5, planned) == {} and spread(CLASS_OF, 3, planned) == {}


def test_what_was_dealt_unevenly_is_made_up_for():
    planned = Counter({0: 1, 1: 5, 2: 1, 3: 2})
    assert spread(CLASS_OF, 8, planned) == {0: (1, 7), 2: (1, 2), 3: (2, 1), 4: (0, 3), 5: (0, 2)}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(0, 40))
def test_each_goes_to_the_condition_that_has_the_fewest(given_, total):
    planned, dealt = Counter(dict(enumerate(given_))), Counter(dict(enumerate(given_)))
    for _ in range(total - sum(given_)):
        dealt[min(dealt, key=lambda row: (dealt[row], row))] += 1
    found = spread([0] * len(given_), total, planned)
    assert found == {row: (planned[row], dealt[row] - planned[row]) for row in dealt if dealt[row] > planned[row]}


def test_a_million_are_planned_without_holding_their_items():
    class_of = [cls for cls in range(100) for _ in range(50)]
    tracemalloc.start()
    shards = shards_of([segment(class_of, 10_000, samples=500)], class_of)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(shards) == 2000 and sum(map(len, shards.values())) == 1_000_000
    assert peak < 150 * 2**20
    last = shards[1999].items()[-1]
    assert (last.condition, last.index, last.position) == (4999, 199, 499)


# --- on disk ----------------------------------------------------------------------------------------------------
def written(folder):
    first = segment(CLASS_OF, 2)
    second = segment(CLASS_OF, 5, already=2, first_shard=first.shards)
    append_segment(folder, first)
    append_segment(folder, second)
    return [first, second]


def test_segments_come_back_as_they_were_written(tmp_path):
    assert read_segments(tmp_path / "none") == read_segments(tmp_path) == []
    segments = written(tmp_path)
    before = (tmp_path / "000.json").read_bytes()
    assert read_segments(tmp_path) == segments
    append_segment(tmp_path, segment(CLASS_OF, 6, already=5, first_shard=sum(s.shards for s in segments)))
    assert len(read_segments(tmp_path)) == 3 and (tmp_path / "000.json").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"counts": None},
        {"counts": []},
        {"counts": [[0, 0]]},
        {"counts": [[0, 0, 2], [0, 0, 2]]},
        {"counts": [[0, 0, -3]]},
        {"counts": [[-1, 0, 3]]},
        {"counts": [[0, 1, 3]]},
        {"counts": [["0", 0, 3]]},
        {"counts": [[0, 0, 1.5]]},
        {"counts": [[0, 0, True]]},
        {"counts": [[0, 0, float("inf")]]},
        {"counts": [[0, 0, float("nan")]]},
        {"first_shard": 1},
        {"first_shard": "0"},
        {"samples_per_shard": 0},
        {"samples_per_shard": 10_001},
    ],
    ids=str,
)
def test_a_segment_that_is_none_is_named(tmp_path, change):
    written(tmp_path)
    path = tmp_path / "000.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=r"000\.json"):
        read_segments(tmp_path)


@pytest.mark.parametrize("body", ["[]", "3", "null", "{", "", "\0", '{"counts": ' + "[" * 100_000, "{}"])
def test_text_that_is_no_segment_is_named(tmp_path, body):
    (tmp_path / "000.json").write_text(body)
    with pytest.raises(DataError, match=r"000\.json"):
        read_segments(tmp_path)


def test_a_missing_segment_is_named_and_none_is_ever_overwritten(tmp_path):
    written(tmp_path)
    (tmp_path / "000.json").unlink()
    with pytest.raises(DataError, match=r"000\.json is missing"):
        read_segments(tmp_path)


def test_a_segment_must_go_on_where_the_one_before_ended(tmp_path):
    written(tmp_path)
    (tmp_path / "000.json").write_bytes((tmp_path / "001.json").read_bytes())
    with pytest.raises(DataError, match=r"000\.json"):
        read_segments(tmp_path)
