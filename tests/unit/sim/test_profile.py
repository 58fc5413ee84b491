"""Profiles: written and read again, applied to nodes and functions, and what is told of one that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim import Failures, Node, SimFunction, SimulationError
from sim.latency import Constant, Empirical, Exponential, Gamma, Latency, Lognormal, Weibull
from sim.profile import Fitted, FunctionProfile, Profile, Source, load, save


def fitted(latency: Latency, ks: float | None = 0.01) -> Fitted:
    return Fitted(latency, 100, 5, 9, ks)


RUN = fitted(Weibull(3e6, 1.5))
PROFILE = Profile(
    sources=(Source("decisions-1-00001.jsonl", 100, 12.5),),
    stages={
        "cold": fitted(Lognormal(2e8, 0.2)),
        "run": fitted(Empirical(tuple(range(300)))),
        "pause": fitted(Constant(7), None),
    },
    slowdown=(1000, 1500),
    logs_ns=3,
    failures=Failures(start=0.25),
    functions={
        "ns/ns/f@0.0.1": FunctionProfile(invocations=60, memory_mb=128, kind="python:3", run=RUN),
        "ns/ns/g@0.0.1": FunctionProfile(invocations=20, memory_mb=128, kind="python:3", init=fitted(Gamma(1e6, 2.0))),
        "ns/ns/g@0.0.2": FunctionProfile(invocations=20, memory_mb=128, kind="python:3", run=fitted(Exponential(1e6))),
    },
)


@pytest.mark.parametrize("name", ["profile.yaml", "profile.json"])
def test_a_profile_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    save(PROFILE, tmp_path / name)
    assert load(tmp_path / name) == PROFILE
    before = (tmp_path / name).read_bytes()
    save(load(tmp_path / name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == before


def test_yaml_is_for_people(tmp_path: Path) -> None:
    save(PROFILE, tmp_path / "p.yaml")
    text = (tmp_path / "p.yaml").read_text()
    assert "latency: {type: lognormal, median_ns: 200000000.0, sigma: 0.2}" in text
    assert max(map(len, text.splitlines())) <= 120


def test_a_node_takes_what_was_measured_and_keeps_the_rest() -> None:
    base = Node(thaw=Constant(77), remove=Constant(88), cpus=3)
    node = PROFILE.node(base)
    assert (node.cold, node.slowdown, node.logs) == (Lognormal(2e8, 0.2), (1000, 1500), Constant(3))
    assert node.failures.start == 0.25
    assert (node.thaw, node.remove, node.cpus, node.init) == (Constant(77), Constant(88), 3, base.init)
    assert Profile().node(base) == base


def test_functions_are_found_by_their_names() -> None:
    asked = ("ns/ns/f@0.0.1", "ns/f", "ns/g", "ns/ns/g@0.0.2", "other/f")
    runs = [each.run for each in PROFILE.apply(SimFunction(name=name) for name in asked)]
    assert runs == [RUN.latency, RUN.latency, None, Exponential(1e6), None]
    told = SimFunction(name="ns/f", run=Constant(1))
    assert PROFILE.apply([told]) == (told,)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.yaml", "stages: [", r"p.yaml is no profile: while parsing"),
        ("p.json", "{", r"p.json is no profile: Input data was truncated"),
        ("p.yaml", "just words", r"p.yaml is no profile: Expected `object`, got `str`"),
        ("p.yaml", "stagse: {}", r"p.yaml is no profile: Object contains unknown field `stagse`"),
        ("p.yaml", "profile: 7", r"p.yaml is of format 7; format 1 is read here"),
        (
            "p.yaml",
            "stages: {cold: {latency: {type: constant, ns: -1}, n: 1, p50_ns: 1, p99_ns: 1, ks: 0}}",
            r"Constant: ns must not be negative, as -1 is - at `\$.stages\[\.\.\.\].latency`",
        ),
        ("p.yaml", "stages: {warm: {latency: {type: constant, ns: 1}, n: 1, p50_ns: 1, p99_ns: 1, ks: 0}}", "'warm'"),
    ],
)
def test_what_is_no_profile_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SimulationError, match=message):
        load(tmp_path / name)


def test_files_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    with pytest.raises(SimulationError, match=r"nowhere.yaml can't be read: No such file"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(SimulationError, match=r"p.yaml can't be written: No such file"):
        save(PROFILE, tmp_path / "nowhere" / "p.yaml")
