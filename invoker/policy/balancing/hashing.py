"""◇ Consistent hashing with bounds: an action stays where it is, except where that would be too much for an invoker."""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator
from typing import Literal

import msgspec

from invoker.policy.balancing.balancer import NOWHERE, Balancer, Indifferent
from invoker.policy.balancing.cluster import Cluster, Overflow, Request

_MASK = (1 << 64) - 1


class BoundedLoad(msgspec.Struct, frozen=True, tag="bounded-load"):
    """Consistent hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam, SODA 2018).

    From the action's place on a ring of `replicas` points an invoker, the first that would not have more than
    `bound_percent` of the mean number of activations.
    """

    bound_percent: int = 125
    replicas: int = 100

    def build(self) -> Balancer:
        """The balancer, with a state of its own."""
        return _BoundedLoad(self)


class RandomLoadUpdate(msgspec.Struct, frozen=True, tag="ch-rlu"):
    """CH-RLU: consistent hashing with random load updates (Fuerst and Sharma, HPDC 2022).

    Loads are old news when they come. So whoever sends an activation adds to the load it knows a drawn number, with a
    deviation of 0.1; a popular action is then sent on before the news is bad. The number's mean is what one activation
    takes, a core of those there are (`update` "activation"), or the action's arrivals a second for each core ("rate",
    after its published controller: what comes more often than cores and bound allow then always goes home).

    Only the `popular_percent` of actions that come most often are sent on, up to `chain` invokers along the ring; the
    first whose load is within `bound_milli` (thousandths, for each core) takes it, else the home. Who is popular is
    looked at again after `ranked_every` arrivals, and after as many as there are actions. An invoker that never reports
    has the load that this controller gave it. The draw is the sum of four pieces of the request's number, near enough
    to a normal one and made of integers.
    """

    update: Literal["activation", "rate"] = "activation"
    bound_milli: int = 1_200
    popular_percent: int = 20
    chain: int = 4
    replicas: int = 3
    actions_max: int = 20_000
    ranked_every: int = 256

    def build(self) -> Balancer:
        """The balancer, with a state of its own."""
        return _RandomLoadUpdate(self)


def spread(value: int) -> int:
    """A 64-bit number scattered over all of them (the finaliser of SplitMix64, Steele et al., OOPSLA 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & _MASK
    return value ^ value >> 31


def place_of(text: str) -> int:
    """A text's place on the ring: FNV-1a of its UTF-8 bytes, scattered."""
    value = 0xCBF29CE484222325
    for byte in text.encode("utf-8", "surrogatepass"):
        value = ((value ^ byte) * 0x100000001B3) & _MASK
    return spread(value)


class Ring:
    """Points of all invokers ever seen; those that are not usable are passed over, so that nobody's home moves for
    longer than its invoker is away. Points are made once for each invoker."""

    def __init__(self, replicas: int) -> None:
        self._replicas = max(1, replicas)
        self._points: list[tuple[int, int]] = []
        self._known = 0

    def walk(self, place: int, cluster: Cluster) -> Iterator[int]:
        """The usable invokers from the place on, each once."""
        if self._known != len(cluster.invokers):
            self._known = len(cluster.invokers)
            self._points = sorted(
                (spread(spread(index) + replica), index)
                for index in range(self._known)
                for replica in range(self._replicas)
            )
        passed: set[int] = set()
        points, invokers = self._points, cluster.invokers
        at = bisect_left(points, (place, 0))
        for turn in range(len(points)):
            index = points[(at + turn) % len(points)][1]
            if index in passed or not invokers[index].usable:
                continue
            passed.add(index)
            yield index


class _BoundedLoad(Indifferent):
    def __init__(self, spec: BoundedLoad) -> None:
        self._percent = max(100, spec.bound_percent)
        self._ring = Ring(spec.replicas)

    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        count = len(cluster.usable)
        if not count:
            return NOWHERE
        bound = -(-self._percent * (cluster.active + 1) // (100 * count))
        for index in self._ring.walk(place_of(f"{request.namespace} {request.action}"), cluster):
            if cluster.invokers[index].active < bound:
                return cluster.door(index, request)
        raise AssertionError("one of several is never above their mean")


class _Habit(msgspec.Struct):
    """How often an action comes. `gap_ns` between two arrivals, a mean that the last weighs on with 1/8; 0: it came
    once so far."""

    last_ns: int
    gap_ns: int = 0


class _RandomLoadUpdate(Indifferent):
    """`_habits` are of the actions that came last; `_gap_ns` is the longest gap of those that are popular. `_added` is
    what was added to an invoker's load since the report of that number."""

    def __init__(self, spec: RandomLoadUpdate) -> None:
        self._spec = spec
        self._ring = Ring(spec.replicas)
        self._habits: OrderedDict[str, _Habit] = OrderedDict()
        self._gap_ns = 0
        self._arrivals = 0
        self._added: dict[int, tuple[int, int]] = {}

    def place(self, now_ns: int, request: Request, cluster: Cluster) -> int | Overflow:
        name = f"{request.namespace} {request.action}"
        habit = self._arrived(now_ns, name)
        home = -1
        for number, index in enumerate(self._ring.walk(place_of(name), cluster)):
            if home < 0:
                home = index
            if number >= self._spec.chain or not 0 < habit.gap_ns <= self._gap_ns:
                break
            noise_milli = self._noise_milli(request.chance, habit, cluster.invokers[index].cores)
            if self._load_milli(index, cluster) + noise_milli <= self._spec.bound_milli:
                self._add(index, noise_milli, cluster)
                return cluster.door(index, request)
        return cluster.door(home, request) if home >= 0 else NOWHERE

    def _load_milli(self, index: int, cluster: Cluster) -> int:
        invoker = cluster.invokers[index]
        if invoker.load_milli is None:
            return 1000 * invoker.active // invoker.cores
        reports, added_milli = self._added.get(index, (-1, 0))
        return invoker.load_milli + (added_milli if reports == invoker.reports else 0)

    def _add(self, index: int, noise_milli: int, cluster: Cluster) -> None:
        reports, added_milli = self._added.get(index, (-1, 0))
        now = cluster.invokers[index].reports
        self._added[index] = (now, noise_milli + (added_milli if reports == now else 0))

    def _noise_milli(self, chance: int, habit: _Habit, cores: int) -> int:
        """What is added for one more. Four even pieces of 16 bits have a deviation of 37,837."""
        pieces = sum(chance >> shift & 0xFFFF for shift in (0, 16, 32, 48))
        by_rate = self._spec.update == "rate"
        mean_milli = 1_000_000_000_000 // (habit.gap_ns * cores) if by_rate else 1000 // cores
        return mean_milli + 100 * (pieces - 2 * 0xFFFF) // 37_837

    def _arrived(self, now_ns: int, name: str) -> _Habit:
        habit = self._habits.get(name)
        if habit is None:
            habit = self._habits[name] = _Habit(now_ns)
            if len(self._habits) > self._spec.actions_max:
                self._habits.popitem(last=False)
        else:
            gap_ns = max(1, now_ns - habit.last_ns)
            habit.gap_ns = (7 * habit.gap_ns + gap_ns) // 8 if habit.gap_ns else gap_ns
            habit.last_ns = now_ns
            self._habits.move_to_end(name)
        self._arrivals += 1
        if self._arrivals >= max(
            self._spec.ranked_every, len(self._habits)
        ):  # so the sorting costs O(log n) an arrival
            self._arrivals = 0
            gaps = sorted(habit.gap_ns for habit in self._habits.values() if habit.gap_ns)
            popular = len(gaps) * self._spec.popular_percent // 100
            self._gap_ns = gaps[max(0, popular - 1)] if gaps else 0
        return habit
