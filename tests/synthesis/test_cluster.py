"""What a painter is given of a Ray cluster, so that there is a place for each, and what happens where there is none."""

import math
from types import SimpleNamespace

import pytest

import dogfast.synthesis.cluster as module
from dogfast.errors import EnvironmentFault
from dogfast.events import Events
from dogfast.synthesis.cluster import share_of

HEAD = {"CPU": 64.0}
CARD = {"CPU": 8.0, "GPU": 1.0}


@pytest.mark.parametrize(
    "machines, count, share",
    [
        ([HEAD, CARD, CARD], 2, (8.0, 1.0)),
        ([{"CPU": 32.0, "GPU": 8.0}], 12, (2.0, 0.5)),
        ([{"CPU": 32.0, "GPU": 8.0}], 3, (4.0, 1.0)),
        ([{"CPU": 4.0}, {"CPU": 12.0}], 2, (4.0, 0.0)),
        ([{"CPU": 4.0}, {"CPU": 12.0}], 3, (2.0, 0.0)),
        ([{"CPU": 2.0}], 4, (0.5, 0.0)),
        ([{}, {"CPU": 4.0}], 1, (4.0, 0.0)),
    ],
    ids=[
        "a head without GPUs",
        "more painters than GPUs",
        "fewer",
        "uneven machines",
        "one more",
        "fewer cores",
        "an empty head",
    ],
)
def test_every_painter_has_a_place(machines, count, share):
    cpus, gpus = share_of(machines, count)
    assert (cpus, gpus) == pytest.approx(share)
    asked = {"GPU": gpus} if gpus else {"CPU": cpus if cpus < 1 else math.floor(cpus)}
    [(kind, size)] = asked.items()
    assert sum(math.floor(machine.get(kind, 0) / size + 1e-9) for machine in machines) >= count


@pytest.fixture
def ray():
    """As much of Ray as tells who found a place: the first two."""
    killed = []
    return SimpleNamespace(wait=lambda asked, num_returns, timeout: (asked[:2], asked[2:]), kill=killed.append, killed=killed)


def painters(count):
    return [
        SimpleNamespace(ready=SimpleNamespace(remote=lambda number=number: f"answer {number}"), number=number)
        for number in range(count)
    ]


def test_painters_without_a_place_are_left_out_and_said(ray):
    said = []
    events = Events(lambda event, fields: said.append(fields["text"]))
    mine = painters(3)
    assert module._ready(ray, mine, events) == mine[:2] and ray.killed == [mine[2]]
    assert said == ["1 of 3 painters found no place on the cluster; the others paint without them"]
    assert module._ready(ray, mine[:2], events) == mine[:2] and len(said) == 1


def test_a_cluster_with_no_place_at_all_is_told(ray):
    ray.wait = lambda asked, num_returns, timeout: ([], asked)
    with pytest.raises(EnvironmentFault, match="no place for a painter; see `ray status`"):
        module._ready(ray, painters(2), Events())
