"""◇ One node as the world is to the heart: how long each thing takes there, and how often it fails.

Latencies are charged where the ports charge them (`invoker.ports`): a start's between Start and ContainerStarted, a
pause's, a thaw's and a removal's between their action and its event. A container is busy with an activation for its
initialisation (when it is new), its run, and the collection of its log.
"""

from __future__ import annotations

import random
from math import inf, log

import msgspec

from invoker.policy import actions as act
from invoker.policy import events as ev
from invoker.policy.types import MILLISECOND_NS, MINUTE_NS, ActivationId, ContainerId, PrewarmKey, WarmKey
from sim.errors import SimulationError
from sim.latency import Constant, Latency, Lognormal
from sim.rng import Stream, sequence
from sim.workload import SimFunction

DOCKER_SLOWDOWN = (1000, 1750, 2500, 3250, 3460, 3680, 3890, 4110)
"""What a start takes while 1, 2, ... starts are under way, in thousandths of what it takes alone: as measured with
Docker on 2 cores (177 ms alone, 575 ms each of 4, 727 ms each of 8), straight lines between."""


LOG_WAIT_NS = 500 * MILLISECOND_NS
"""How long the end of a log is awaited that doesn't come, because the run never ended by itself."""

_SHARES = ("start", "init", "run", "pause", "thaw", "remove", "hang")


class Failures(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The share of each thing that fails, from 0 to 1; `init`, `run` and `hang` spoil their container.

    `hang` is the share of runs that never answer: they end at the node's `limit_ns`, and their log LOG_WAIT_NS later.
    `deaths_per_hour`: how often a container that stands dies by itself, whatever it does (lifetimes are exponential);
    the activations inside end with it.
    """

    start: float = 0.0
    init: float = 0.0
    run: float = 0.0
    pause: float = 0.0
    thaw: float = 0.0
    remove: float = 0.0
    hang: float = 0.0
    deaths_per_hour: float = 0.0

    def __post_init__(self) -> None:
        for name in _SHARES:
            share: float = getattr(self, name)
            if not 0.0 <= share <= 1.0:
                raise ValueError(f"Failures: {name} is a share from 0 to 1, not {share}")
        if not 0.0 <= self.deaths_per_hour < inf:
            raise ValueError(f"Failures: deaths_per_hour is a finite rate from 0 on, not {self.deaths_per_hour}")


class Node(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine. Its memory is the policies' `capacity_mb`, and so is the limit of starts at a time.

    `cold`, `init` and `run` hold where a function has none of its own. `slowdown`: see DOCKER_SLOWDOWN; the last holds
    for more starts, and `()` says that starts don't slow each other down. `cpus` 0: there is CPU for all; else /init
    and /run share that many, each using one at most (processor sharing), and their latencies are those of a CPU of
    one's own. `stock`: the prewarmed containers that are wanted. `limit_ns`: the functions' time limit, at which a run
    that hangs is given up; others take as long as the workload says. The defaults were measured with a Python image.
    """

    cold: Latency = Lognormal(252e6, 0.2)
    init: Latency = Constant(1_400_000)
    run: Latency = Constant(100 * MILLISECOND_NS)
    logs: Latency = Constant(100_000)
    pause: Latency = Constant(100_000)
    thaw: Latency = Constant(60_000)
    remove: Latency = Lognormal(99e6, 0.2)
    slowdown: tuple[int, ...] = DOCKER_SLOWDOWN
    cpus: int = 0
    failures: Failures = Failures()
    stock: tuple[ev.StemCells, ...] = ()
    limit_ns: int = MINUTE_NS

    def __post_init__(self) -> None:
        if self.limit_ns <= 0:
            raise ValueError(f"Node: limit_ns is a time limit above 0, not {self.limit_ns}")
        if self.cpus < 0 or any(factor < 1 for factor in self.slowdown):
            raise ValueError("Node: cpus must not be negative, and each slowdown is a number of thousandths above 0")


class Request(msgspec.Struct, eq=False, gc=False):
    """An invocation on its way: its name in the heart, its number in the workload, its function's index, its arrival
    and the duration of its run. `cut`: its container died under it."""

    activation: ActivationId
    index: int
    function: int
    arrived_ns: int
    run_ns: int
    dispatched_ns: int = 0
    began_ns: int = -1
    kind: int = 0
    ended_ns: int = -1
    cut: bool = False


def warm_key(name: str) -> WarmKey:
    """The warm key of the function `namespace/action`; a name without a namespace is the guest's."""
    namespace, slash, action = name.partition("/")
    if not slash:
        namespace, action = "guest", name
    return WarmKey(namespace, namespace, action, "0.0.1", "1-0", "")


class Drawn:
    """A latency and the stream that it is drawn from, by number. One that never varies is not drawn."""

    __slots__ = ("_latency", "_stream", "constant_ns")

    def __init__(self, latency: Latency, seed: int, name: str) -> None:
        self._latency = latency
        self._stream = Stream(seed, name)
        self.constant_ns = latency.ns if isinstance(latency, Constant) else -1

    def at_ns(self, index: int) -> int:
        """What the thing of that number takes."""
        return self.constant_ns if self.constant_ns >= 0 else self._latency.draw(self._stream.at(index))


_HOUR_NS = 60 * MINUTE_NS
_COUNTED = ("stock", "pause", "thaw", "remove", "stock death")


class Chance:
    """Draws what happens on a node, in streams of one seed.

    What belongs to an invocation is drawn by its number: the same under any policy, and on each node of a cluster. What
    belongs to a container alone (stock, a pause, a thaw, a removal) is drawn by counting: the n-th of its kind, on the
    node called `name`. `flawless`: no /init and no run fails; `steady`: nor does a run hang or a container die;
    `constant_logs_ns`: what the collection of a log always takes, -1 where that varies.
    """

    def __init__(self, node: Node, functions: tuple[SimFunction, ...], seed: int, name: str = "") -> None:
        if len({function.name for function in functions}) != len(functions):
            raise SimulationError("two functions of the workload have the same name")
        self._node = node
        self._functions = functions
        self._seed = seed
        self._fails = node.failures
        self._run_latency = [function.run or node.run for function in functions]
        self._runs: list[random.Random | None] = [None] * len(functions)
        own = f"{name}/" if name else ""
        prefixes = {what: own if what in _COUNTED else "" for what in _SHARES}
        self._streams = {what: Stream(seed, what) for what in ("start", "init", "death")}
        self._streams["stock death"] = Stream(seed, f"{own}stock death")
        self._chances = {what: Stream(seed, f"{prefix}{what} fails") for what, prefix in prefixes.items()}
        self._logs = Drawn(node.logs, seed, "logs")
        self._stock = Drawn(node.cold, seed, f"{own}stock")
        self._pauses = Drawn(node.pause, seed, f"{own}pause")
        self._thaws = Drawn(node.thaw, seed, f"{own}thaw")
        self._removals = Drawn(node.remove, seed, f"{own}remove")
        self._counts: dict[str, int] = dict.fromkeys(_COUNTED, 0)
        self.constant_logs_ns = self._logs.constant_ns
        self.flawless = not (self._fails.init or self._fails.run)
        self.mortal = self._fails.deaths_per_hour > 0.0
        self.steady = not (self.mortal or self._fails.hang)
        self.asks = [
            (warm_key(function.name), PrewarmKey(function.kind, function.memory_mb), function.concurrency)
            for function in functions
        ]

    def run_ns(self, function: int) -> int:
        """The duration of the function's next run, to be asked in the order of the workload."""
        numbers = self._runs[function]
        if numbers is None:
            numbers = self._runs[function] = sequence(self._seed, f"run/{self._functions[function].name}")
        return self._run_latency[function].draw(numbers)

    def init_ns(self, request: Request) -> int:
        """The duration of /init, if this invocation needs one."""
        latency = self._functions[request.function].init or self._node.init
        return latency.draw(self._streams["init"].at(request.index))

    def logs_ns(self, request: Request) -> int:
        """How long the invocation's log is collected."""
        return self._logs.at_ns(request.index)

    def start(self, action: act.Start, request: Request | None) -> tuple[int, ev.AnyEvent]:
        """What a start takes on an idle machine (ns), and how it ends."""
        if request is None:
            index = self._count("stock")
            took_ns = self._stock.at_ns(index)
        else:
            index = request.index
            latency = self._functions[request.function].cold or self._node.cold
            took_ns = latency.draw(self._streams["start"].at(index))
        if self._fails.start and self._happens("start", index, self._fails.start):
            return took_ns, ev.ContainerStartFailed(action.container)
        return took_ns, ev.ContainerStarted(action.container)

    def init_fails(self, request: Request) -> bool:
        """Whether the invocation's /init fails, if it needs one."""
        return self._happens("init", request.index, self._fails.init)

    def run_fails(self, request: Request) -> bool:
        """Whether the invocation's run spoils its container."""
        return self._happens("run", request.index, self._fails.run)

    def hangs(self, request: Request) -> bool:
        """Whether the invocation's run never answers."""
        return self._happens("hang", request.index, self._fails.hang)

    def lifetime_ns(self, request: Request | None) -> int:
        """How long the container stands that was started for the invocation, or for stock, if nobody removes it."""
        if request is None:
            source = self._streams["stock death"].at(self._count("stock death"))
        else:
            source = self._streams["death"].at(request.index)
        return round(-log(1.0 - source.random()) * _HOUR_NS / self._fails.deaths_per_hour)

    def pause(self, container: ContainerId) -> tuple[int, ev.AnyEvent]:
        """What a pause takes (ns), and how it ends."""
        index = self._count("pause")
        failed = self._happens("pause", index, self._fails.pause)
        took_ns = self._pauses.at_ns(index)
        return took_ns, ev.PauseFailed(container) if failed else ev.Paused(container)

    def thaw(self, container: ContainerId) -> tuple[int, ev.AnyEvent]:
        """What a thaw takes (ns), and how it ends."""
        index = self._count("thaw")
        failed = self._happens("thaw", index, self._fails.thaw)
        took_ns = self._thaws.at_ns(index)
        return took_ns, ev.UnpauseFailed(container, "platform") if failed else ev.Unpaused(container)

    def remove(self, container: ContainerId) -> tuple[int, ev.AnyEvent]:
        """What a removal takes (ns), and how it ends."""
        index = self._count("remove")
        failed = self._happens("remove", index, self._fails.remove)
        took_ns = self._removals.at_ns(index)
        return took_ns, ev.RemoveFailed(container) if failed else ev.Removed(container)

    def _happens(self, name: str, index: int, share: float) -> bool:
        return share > 0.0 and self._chances[name].at(index).random() < share

    def _count(self, name: str) -> int:
        count = self._counts[name]
        self._counts[name] = count + 1
        return count
