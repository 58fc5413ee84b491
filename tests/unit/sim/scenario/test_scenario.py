"""A scenario file is read whole or refused with every mistake named, by line and with a remedy; it can be altered."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from invoker.policy import policyset
from invoker.policy.balancing import PowerOfChoices
from invoker.policy.events import Reactive, StemCells
from invoker.policy.keepalive import FixedTtl, GreedyDual, LruTtl, Oracle
from invoker.policy.pausing import FixedGrace
from invoker.policy.types import MILLISECOND_NS, MINUTE_NS, SECOND_NS, PrewarmKey
from sim import ClusterResult, Node, SimulationError
from sim.latency import Constant, Empirical, Exponential, Lognormal
from sim.node import DOCKER_SLOWDOWN
from sim.scenario import Scenario, ScenarioError, load, of_settings
from sim.scenario.workloads import AzureLike

YAML = """\
# a comment
workload:
  type: azure-like
  functions: 20
  duration: 30 min
  rate_per_s: 3
node:
  cold: 250 ms
  init:
    type: lognormal
    median: 1.5 ms
    sigma: 0.2
  slowdown: none
  failures: {run: 0.01}
  stock:
    - {kind: "nodejs:20", memory: 512 MB, count: 2}
policy:
  memory: 4 GB
  keep_alive:
    name: fixed-ttl
    ttl: 20 min
  pausing: {name: fixed, grace: 50 ms}
  queueing: sjf
  wait_limit: 30 s
  starts_max: 2
seed: 3
"""
TOML = """\
seed = 3
[workload]
type = "azure-like"
functions = 20
duration = "30 min"
rate_per_s = 3
[node]
cold = "250 ms"
init = {type = "lognormal", median = "1.5 ms", sigma = 0.2}
slowdown = "none"
failures.run = 0.01
[[node.stock]]
kind = "nodejs:20"
memory = "512 MB"
count = 2
[policy]
memory = "4 GB"
queueing = "sjf"
wait_limit = "30 s"
starts_max = 2
[policy.keep_alive]
name = "fixed-ttl"
ttl = "20 min"
[policy.pausing]
name = "fixed"
grace = "50 ms"
"""
SMALL: dict[str, Any] = {
    "workload": {"type": "poisson", "duration": "20 s", "rate_per_s": 20},
    "policy": {"memory": "1 GB"},
}


def _load(directory: Path, text: str, name: str = "day.yaml") -> Scenario:
    (directory / name).write_text(text, "utf-8")
    return load(directory / name)


def _mistakes(directory: Path, text: str, name: str = "day.yaml") -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        _load(directory, text, name)
    return str(caught.value).replace(f"{directory}/", "").split("\n")


def _objects(scenario: Scenario) -> tuple[object, ...]:
    return scenario.workload, scenario.node, scenario.policy, scenario.seed, scenario.engine


def test_settings_become_the_simulators_own_objects(tmp_path: Path) -> None:
    scenario = _load(tmp_path, YAML)
    assert scenario.workload == AzureLike(functions=20, duration_s=1800, rate_per_s=3)
    assert scenario.node.cold == Constant(250 * MILLISECOND_NS)
    assert scenario.node.init == Lognormal(1.5 * MILLISECOND_NS, 0.2)
    assert scenario.node.slowdown == ()
    assert scenario.node.failures.run == 0.01
    assert scenario.node.stock == (StemCells(PrewarmKey("nodejs:20", 512), 2),)
    assert scenario.policy.capacity_mb == 4096
    assert scenario.policy.keep_alive == FixedTtl(20 * MINUTE_NS)
    assert scenario.policy.pausing == FixedGrace(50 * MILLISECOND_NS)
    assert scenario.policy.wait_limit_ns == 30 * SECOND_NS
    assert scenario.policy.starts_max == 2
    assert scenario.seed == 3


def test_three_formats_say_the_same(tmp_path: Path) -> None:
    from_yaml = _load(tmp_path, YAML)
    from_toml = _load(tmp_path, TOML, "day.toml")
    from_json = _load(tmp_path, json.dumps(from_yaml.settings, indent="\t"), "day.json")
    again = _load(tmp_path, from_yaml.as_yaml(), "again.yml")
    assert _objects(from_yaml) == _objects(from_toml) == _objects(from_json) == _objects(again)


def test_what_is_not_set_is_the_default() -> None:
    scenario = of_settings({"workload": "azure-like", "policy": {"memory_mb": 2048}})
    assert scenario.policy == policyset.default(2048)
    assert scenario.node == Node()
    reference = of_settings({"workload": "azure-like", "policy": {"memory": "2 GB", "set": "reference"}})
    assert reference.policy == policyset.reference(2048)


def test_a_policys_parameters_without_its_name_are_the_sets_own_policys() -> None:
    settings = {"workload": "poisson", "policy": {"memory": "2 GB", "set": "reference", "keep_alive": {"ttl": "5 min"}}}
    assert of_settings(settings).policy.keep_alive == LruTtl(ttl_ns=5 * MINUTE_NS, tick_ns=MINUTE_NS)
    assert of_settings(settings | {"node": {"cold": {"median": "1 s"}}}).node.cold == Lognormal(1e9, 0.2)


def test_every_mistake_is_told_with_its_line_and_a_remedy(tmp_path: Path) -> None:
    text = """\
workload:
  type: azurelike
node:
  cold: 250
  cpu: 4
  init: {type: lognormal, median: 1 ms, sigma: -1}
  run:
    type: empirical
    samples: [1 ms, soon]
  failures: {run: 2}
  logs: 1 parsec
  thaw: {type: gamma, scale: 1 ms}
  cpus: two
policy:
  memory: 4.5 GB
  keep_alive:
    name: fixed-ttl
    tl: 10 min
  set: quick
sed: 3
engine: warp
"""
    assert _mistakes(tmp_path, text) == [
        "day.yaml:2: workload.type is 'azurelike', which there is not; did you mean azure-like?",
        "day.yaml:4: node.cold is 250 without a unit; write it as 250 ms, say",
        "day.yaml:5: node.cpu: no such setting; did you mean cpus?",
        "day.yaml:6: node.init: sigma must be positive and finite, not -1.0",
        "day.yaml:9: node.run.samples.1 is 'soon', and wants a span of time: a number and ms, s, min, h or d",
        "day.yaml:10: node.failures: run is a share from 0 to 1, not 2.0",
        "day.yaml:11: node.logs is '1 parsec', and wants a span of time: a number and ms, s, min, h or d",
        "day.yaml:12: node.thaw: shape is missing",
        "day.yaml:13: node.cpus is 'two', and wants a whole number",
        "day.yaml:15: policy.memory '4.5 GB' is no byte size: a fraction is not allowed; an example is 256 MB",
        "day.yaml:18: policy.keep_alive.tl: no such setting; did you mean ttl?",
        "day.yaml:19: policy.set is 'quick'; it can be default, reference",
        "day.yaml:20: sed: no such setting; did you mean seed?",
        "day.yaml:21: engine is 'warp'; it can be fast, simpy",
    ]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("policy: {set: reference}", "policy.memory is missing: the node's memory for containers, as 16 GB"),
        ("policy: {memory: 4 GB, memory_mb: 5}", "policy.memory_mb is set twice: memory and memory_mb are one"),
        ("policy: {memory: 0}", "policy.memory_mb is 0 MB, which no container fits into"),
        ("policy: {memory: 4096}", "policy.memory is 4096 without a unit; write it as 4096 GB, say"),
        ("policy: {memory: 1 GB, keep_alive: gdsf}", "policy.keep_alive is 'gdsf', which there is not; there are "),
        ("policy: {memory: 4 GB, queue_limit: true}", "policy.queue_limit is true, and wants a whole number"),
        ("policy: {memory: 1 GB, keep_alive: {ttl_ns: -1}}", "policy.keep_alive.ttl_ns is -1, and must be at least 0"),
        ("policy: 4 GB", "policy.memory is missing: the node's memory for containers, as 16 GB"),
        ("policy: {memory: 4 GB, keep_alive: 3}", "policy.keep_alive is 3, which there is not; there are lru-ttl,"),
        ("node: fast", "node is 'fast', and wants settings of its own"),
        ("node: {stock: 3}", "node.stock is 3, and wants a list, as [a, b]"),
        ("node: {profile: none.yaml}", "node.profile: the profile"),
        ("workload: {type: poisson, rate_per_s: 5 min}", "workload.rate_per_s is '5 min', and wants a number"),
        ("workload: {type: poisson, rate_per: 5}", "workload.rate_per: no such setting; did you mean rate_per_s?"),
        ("seed: 1.5", "seed is 1.5, and wants a whole number"),
        ("node: {cpus: 1, cpus: 2}", "node.cpus is set on line 1, too"),
        ("node: {cpus: -1}", "node: cpus must not be negative"),
    ],
)  # fmt: skip
def test_a_mistake_is_told(tmp_path: Path, setting: str, told: str) -> None:
    workload = "" if setting.startswith("workload") else "workload: poisson\n"
    policy = "" if setting.startswith("policy") else "policy: {memory: 1 GB}\n"
    mistakes = _mistakes(tmp_path, f"{setting}\n{workload}{policy}")
    assert len(mistakes) == 1
    assert mistakes[0].startswith(f"day.yaml:1: {told}"), mistakes


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("day.yaml", "a: 1\nb: [1, 2\n", "day.yaml:3: is no YAML: while parsing a flow sequence"),
        ("day.yaml", "a:\n\t- 1\n", "day.yaml:2: is no YAML: while scanning for the next token found character '\\t'"),
        ("day.yaml", "seed: !!python/name:os.system\n", "day.yaml:1: is no YAML: could not determine a constructor"),
        ("day.yaml", "just words\n", "day.yaml:1: a scenario is made of settings"),
        ("day.yaml", "a: &a [*a]\n", "day.yaml:1: is nested too deeply"),
        ("day.yaml", "", "day.yaml: workload is missing; the smallest is `workload: poisson`"),
        ("day.toml", "a = 1\nb = [1,\n", "day.toml:3: is no TOML: "),
        ("day.toml", "a = 1\na = 2\n", "day.toml:2: is no TOML: cannot overwrite a value"),
        ("day.json", '{"a": 1,\n "b": }', "day.json:2: is no JSON: expecting value"),
        ("day.ini", "", "day.ini: a scenario's name ends in .yaml, .yml, .toml, .json, by its format"),
    ],
)
def test_what_is_no_scenario_is_told(tmp_path: Path, name: str, text: str, told: str) -> None:
    assert _mistakes(tmp_path, text, name)[0].startswith(told)


def test_lines_are_found_in_toml_and_json(tmp_path: Path) -> None:
    toml = TOML.replace("count = 2", "cuont = 2").replace('ttl = "20 min"', 'ttl = "soon"')
    assert _mistakes(tmp_path, toml, "day.toml") == [
        "day.toml:15: node.stock.0.cuont: no such setting; did you mean count?",
        "day.toml:23: policy.keep_alive.ttl is 'soon', and wants a span of time: a number and ms, s, min, h or d",
    ]
    text = '{\n\t"workload": "poisson",\n\t"policy": {\n\t\t"memory": "1 GB",\n\t\t"starts": 3\n\t}\n}'
    assert _mistakes(tmp_path, text, "day.json") == [
        "day.json:5: policy.starts: no such setting; did you mean starts_max?"
    ]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"none\.yaml: there is no such file"):
        load(tmp_path / "none.yaml")


def test_settings_are_altered_by_dotted_paths(tmp_path: Path) -> None:
    scenario = _load(tmp_path, YAML)
    altered = scenario.altered(
        {
            "policy.keep_alive.ttl_ns": 7,
            "policy.memory_mb": 8192,
            "node.cpus": "2",
            "node.stock.0.reactive": {
                "min_count": 1, "max_count": 2, "ttl": "1 s", "threshold": 1, "increment": 1,
            },
        }
    )  # fmt: skip
    assert altered.policy.keep_alive == FixedTtl(7)
    assert altered.policy.capacity_mb == 8192
    assert altered.node.cpus == 2
    assert altered.node.stock[0].reactive == Reactive(1, 2, SECOND_NS, 1, 1)
    assert scenario.policy.capacity_mb == 4096
    assert _objects(_load(tmp_path, altered.as_yaml())) == _objects(altered)


def test_another_name_takes_the_old_settings_along(tmp_path: Path) -> None:
    scenario = _load(tmp_path, YAML)
    assert scenario.altered({"policy.keep_alive.name": "greedy-dual"}).policy.keep_alive == GreedyDual()
    changes = {"policy.keep_alive.ttl": "1 min", "policy.keep_alive.name": "greedy-dual"}
    assert scenario.altered(changes).policy.keep_alive == GreedyDual(MINUTE_NS)
    named = scenario.altered({"policy.keep_alive": "lru-ttl"}).altered({"policy.keep_alive.ttl": "1 min"})
    assert named.policy.keep_alive == LruTtl(MINUTE_NS)
    measured = {"node.run.type": "empirical", "node.run.samples": ["1 ms", 2]}
    with pytest.raises(ScenarioError, match=r"node\.run\.samples\.1 is 2 without a unit"):
        scenario.altered(measured)
    assert scenario.altered(measured | {"node.run.samples": ["1 ms"]}).node.run == Empirical((1_000_000,))
    assert scenario.altered({"node.slowdown": "docker"}).node.slowdown == DOCKER_SLOWDOWN


def test_a_wrong_alteration_names_itself(tmp_path: Path) -> None:
    scenario = _load(tmp_path, YAML)
    for changes, told in (
        ({"policy.memry": "8 GB"}, "policy.memry=8 GB: policy.memry: no such setting; did you mean memory?"),
        ({"seed.more": 1}, "seed.more: seed is 3, which has no parts"),
        ({"node.stock.4.count": 1}, "node.stock.4.count: node.stock has the members 0 to 0"),
    ):
        with pytest.raises(ScenarioError) as caught:
            scenario.altered(changes)
        assert str(caught.value) == told


def test_a_seed_is_another_draw_and_the_same_seed_the_same() -> None:
    scenario = of_settings(SMALL)
    first, again, other = scenario.simulate(), scenario.simulate(0), scenario.simulate(1)
    assert first.decision_hash == again.decision_hash != other.decision_hash
    assert scenario.simulate(1, workload=scenario.build(1)).decision_hash == other.decision_hash
    assert scenario.altered({"engine": "simpy"}).simulate(1).decision_hash == other.decision_hash
    assert scenario.simulate(1, streaming=True, hashing=False).aggregates is not None


def test_the_oracle_is_told_the_arrivals() -> None:
    workload = {"type": "poisson", "rate_per_s": 3, "duration": "2 min"}
    scenario = of_settings({"workload": workload, "policy": {"memory": "1 GB", "keep_alive": "oracle"}})
    oracle, lru = scenario.simulate(), scenario.altered({"policy.keep_alive": "lru-ttl"}).simulate()
    assert isinstance(oracle.policy.keep_alive, Oracle)
    assert sum(len(uses) for _, uses in oracle.policy.keep_alive.future) == oracle.invocations
    assert oracle.cold_share < lru.cold_share
    with pytest.raises(ScenarioError, match=r"policy\.keep_alive\.future: no such setting"):
        scenario.altered({"policy.keep_alive": {"name": "oracle", "future": []}})


def test_a_scenario_goes_to_other_processes(tmp_path: Path) -> None:
    scenario = _load(tmp_path, YAML).altered({"node.cpus": 2})
    assert _objects(pickle.loads(pickle.dumps(scenario))) == _objects(scenario)


def test_a_profile_is_the_node_and_what_is_set_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text(
        "stages:\n"
        "  cold: {latency: {type: constant, ns: 1000000}, n: 10, p50_ns: 1, p99_ns: 1, ks: 0.1}\n"
        "  thaw: {latency: {type: constant, ns: 2000000}, n: 10, p50_ns: 1, p99_ns: 1, ks: 0.1}\n"
        "functions:\n"
        "  poisson/f0000:\n"
        "    invocations: 3\n"
        "    memory_mb: 256\n"
        "    kind: python:3\n"
        "    run: {latency: {type: constant, ns: 3000000}, n: 10, p50_ns: 1, p99_ns: 1, ks: 0.1}\n",
        "utf-8",
    )
    text = (
        "workload: {type: poisson, functions: 2}\npolicy: {memory: 1 GB}\nnode: {profile: profile.yaml, thaw: 9 ms}\n"
    )
    scenario = _load(tmp_path, text)
    assert (scenario.node.cold, scenario.node.thaw) == (Constant(1_000_000), Constant(9_000_000))
    assert [function.run for function in scenario.build().functions] == [Constant(3_000_000), None]


def test_a_workload_that_cannot_be_made_is_told() -> None:
    both = {"type": "merged", "workloads": ["poisson", "poisson"]}
    with pytest.raises(SimulationError, match="workload: two of the merged workloads have a function of the same name"):
        of_settings(SMALL | {"workload": both}).simulate()


CLUSTER: dict[str, Any] = {
    "nodes": [{}, {"policy": {"memory": "2 GB"}, "node": {"cpus": 2}}, {"outages": [{"at": "5 s", "lasts": "3 s"}]}],
    "controllers": 2,
    "balancer": {"name": "power-of-d", "choices": 3},
    "network": {"http": {"type": "exponential", "mean": "1 ms"}},
}


def test_a_cluster_is_joined_of_nodes_like_the_scenarios_own() -> None:
    settings = SMALL | {"node": {"run": "200 ms"}, "cluster": CLUSTER}
    scenario = of_settings(settings)
    cluster = scenario.cluster
    assert cluster is not None
    assert isinstance(cluster.nodes, tuple)
    own = cluster.nodes[1]
    assert own.policy == policyset.default(2048)
    assert own.node == Node(run=Constant(200 * MILLISECOND_NS), cpus=2)
    assert cluster.nodes[2].outages[0].lasts_ns == 3 * SECOND_NS
    assert cluster.balancer == PowerOfChoices(3)
    assert cluster.network.http == Exponential(1e6)
    result = scenario.simulate(hashing=True, streaming=False)
    assert isinstance(result, ClusterResult)
    assert scenario.altered({"engine": "simpy"}).simulate().decision_hash == result.decision_hash
    assert scenario.altered({"cluster.balancer": "hiku", "cluster.nodes": 2}).simulate().outcomes["ok"] > 100


def test_what_a_cluster_has_not_is_told() -> None:
    scenario = of_settings(SMALL | {"cluster": {"nodes": 2}})
    with pytest.raises(SimulationError, match="a cluster is simulated without streaming"):
        scenario.simulate(streaming=True)
    with pytest.raises(SimulationError, match="the oracle knows the future of a single node"):
        scenario.altered({"policy.keep_alive": "oracle"}).simulate()
    with pytest.raises(ScenarioError, match=r"cluster: there are 1 to 10000 nodes and 1 to 1000 controllers, not 0"):
        scenario.altered({"cluster.nodes": 0})
