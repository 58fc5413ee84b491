"""◇ From measured spans to a latency: the spans themselves, or the distribution that fits them best.

A distribution is smooth, short and easy to alter ("what if a start took half as long?"); samples assume nothing. Which
one is right is for the data to say, so the distance between the two stands beside every choice.
"""

from __future__ import annotations

import math
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sim.latency import Constant, Empirical, Exponential, Gamma, Latency, Lognormal, Weibull
from sim.profile import Fitted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Spans: TypeAlias = NDArray[np.int64]

How = Literal["best", "samples", "fitted"]
"""`samples`: what was measured. `fitted`: the distribution with the lowest BIC. `best`: that one where it passes the
Kolmogorov-Smirnov test at 5 %, else the samples."""

SAMPLES_MAX: Final = 512
"""More samples than this are thinned to it."""
FIT_SAMPLES_MAX: Final = 20_000
"""Distributions are fitted to so many at most, thinned likewise."""
CONSTANT_SPREAD: Final = 0.01
"""Spans that all lie within this share of their median are a constant."""
KS_CRITICAL: Final = 1.358
"""The test's bound is this over the root of n: the 5 % point of Kolmogorov's distribution."""
_DIGITS = 6  # of a parameter: more of them are chance, and differ from machine to machine


def choose(spans_ns: Spans, how: How = "best") -> Fitted:
    """The latency for spans (in ns, at least one, none negative), in the way `how`. The order of the spans is no
    matter, and the same spans give the same latency."""
    import numpy as np

    ordered = np.sort(spans_ns)
    middle, late = quantile(ordered, 0.5), quantile(ordered, 0.99)
    if ordered[-1] - ordered[0] <= CONSTANT_SPREAD * middle:
        return Fitted(Constant(middle), len(ordered), middle, late, 0.0 if ordered[0] == ordered[-1] else None)
    samples = _samples(ordered)
    if how == "samples":
        return Fitted(samples[0], len(ordered), middle, late, samples[1])
    fitted_to = thinned(ordered, FIT_SAMPLES_MAX)
    latency, distance = _best_distribution(fitted_to)
    if how == "best" and distance > KS_CRITICAL / math.sqrt(len(fitted_to)):
        latency, distance = samples
    return Fitted(latency, len(ordered), middle, late, distance)


def quantile(ordered: Spans, share: float) -> int:
    """The smallest span that `share` of them don't pass."""
    return int(ordered[max(0, math.ceil(share * len(ordered)) - 1)])


def thinned(ordered: Spans, most: int) -> Spans:
    """At most so many of the ordered spans, evenly over their quantiles: the j-th of m stands for the quantile
    (j + 1/2) / m, so no quantile moves by more than half a sample."""
    import numpy as np

    if len(ordered) <= most:
        return ordered
    return ordered[((np.arange(most) + 0.5) * len(ordered) / most).astype(np.int64)]


def _samples(ordered: Spans) -> tuple[Latency, float]:
    stats: Any = import_module("scipy.stats")  # it tells no types

    kept = thinned(ordered, SAMPLES_MAX)
    distance = float(stats.ks_2samp(ordered, kept, method="asymp").statistic) if len(kept) < len(ordered) else 0.0
    return Empirical(tuple(kept.tolist())), _rounded(distance)


def _best_distribution(ordered: Spans) -> tuple[Latency, float]:
    """The latency of the lowest BIC (k log n - 2 log likelihood, which takes the exponential for what it is where AIC
    finds a gamma or a Weibull a little likelier), and its KS distance."""
    import numpy as np

    stats: Any = import_module("scipy.stats")  # it tells no types

    spans = np.maximum(ordered, 1).astype(np.float64)
    unit = float(spans.mean())  # fits are best conditioned around 1
    found: list[tuple[float, str, Any]] = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        for name in ("expon", "lognorm", "weibull_min", "gamma"):
            family: Any = getattr(stats, name)
            parameters = family.fit(spans / unit, floc=0)
            likelihood = float(family.logpdf(spans / unit, *parameters).sum())
            if math.isfinite(likelihood):
                free = len(parameters) - 1  # the location is not
                found.append((free * math.log(len(spans)) - 2 * likelihood, name, parameters))
    _, name, parameters = min(found, key=lambda one: one[0])
    distance = float(stats.ks_1samp(spans / unit, getattr(stats, name)(*parameters).cdf, method="asymp").statistic)
    shape, scale_ns = _rounded(parameters[0]), _rounded(parameters[-1] * unit)
    latencies: dict[str, Latency] = {
        "expon": Exponential(scale_ns),
        "lognorm": Lognormal(scale_ns, max(shape, 1e-9)),
        "weibull_min": Weibull(scale_ns, max(shape, 1e-9)),
        "gamma": Gamma(scale_ns, max(shape, 1e-9)),
    }
    return latencies[name], _rounded(distance)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
