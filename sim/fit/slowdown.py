"""◇ How much starts slow each other down, out of starts that overlapped in all ways.

A machine on which n starts are under way works at each of them s(n) times slower than at one alone (`sim.sharing`). A
start that spent the times t(1), t(2), ... among 1, 2, ... of them has done the work t(1)/s(1) + t(2)/s(2) + ... of one
alone. That work doesn't depend on the company, so s is found where it makes the works of all starts look like draws
from one distribution: the likelihood of lognormal works, each kind of container with a median of its own, is at its
highest. The ends of the starts are what is random, given the begins; the density of an end is that of the work times
the speed just before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

LEVELS_MAX: Final = 16
"""More starts at once than this count as so many."""
ENDS_MIN: Final = 10
"""A level is measured where so many starts ended while it held; the others lie on straight lines between."""
STARTS_MAX: Final = 20_000
_SPREAD_MIN = 1e-3  # works that differ by less than this share are equal: a constant has no likelihood


class Begun(NamedTuple):
    """A start, from when to when (ns), of a kind of container; `good` where it ended well."""

    begin_ns: int
    end_ns: int
    kind: str
    good: bool


class Slowdown(NamedTuple):
    """`thousandths` as `Node.slowdown`, None where no two levels were measured; `ends` how many starts ended at each
    level, `alone` whether starts of one at a time were measured (else 1,000 stands for the lowest level that was).
    `works_ns` is what each good start takes alone, in the order given."""

    thousandths: tuple[int, ...] | None
    ends: tuple[int, ...]
    alone: bool
    works_ns: list[int]


def slowdown_of(starts: Sequence[Begun]) -> Slowdown:
    """The slowdown of starts in any order, those that failed included (they take part while they last)."""
    import numpy as np

    times, last = _times(starts)
    good = np.array([start.good for start in starts], bool)
    lasting = good & (times.sum(axis=1) > 0)
    ends = np.bincount(last[lasting], minlength=1)
    counts = tuple(int(count) for count in ends)
    knots = [level for level, count in enumerate(counts) if count >= ENDS_MIN]
    if len(knots) < 2:
        works = [start.end_ns - start.begin_ns for start in starts if start.good]
        return Slowdown(None, counts, not knots or knots[0] == 0, works)
    kinds = {kind: number for number, kind in enumerate(dict.fromkeys(start.kind for start in starts))}
    kind = np.array([kinds[start.kind] for start in starts])
    picked = np.flatnonzero(lasting)[:STARTS_MAX]
    table = _fitted(times[picked], last[picked], kind[picked], knots)
    table = np.round(table * 100) / 100  # more would be chance, and differ from machine to machine
    works_ns = np.round(times[good] @ (1 / table)).astype(np.int64).tolist()
    thousandths = tuple(round(float(factor) * 1000) for factor in table[: knots[-1] + 1])
    return Slowdown(thousandths, counts, knots[0] == 0, works_ns)


def _times(starts: Sequence[Begun]) -> tuple[Numbers, Any]:
    """For each start, how long (ns) it was one of 1, 2, ... LEVELS_MAX, and the level (from 0) at its end."""
    import numpy as np

    lasting = [(number, start) for number, start in enumerate(starts) if start.end_ns > start.begin_ns]
    edges = [(start.begin_ns, 1, number) for number, start in lasting]
    edges += [(start.end_ns, 0, number) for number, start in lasting]
    times = np.zeros((len(starts), LEVELS_MAX))
    last = np.zeros(len(starts), np.int64)
    present: dict[int, None] = {}
    before_ns = 0
    for at_ns, begins, number in sorted(edges):
        if present and at_ns > before_ns:
            level = min(len(present), LEVELS_MAX) - 1
            for each in present:
                times[each, level] += at_ns - before_ns
                last[each] = level
        before_ns = at_ns
        if begins:
            present[number] = None
        else:
            del present[number]
    return times, last


def _fitted(times: Numbers, last: Any, kind: Any, knots: list[int]) -> Numbers:
    """s of each level: rising from 1 at the lowest knot, straight between knots, level beyond."""
    import numpy as np

    optimize: Any = import_module("scipy.optimize")  # it tells no types

    levels = np.arange(LEVELS_MAX)
    sizes = np.bincount(kind).astype(np.float64)

    def table(rises: Numbers) -> Numbers:
        return np.interp(levels, knots, 1.0 + np.concatenate(([0.0], np.cumsum(rises))))

    def unlikelihood(rises: Numbers) -> float:
        slow = table(rises)
        works = np.log(np.maximum(times @ (1 / slow), 1.0))
        medians = np.bincount(kind, works) / np.maximum(sizes, 1)
        spread = np.sqrt(np.mean((works - medians[kind]) ** 2)) + _SPREAD_MIN
        return float(np.log(spread) + np.mean(works) + np.mean(np.log(slow[last])))

    steps = np.diff(knots)
    found = optimize.minimize(
        unlikelihood,
        0.5 * steps,
        method="L-BFGS-B",
        bounds=[(0.0, 8.0 * float(step)) for step in steps],
        options={"ftol": 1e-12},
    )
    return table(found.x)
