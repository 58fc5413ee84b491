"""◇ A cloud's functions and apps, drawn so that each published marginal is met.

Values are taken at evenly spread, jittered shares of each distribution (stratified), so that even a few hundred
functions are like the whole. Rates of functions and of apps are both published: each app gets a leading function with
about the app's rate, and its others are so much rarer that the sum stays the app's.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec

from sim.generator import marginals
from sim.rng import sequence
from sim.traces.trace import TraceFunction

TIMER_PER_DAY_MAX = 86_400.0
"""No timer fires more than once a second."""
FUNCTIONS_MAX = 1_000_000
_BUSY_SHARE = 0.02
"""The busiest functions, which have nearly all invocations, and so decide the triggers' shares of them."""
_ROUNDS = 4
_LEAST_PER_DAY = 0.3
"""What a function of an app of several is taken to need of its app's rate."""
_LEADS_LEAST = 0.1
"""The least share of its app's rate that a leader is sought for."""


class Drawn(msgspec.Struct, frozen=True, kw_only=True):
    """One function: how it is called and how it runs. `gap_cv`: of the gaps of its app. `leads`: its app's busiest."""

    app: int
    per_day: float
    run_s: float
    memory_mb: int
    trigger: str
    gap_cv: float
    leads: bool

    @property
    def swings(self) -> bool:
        """Whether its load follows the hour of the day; a timer's does not."""
        return self.trigger != "timer"


class _App(msgspec.Struct):
    size: int
    gap_cv: float = 0.0
    memory_mb: int = 0
    rates: list[float] = msgspec.field(default_factory=list[float])


def draw(functions: int, seed: int) -> tuple[Drawn, ...]:
    """So many functions, app by app. Raises ValueError beyond 1..FUNCTIONS_MAX."""
    if not 1 <= functions <= FUNCTIONS_MAX:
        raise ValueError(f"a population has 1 to {FUNCTIONS_MAX} functions, not {functions}")
    apps = [_App(size) for size in _sizes(functions, seed)]
    _share_rates(apps, functions, seed)
    memory = _stratified(len(apps), seed, "memory", marginals.APP_MEMORY_MB.quantile)
    for app, megabytes in zip(apps, memory, strict=True):
        app.memory_mb = max(1, round(megabytes))
    _vary(apps, seed)
    runs_s = _stratified(functions, seed, "run", marginals.RUN_S.quantile)
    triggers = _triggers(apps, seed)
    drawn: list[Drawn] = []
    for at, app in enumerate(apps):
        for place, per_day in enumerate(app.rates):
            trigger = triggers[len(drawn)]
            drawn.append(
                Drawn(
                    app=at,
                    per_day=per_day,
                    run_s=runs_s[len(drawn)],
                    memory_mb=app.memory_mb,
                    trigger=trigger,
                    gap_cv=0.0 if trigger == "timer" else app.gap_cv,
                    leads=place == 0,
                )
            )
    return tuple(drawn)


def named(drawn: tuple[Drawn, ...]) -> tuple[TraceFunction, ...]:
    """The same as a workload's functions, named owner/app/function; an owner for each app."""
    return tuple(
        TraceFunction(
            name=f"owner{one.app:06d}/app{one.app:06d}/function{at:06d}", memory_mb=one.memory_mb, trigger=one.trigger
        )
        for at, one in enumerate(drawn)
    )


def _stratified(count: int, seed: int, name: str, quantile: Callable[[float], float]) -> list[float]:
    """`count` values, one from each of as many equal shares of the distribution, in random order.

    To 10 digits: C libraries differ in the last bit of a logarithm, and what follows should not.
    """
    source = sequence(seed, f"generator/{name}")
    shares = [(at + source.random()) / count for at in range(count)]
    source.shuffle(shares)
    return [float(f"{quantile(min(max(share, 1e-12), 1 - 1e-12)):.10g}") for share in shares]


def _sizes(functions: int, seed: int) -> list[int]:
    """Sizes of apps that add up to the functions; what doesn't fit is given to or taken from the largest."""
    mean = sum(marginals.app_size((at + 0.5) / 10_000) for at in range(10_000)) / 10_000
    count = max(1, round(functions / mean))
    sizes = [int(size) for size in _stratified(count, seed, "sizes", marginals.app_size)]
    by_size = sorted(range(count), key=lambda at: (-sizes[at], at))[: max(1, count // 50)]
    surplus = sum(sizes) - functions
    at = 0
    while surplus:
        app = by_size[at % len(by_size)]
        if surplus < 0 or sizes[app] > 1:
            step = 1 if surplus > 0 else -1
            sizes[app] -= step
            surplus -= step
        at += 1
    return sizes


def _share_rates(apps: list[_App], functions: int, seed: int) -> None:
    """Give each app its rates, the leading function's first; apps' sums follow the apps' distribution.

    An app's leader should have what the others leave of the app's rate, and the others depend on which functions lead:
    a few rounds settle it.
    """
    rates = sorted(_stratified(functions, seed, "function rates", marginals.FUNCTION_PER_DAY.quantile), reverse=True)
    wanted = _stratified(len(apps), seed, "app rates", marginals.APP_PER_DAY.quantile)
    _lift(apps, wanted, seed)
    slots_of = sorted(range(len(apps)), key=lambda app: (-wanted[app], app))
    slots = [app for app in slots_of for _ in range(apps[app].size - 1)]
    left = list(wanted)
    leaders: list[float] = []
    others: list[float] = []
    order: list[int] = []
    for _ in range(_ROUNDS):
        order = sorted(range(len(apps)), key=lambda app: (-left[app], app))
        leaders, others = _leaders(rates, [left[app] for app in order])
        left = list(wanted)
        for app, rate in zip(slots, others, strict=True):
            left[app] -= rate
        left = [max(rest, rate * _LEADS_LEAST) for rest, rate in zip(left, wanted, strict=True)]
    for app, rate in [*zip(order, leaders, strict=True), *zip(slots, others, strict=True)]:
        apps[app].rates.append(rate)
    for app in apps:
        app.rates.sort(reverse=True)


def _lift(apps: list[_App], wanted: list[float], seed: int) -> None:
    """Exchange rates so that no app wants less than its many functions, rare as they are, must add up to."""
    single = [at for at, app in enumerate(apps) if app.size == 1]
    sequence(seed, "generator/lift").shuffle(single)
    for at, app in enumerate(apps):
        least = app.size * _LEAST_PER_DAY
        while app.size > 1 and wanted[at] < least and single:
            other = single.pop()
            if wanted[other] >= least:
                wanted[at], wanted[other] = wanted[other], wanted[at]


def _leaders(rates: list[float], wanted: list[float]) -> tuple[list[float], list[float]]:
    """For each wanted rate (falling) the next of the rates (falling) that is not above it, and the rates not taken."""
    taken: list[float] = []
    others: list[float] = []
    at = 0
    for rank, rate in enumerate(wanted):
        while rates[at] > rate and len(rates) - at > len(wanted) - rank:
            others.append(rates[at])
            at += 1
        taken.append(rates[at])
        at += 1
    return taken, others + rates[at:]


def _vary(apps: list[_App], seed: int) -> None:
    """Give each app the variation of its gaps: none to apps of one function that a timer may call."""
    values = sorted(_stratified(len(apps), seed, "gap cv", marginals.GAP_CV.quantile))
    source = sequence(seed, "generator/gap cv order")
    order = list(range(len(apps)))
    source.shuffle(order)
    order.sort(key=lambda at: (apps[at].size > 1, apps[at].rates[0] > TIMER_PER_DAY_MAX))
    regular = sum(value == 0.0 for value in values)
    rest = order[regular:]
    source.shuffle(rest)
    for app, value in zip(order[:regular] + rest, values, strict=True):
        apps[app].gap_cv = value


def _triggers(apps: list[_App], seed: int) -> list[str]:
    """A trigger for each function, app by app, so that both published shares are met.

    Regular apps are called by timers. Then the busiest functions, which have nearly all invocations, go to the trigger
    that most lacks them; the rest fill up the numbers of functions.
    """
    owner = [app for app in apps for _ in app.rates]
    rates = [rate for app in apps for rate in app.rates]
    leads = [place == 0 for app in apps for place in range(len(app.rates))]
    total = sum(rates)
    lacking = {name: round(share * len(rates)) for name, (share, _) in marginals.TRIGGERS.items()}
    lacking["http"] += len(rates) - sum(lacking.values())
    load = {name: share * total for name, (_, share) in marginals.TRIGGERS.items()}
    chosen = [""] * len(rates)

    def give(function: int, trigger: str) -> None:
        chosen[function] = trigger
        lacking[trigger] -= 1
        load[trigger] -= rates[function]

    for function, app in enumerate(owner):
        if app.gap_cv == 0.0 and rates[function] <= TIMER_PER_DAY_MAX and lacking["timer"] > 0:
            give(function, "timer")
    busiest = sorted((at for at in range(len(rates)) if not chosen[at]), key=lambda at: (-rates[at], at))
    busy = max(1, round(_BUSY_SHARE * len(rates)))
    for function in busiest[:busy]:
        timer_may = rates[function] <= TIMER_PER_DAY_MAX and not leads[function]
        names = [name for name, left in lacking.items() if left > 0 and (name != "timer" or timer_may)]
        give(function, max(names or ["http"], key=lambda name: load[name]))
    _fill(busiest[busy:], leads, lacking, chosen, sequence(seed, "generator/triggers"))
    return chosen


def _fill(
    rest: list[int], leads: list[bool], lacking: dict[str, int], chosen: list[str], source: random.Random
) -> None:
    """Deal out what is lacking; timers to functions that lead no app, as far as there are such."""
    source.shuffle(rest)
    rest.sort(key=lambda function: leads[function])
    timers = max(0, lacking["timer"])
    for function in rest[:timers]:
        chosen[function] = "timer"
    rest = rest[timers:]
    deal = [name for name, left in lacking.items() if name != "timer" for _ in range(max(0, left))]
    source.shuffle(deal)
    for function, trigger in zip(rest, deal, strict=False):
        chosen[function] = trigger
    for function in rest[len(deal) :]:
        chosen[function] = "http"
