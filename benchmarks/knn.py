"""k-NN of a million images against all of ImageNet's: `python benchmarks/knn.py`.

1,281,167 features of 512 in the bank, k = 1000, and a million queries, of which a few thousand are measured: every chunk of
queries meets the whole bank, so memory is that of the million, and time is extrapolated. Random features: for time and
memory, not for meaning. Writes benchmarks/results/knn.json.
"""

import resource
from pathlib import Path
from statistics import median

import psutil
import torch
from timing import timed

from dogfast.detection.scores.knn import NEIGHBOURS_OF_MORE
from dogfast.environment import hardware
from dogfast.numerics.neighbours import kth_unit_distances, planned_bytes
from dogfast.run import publish, to_json, versions

RESULT = Path(__file__).parent / "results" / "knn.json"
BANK, WIDTH, K, QUERIES = 1_281_167, 512, NEIGHBOURS_OF_MORE, 1_000_000
MEASURED, ROUNDS = 1024, 5
"""Queries of a round."""
CHECKED = 50
"""Queries whose distances are compared with float64."""
ROWS = 2**14


def main() -> None:
    planned = planned_bytes(QUERIES, BANK, WIDTH, K)
    print(f"planned beyond bank ({4 * BANK * WIDTH / 2**30:.2f} GiB) and queries: {planned / 2**30:.2f} GiB", flush=True)
    bank, queries = features(BANK, seed=0), features(ROUNDS * MEASURED, seed=1)
    held = psutil.Process().memory_info().rss
    found: list[torch.Tensor] = []
    seconds = [timed(lambda some=some: found.append(kth_unit_distances(some, bank, K))) for some in queries.split(MEASURED)]
    beyond = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held
    result = {
        "bank": BANK,
        "width": WIDTH,
        "k": K,
        "queries": QUERIES,
        "bank_gib": 4 * bank.numel() / 2**30,
        "planned_gib": planned / 2**30,
        "measured_gib": beyond / 2**30,
        "measured_queries": len(queries),
        "seconds_a_query": median(seconds) / MEASURED,
        "fastest": min(seconds) / MEASURED,
        "slowest": max(seconds) / MEASURED,
        "extrapolated_h": QUERIES * median(seconds) / MEASURED / 3600,
        "tflop": 2 * QUERIES * BANK * WIDTH / 1e12,
        "checked": CHECKED,
        "largest_difference_to_brute_force": difference(queries[:CHECKED], bank, found[0][:CHECKED]),
    }
    publish(RESULT, to_json(result | {"hardware": hardware("fp32"), "versions": versions()}))


def features(count: int, seed: int) -> torch.Tensor:
    """Non-negative features of length 1, (count, WIDTH), made where they lie."""
    found = torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(seed)).relu_()
    for rows in found.split(ROWS):
        rows /= rows.norm(dim=1, keepdim=True)
    return found


def difference(queries: torch.Tensor, bank: torch.Tensor, found: torch.Tensor) -> float:
    """The largest difference of ``found`` to sorting all distances in float64."""
    products = torch.cat([queries.double() @ rows.double().T for rows in bank.split(ROWS)], dim=1)
    squares = torch.cat([rows.double().square().sum(1) for rows in bank.split(ROWS)])
    exact = (queries.double().square().sum(1, keepdim=True) + squares - 2 * products).sort(dim=1).values[:, K - 1].sqrt()
    return float((exact - found.double()).abs().max())


if __name__ == "__main__":
    main()
