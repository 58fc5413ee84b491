"""◆ Scenarios: a simulation as a file, which a person reads and alters, and a program loads, alters and runs.

    scenario = load("day.yaml")
    result = scenario.altered({"policy.memory": "8 GB"}).simulate(seed=2)

docs/scenarios.md lists the settings. `document` reads the files and knows the lines, `reading` turns settings into
objects by the objects' types, `workloads` has what can be simulated.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_args

import msgspec
from msgspec import inspect

from invoker.policy import PolicySet, policyset
from invoker.policy.keepalive import Oracle
from sim import Cluster, Engine, Node, Result, SimulationError, Workload, simulate, simulate_cluster
from sim.profile import Profile
from sim.profile import load as load_profile
from sim.scenario.document import Document, ScenarioError, Tree, read
from sim.scenario.reading import BAD, Reader
from sim.scenario.workloads import AnyWorkload

if TYPE_CHECKING:
    from sim.traces import CleaningReport

__all__ = ["Scenario", "ScenarioError", "load", "of_settings"]

SETS: Final[dict[str, Callable[[int], PolicySet]]] = {"default": policyset.default, "reference": policyset.reference}
"""The policy sets to begin with, by name."""
TOP: Final = ("workload", "node", "policy", "cluster", "seed", "engine")
"""The parts of a scenario."""

Changed = TypeVar("Changed")


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A simulation that can be run: what `sim.simulate` takes, and the settings that it was made of.

    `cluster` None: a single node; else `node` and `policy` are those of each of its nodes that has none of its own.
    `profile` is the measured one that `node` came from, None without one; its functions' latencies are put into the
    workload. `document` holds the settings as they were written.
    """

    workload: AnyWorkload
    node: Node
    policy: PolicySet
    cluster: Cluster | None = None
    seed: int = 0
    engine: Engine = "fast"
    profile: Profile | None = None
    document: Document

    @property
    def name(self) -> str:
        """The file, or what else it came from."""
        return self.document.name

    @property
    def settings(self) -> Tree:
        """The settings as they were written, changes included; plain values, as in JSON."""
        return self.document.tree

    def as_yaml(self) -> str:
        """The settings as a scenario file."""
        import yaml

        return yaml.safe_dump(self.settings, sort_keys=False, allow_unicode=True, width=100)

    def altered(self, changes: Mapping[str, Any]) -> Scenario:
        """The scenario with other values at dotted paths: `policy.memory`, `policy.keep_alive.name`, `node.cpus`,
        `workload.functions.0.rate_per_s`. A value may be text with a unit, as in a file. Another `name` or `type` takes
        the settings that belonged to the old one away. Raises ScenarioError as `load` does."""
        return _made(self.document.altered(changes)) if changes else self

    def build(self, seed: int | None = None) -> Workload:
        """The workload that `simulate(seed)` runs. Making it may take time (a trace is read): it can be handed to
        several simulations. Raises SimulationError or TraceError."""
        return self.read(seed)[0]

    def read(self, seed: int | None = None) -> tuple[Workload, CleaningReport | None]:
        """The same, and what the reader of a trace changed; None where nothing was read."""
        workload, report = self.workload.read(self.seed if seed is None else seed, self.document.directory)
        if self.profile is None:
            return workload, report
        from sim.scenario.views import Recast

        return Recast(workload, self.profile.apply(workload.functions)), report

    def simulate(
        self,
        seed: int | None = None,
        *,
        workload: Workload | None = None,
        passed: Callable[[int], bool] | None = None,
        **options: Any,
    ) -> Result:
        """Run it; None is the scenario's own seed. `workload` is what `build(seed)` gave, where that is at hand.
        `passed` is told the simulated instant (ns) every few hundred invocations, and ends the workload there by False.
        `options` are those of `sim.simulate` (`sim.simulate_cluster`). Raises SimulationError or TraceError."""
        from sim.scenario.views import Watched, foreseeing  # numpy

        seed = self.seed if seed is None else seed
        fed = self.build(seed) if workload is None else workload
        policy = self.policy if self.cluster is not None else foreseeing(self.policy, fed)
        if passed is not None:
            fed = Watched(fed, passed)
        options.setdefault("engine", self.engine)
        if self.cluster is not None:
            return simulate_cluster(fed, self.cluster, policy, seed, node=self.node, **self._of_clusters(options))
        return simulate(fed, self.node, policy, seed, **options)

    def _of_clusters(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options that a cluster has. Raises SimulationError at one that it hasn't, or at the oracle."""
        kept = {"engine", "hashing"}
        if wished := [name for name, value in options.items() if value and name not in kept]:
            raise SimulationError(f"a cluster is simulated without {', '.join(wished)}")
        if isinstance(self.policy.keep_alive, Oracle):
            raise SimulationError(
                "the oracle knows the future of a single node: take another keep_alive, or no cluster"
            )
        return {name: value for name, value in options.items() if name in kept}


def load(path: str | pathlib.Path) -> Scenario:
    """The scenario of a file (.yaml, .yml, .toml or .json). Raises ScenarioError, whose text names everything that is
    wrong with it, a line for each, as `file:line: setting: what is wrong, and what to do`."""
    return _made(read(pathlib.Path(path)))


def of_settings(settings: Mapping[str, Any], name: str = "settings", directory: str | pathlib.Path = "") -> Scenario:
    """The scenario of settings that are at hand, as a file would hold them. Raises ScenarioError."""
    return _made(Document(name, dict(settings), directory=str(directory)))


def _made(document: Document) -> Scenario:
    reader = Reader(document)
    tree = document.tree
    for key in tree:
        if key not in TOP:
            reader.unknown((key,), TOP)
    if "workload" not in tree:
        reader.problem((), "workload is missing; the smallest is `workload: poisson`", name="")
        workload: Any = BAD
    else:
        workload = reader.value(inspect.type_info(AnyWorkload), tree["workload"], ("workload",))
    node, profile = _node(reader, tree.get("node"), document)
    policy = _policy(reader, tree.get("policy"))
    seed = reader.value(inspect.IntType(), tree.get("seed", 0), ("seed",))
    engine = reader.value(inspect.LiteralType(get_args(Engine)), tree.get("engine", "fast"), ("engine",))
    reader.bases = {  # one that is wrong has been told, and does no harm
        Node: Node() if node is BAD else node,
        PolicySet: policyset.default(0) if policy is BAD else policy,
    }
    cluster: Any = None
    if tree.get("cluster") is not None:
        cluster = reader.struct(Cluster, tree["cluster"], ("cluster",))
    reader.close()
    return Scenario(
        workload=workload,
        node=node,
        policy=policy,
        cluster=cluster,
        seed=seed,
        engine=engine,
        profile=profile,
        document=document,
    )


def _node(reader: Reader, value: Any, document: Document) -> tuple[Any, Profile | None]:
    """The node, over the measured one that a profile tells of, which is the second value."""
    profile: Profile | None = None
    base = Node()
    given: Any = {} if value is None else reader.given(Node, value, ("node",), base, beside=("profile",))
    path = cast("Tree", value).get("profile") if isinstance(value, dict) else None
    if path is not None:
        try:
            profile = load_profile(document.directory / str(path))
            base = profile.node()
        except SimulationError as error:
            reader.problem(("node", "profile"), f": {error}")
    return _replaced(reader, base, given, ("node",)), profile


def _policy(reader: Reader, value: Any) -> Any:
    """The policy set of the given name with what is set otherwise."""
    missing = "policy.memory is missing: the node's memory for containers, as 16 GB"
    if not isinstance(value, dict):
        return reader.problem(() if value is None else ("policy",), missing, name="")
    tree = cast("Tree", value)
    name = tree.get("set", "default")
    base = SETS.get(name, policyset.default)(0)
    made = _replaced(reader, base, reader.given(PolicySet, tree, ("policy",), base, beside=("set",)), ("policy",))
    if name not in SETS:
        return reader.problem(("policy", "set"), f"is {name!r}; it can be {', '.join(SETS)}")
    if not {"memory", "memory_mb"} & tree.keys():
        return reader.problem(("policy",), missing, name="")
    if made is not BAD and made.capacity_mb <= 0:
        return reader.problem(("policy", "memory_mb"), f"is {made.capacity_mb} MB, which no container fits into")
    return made


def _replaced(reader: Reader, base: Changed, given: Any, path: tuple[str, ...]) -> Changed | Any:
    if given is BAD:
        return BAD
    try:
        made = msgspec.structs.replace(cast(Any, base), **given)
    except ValueError as error:
        return reader.problem(path, f": {str(error).partition(': ')[2] or error}")
    return made
