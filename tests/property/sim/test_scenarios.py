"""Whatever stands in a scenario file, it is read, or refused in sentences that name the file; never anything else."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sim.scenario import Scenario, ScenarioError, of_settings

GOOD: dict[str, Any] = {
    "workload": {
        "type": "merged",
        "workloads": [
            {"type": "poisson", "functions": [{"name": "a/b", "rate_per_s": 1, "run": "1 s"}], "head": "1 min"},
            {"type": "modulated", "workload": {"type": "bursts", "size": 3}, "states": [{"factor": 1, "mean": "1 s"}]},
        ],
    },
    "node": {
        "cold": {"type": "gamma", "scale": "100 ms", "shape": 2},
        "failures": {"run": 0.1},
        "slowdown": [1000, 2000],
        "stock": [{"kind": "python:3", "memory": "256 MB", "count": 1}],
    },
    "policy": {"memory": "1 GB", "keep_alive": {"name": "cidre", "ttl": "1 min"}, "pausing": "never"},
    "cluster": {"nodes": [{"policy": {"memory": "2 GB"}}, {"outages": [{"at": "1 s"}]}], "balancer": {"name": "hiku"}},
    "seed": 1,
}
ODD = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(["1 s", "-1 s", "4 GB", "oracle", "docker", "1e400", "٣", "poisson", "azure2021", "nan"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["type", "name", "ns", "functions", "memory", "x"]), inner, max_size=3),
    ),
    max_leaves=4,
)


def _places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [(*path, key) for key, _ in members] + [
        place for key, value in members for place in _places(value, (*path, key))
    ]


PLACES = _places(GOOD)


def test_the_good_one_is_read() -> None:
    assert isinstance(of_settings(GOOD), Scenario)


@given(st.lists(st.tuples(st.sampled_from(PLACES), ODD), min_size=1, max_size=3))
def test_odd_settings_are_read_or_refused(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    tree = copy.deepcopy(GOOD)
    for path, value in changes:
        here: Any = tree
        try:
            for part in path[:-1]:
                here = here[part]
            here[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    _read(lambda: of_settings(tree, "odd.yaml"), "odd.yaml")


@given(st.sampled_from(PLACES), ODD)
def test_odd_alterations_are_read_or_refused(path: tuple[Any, ...], value: Any) -> None:
    name = ".".join(map(str, path))
    _read(lambda: of_settings(GOOD, "odd.yaml").altered({name: value}), name)


def _read(make: Any, named: str) -> None:
    try:
        told = str(make().name)
    except ScenarioError as error:
        told = str(error)
    assert all(named in line or "odd.yaml" in line for line in told.splitlines() if line.strip())
