"""How numbers are written in the report."""

from __future__ import annotations

MINUS = "−"


def percent(fraction: float) -> str:
    """0.2345 -> '23.5' (the sign stands in the heading)."""
    return f"{100 * fraction:.1f}"


def points(change: float) -> str:
    """A change of a fraction in percentage points, always signed: -0.157 -> '−15.7'."""
    rounded = round_points(change)
    return "±0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", MINUS)


def round_points(change: float) -> float:
    """The change as it is displayed, so that words and marks agree with the digits beside them."""
    return round(100 * change, 1) + 0.0


def count(n: int) -> str:
    return f"{n:,}"


def count_range(values: list[int]) -> str:
    """'2,000', or '1,500–2,000' where classifiers were evaluated on different numbers of images."""
    low, high = min(values), max(values)
    return count(low) if low == high else f"{count(low)}–{count(high)}"


def listing(words: list[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
