"""◆ The scenario that a command is given: a file, settings on the command line, or the first altered by the second."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Group, Parameter

from sim.scenario import Scenario, ScenarioError, load, of_settings

_SHORT: Final = Group("The scenario, or what is to be otherwise in it", sort_key=1)
_PATHS: Final = {
    "functions": "workload.functions",
    "rate": "workload.rate_per_s",
    "minutes": "workload.duration",
    "memory": "policy.memory",
    "keep_alive": "policy.keep_alive",
    "cpus": "node.cpus",
    "profile": "node.profile",
    "engine": "engine",
    "seed": "seed",
}
"""Each option, and the setting that it is short for."""
_WITHOUT_A_FILE: Final[dict[str, Any]] = {
    "workload": {"type": "azure-like", "functions": 200, "rate_per_s": 10, "duration": "60 min"},
    "policy": {"memory": "16 GB"},
}


@Parameter(name="*", group=_SHORT)
@dataclass(frozen=True)
class Given:
    """Settings that have an option of their own, and `--set` for all others."""

    set: Annotated[tuple[str, ...], Parameter(name="--set", negative_iterable="", show_default=False)] = ()
    """Any setting, as node.cpus=4 or policy.pausing.grace="50 ms"; may be repeated. docs/scenarios.md lists them."""
    functions: int | None = None
    """How many functions."""
    rate: float | None = None
    """Invocations a second, all functions together, on the mean."""
    minutes: float | None = None
    """How long they come."""
    memory: str | None = None
    """The node's memory for containers, as "16 GB"."""
    keep_alive: str | None = None
    """Keep-alive policy, as greedy-dual (docs/policies.md)."""
    cpus: int | None = None
    """CPUs that runs share; 0: enough for all."""
    profile: str | None = None
    """Measured latencies of a node, a file that `sim fit` wrote."""
    trace: str | None = None
    """A trace to replay, as azure2021:trace.csv: its format, and its file or directory."""
    engine: str | None = None
    """fast, or simpy: slower, and the same decisions."""
    seed: int | None = None
    """Of everything that is drawn."""

    def scenario(self, file: Path | None) -> Scenario:
        """The file's scenario, altered; without one an Azure-like hour, altered likewise. Raises ScenarioError."""
        changes = self._changes()
        if file is not None:
            return load(file).altered(changes)
        settings = {**_WITHOUT_A_FILE, **({"workload": self._trace()} if self.trace is not None else {})}
        changes.pop("workload", None)
        return of_settings(settings, "command line").altered(changes)

    def _changes(self) -> dict[str, Any]:
        changes: dict[str, Any] = {} if self.trace is None else {"workload": self._trace()}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _PATHS and value is not None:
                changes[_PATHS[field.name]] = f"{value:g} min" if field.name == "minutes" else value
        for setting in self.set:
            path, equals, text = setting.partition("=")
            if not equals or not path:
                raise ScenarioError(f"--set {setting}: is no setting; write it as node.cpus=4")
            changes[path.strip()] = parsed(text)
        return changes

    def _trace(self) -> dict[str, str]:
        form, colon, path = str(self.trace).partition(":")
        if not colon or not path:
            raise ScenarioError(f"--trace {self.trace}: write the format before it, as azure2021:{self.trace}")
        return {"type": "trace", "format": form, "path": str(Path(path).absolute())}


def parsed(text: str) -> Any:
    """The value of a setting on a command line, written as in YAML: `4`, `16 GB`, `[1, 2]`. Raises ScenarioError."""
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ScenarioError(f"{text}: is no value: {str(error).splitlines()[0]}") from error
