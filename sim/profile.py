"""◆ A profile: how long things take on a node of yours, as measured, in a file that a person can read and alter.

`sim.fit` makes one from decision logs; a simulation takes it as its node and its functions' latencies:

    profile = load(Path("profile.yaml"))
    result = simulate(workload_of(profile.apply(functions)), profile.node(), policy, seed)
"""

from __future__ import annotations

import pathlib
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from sim.errors import SimulationError
from sim.latency import Constant, Empirical, Exponential, Gamma, Latency, Lognormal, Weibull
from sim.node import Failures, Node
from sim.workload import SimFunction

FORMAT: Final = 1
STAGES: Final = ("cold", "init", "run", "pause", "thaw", "remove")
"""What is measured, by the names of `Node`: where each begins and ends is told in `invoker.ports`."""


class Fitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A latency, and what it was made from: `n` spans, their median and 99th percentile, and `ks`, the largest
    difference between its distribution function and theirs (0 to 1; None for a constant that stands for spans that
    differ a little)."""

    latency: Latency
    n: int
    p50_ns: int
    p99_ns: int
    ks: float | None

    @property
    def words(self) -> str:
        """What was chosen, for a table."""
        match self.latency:
            case Constant():
                return "constant"
            case Empirical(samples_ns=samples):
                return f"{len(samples)} samples"
            case Exponential():
                return "exponential"
            case Lognormal(sigma=sigma):
                return f"lognormal, sigma {sigma:.2f}"
            case Weibull(shape=shape):
                return f"weibull, shape {shape:.2f}"
            case Gamma(shape=shape):
                return f"gamma, shape {shape:.2f}"


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A run of an invoker that was measured: its name in the log, its invocations, and how long it is."""

    run: str
    invocations: int
    span_s: float


class FunctionProfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A function as measured; a stage with too little data is None, and the node's own holds."""

    invocations: int
    memory_mb: int
    kind: str
    concurrency: int = 1
    cold: Fitted | None = None
    init: Fitted | None = None
    run: Fitted | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was measured. `stages` are those of STAGES for which there was anything, over all functions; `slowdown` as
    Node.slowdown, None where starts never overlapped; `logs_ns` what was taken off each run for the collection of its
    log, whose duration no decision log holds. `functions` by the names that the trace reader gives them."""

    profile: int = FORMAT
    sources: tuple[Source, ...] = ()
    stages: dict[str, Fitted] = {}
    slowdown: tuple[int, ...] | None = None
    logs_ns: int = 0
    failures: Failures = Failures()
    functions: dict[str, FunctionProfile] = {}

    def __post_init__(self) -> None:
        if unknown := [name for name in self.stages if name not in STAGES]:
            raise ValueError(f"there is no stage {unknown[0]!r}; there are {', '.join(STAGES)}")

    def node(self, base: Node | None = None) -> Node:
        """The node `base` (the default node) with everything replaced that was measured."""
        measured: dict[str, Any] = {name: fitted.latency for name, fitted in self.stages.items()}
        if self.slowdown is not None:
            measured["slowdown"] = self.slowdown
        if self.stages:
            measured["failures"] = self.failures
        if "run" in self.stages:
            measured["logs"] = Constant(self.logs_ns)
        return msgspec.structs.replace(base or Node(), **measured)

    def apply(self, functions: Iterable[SimFunction]) -> tuple[SimFunction, ...]:
        """The functions with their measured latencies; what a function says of itself stays.

        A function is found by its name, or as `namespace/action` where only one that was measured is called so.
        """
        short = Counter(_short(name) for name in self.functions)
        by_short = {_short(name): found for name, found in self.functions.items() if short[_short(name)] == 1}
        return tuple(_applied(each, self.functions.get(each.name) or by_short.get(each.name)) for each in functions)


def _short(name: str) -> str:
    """`namespace/action` of `namespace/path/action@version`."""
    parts = name.partition("@")[0].split("/")
    return f"{parts[0]}/{parts[-1]}"


def _applied(function: SimFunction, found: FunctionProfile | None) -> SimFunction:
    if found is None:
        return function
    measured = {"cold": found.cold, "init": found.init, "run": found.run}
    new = {
        stage: fitted.latency
        for stage, fitted in measured.items()
        if fitted is not None and getattr(function, stage) is None
    }
    return msgspec.structs.replace(function, **new)


def load(path: pathlib.Path) -> Profile:
    """Read a profile. Raises SimulationError, which names the file and the place in it."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SimulationError(f"the profile {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SimulationError(f"{path} is no profile: it is no text") from error
    try:
        profile = msgspec.convert(_parsed(path, text), Profile)
    except msgspec.ValidationError as error:
        raise SimulationError(f"{path} is no profile: {error}") from error
    if profile.profile != FORMAT:
        raise SimulationError(f"{path} is of format {profile.profile}; format {FORMAT} is read here")
    return profile


def save(profile: Profile, path: pathlib.Path) -> None:
    """Write a profile: JSON where the name ends in .json, else YAML. Raises SimulationError where it can't."""
    text = as_json(profile) if path.suffix == ".json" else as_yaml(profile)
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SimulationError(f"the profile {path} can't be written: {error.strerror}") from error


def as_json(profile: Profile) -> str:
    """A profile as JSON."""
    return msgspec.json.format(msgspec.json.encode(profile), indent=0 if profile.functions else 2).decode() + "\n"


def as_yaml(profile: Profile) -> str:
    """A profile as YAML: samples in rows, everything else in a line each."""
    import yaml

    return yaml.safe_dump(msgspec.to_builtins(profile), sort_keys=False, default_flow_style=None, width=112)


def _parsed(path: pathlib.Path, text: str) -> object:
    import yaml

    try:
        if path.suffix == ".json":
            return msgspec.json.decode(text)
        # libyaml's reader is 10 times as quick where it is there; both read the same.
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
    except (msgspec.DecodeError, yaml.YAMLError) as error:
        raise SimulationError(f"{path} is no profile: {error}") from error
