"""◇ How near a drawn population comes to what was published: the Kolmogorov-Smirnov distance to each marginal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from sim.generator import marginals
from sim.generator.population import Drawn


class Fit(msgspec.Struct, frozen=True):
    """One line of the table: the largest difference between the shares drawn and published, and of how many values."""

    marginal: str
    values: int
    distance: float


def distance(values: Sequence[float], marginal: marginals.Marginal) -> float:
    """The Kolmogorov-Smirnov distance. Values at an atom of the marginal count at its upper end only."""
    counted = sorted(Counter(values).items())
    worst, below = 0.0, 0
    for value, times in counted:
        share = marginal.cdf(value)
        under = marginal.cdf(value * (1 - 1e-12) - 1e-300)
        worst = max(worst, abs((below + times) / len(values) - share), abs(below / len(values) - under))
        below += times
    return worst


def fits(drawn: Sequence[Drawn]) -> tuple[Fit, ...]:
    """The table of a population: each published marginal, in the order of docs/traces.md."""
    apps: dict[int, list[Drawn]] = {}
    for one in drawn:
        apps.setdefault(one.app, []).append(one)
    total = sum(one.per_day for one in drawn)
    sizes = [len(members) for members in apps.values()]
    by_functions = Counter(one.trigger for one in drawn)
    by_load: Counter[str] = Counter()
    for one in drawn:
        by_load[one.trigger] += one.per_day  # type: ignore[assignment]
    triggers = marginals.TRIGGERS.items()
    return (
        Fit(
            "invocations a day of a function",
            len(drawn),
            distance([one.per_day for one in drawn], marginals.FUNCTION_PER_DAY),
        ),
        Fit(
            "invocations a day of an app",
            len(apps),
            distance([sum(one.per_day for one in members) for members in apps.values()], marginals.APP_PER_DAY),
        ),
        Fit("mean run of a function", len(drawn), distance([one.run_s for one in drawn], marginals.RUN_S)),
        Fit(
            "memory of an app",
            len(apps),
            distance([members[0].memory_mb for members in apps.values()], marginals.APP_MEMORY_MB),
        ),
        Fit(
            "functions of an app",
            len(apps),
            max(
                abs(sum(size <= high for size in sizes) / len(sizes) - marginals.app_size_cdf(high))
                for _, high, _ in marginals.APP_SIZES
            ),
        ),
        Fit("cv of an app's gaps", len(apps), distance([_cv(members) for members in apps.values()], marginals.GAP_CV)),
        Fit(
            "triggers of functions",
            len(drawn),
            max(abs(by_functions[name] / len(drawn) - share) for name, (share, _) in triggers),
        ),
        Fit(
            "triggers of invocations",
            len(drawn),
            max(abs(by_load[name] / total - share) for name, (_, share) in triggers),
        ),
    )


def _cv(members: Sequence[Drawn]) -> float:
    """Of the function that leads the app, and so makes nearly all its gaps."""
    return next(one.gap_cv for one in members if one.leads)


def table(rows: Sequence[Fit]) -> str:
    """The fits as lines for people."""
    lines = [f"{'marginal':<34}{'values':>8}{'distance':>10}"]
    return "\n".join(lines + [f"{row.marginal:<34}{row.values:>8}{row.distance:>10.4f}" for row in rows])
