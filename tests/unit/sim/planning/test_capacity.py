"""The search finds what trying all values would find, in few runs, and says where that can't be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import SimulationError, statistics
from sim.planning import Capacity, Probe, Target, ThisProcess, capacity, parse_range, parse_targets
from sim.planning.capacity import Range
from sim.planning.task import Measure, Setting
from tests.support.measures import noise

SEEDS = list(range(10))
Curve = Callable[[float, int], float]


def measured(curve: Curve) -> Measure:
    """A figure `cost` of the setting `x` and the seed."""

    def measure(settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
        x = settings["x"]
        assert isinstance(x, (int, float))
        return {"cost": curve(x, seed), "gain": -curve(x, seed)}

    return measure


def search(curve: Curve, low: float, high: float, *, bound: float, step: float = 1, **options: bool) -> Capacity:
    of = Range("x", low, high, step, **options)
    return capacity(ThisProcess(measured(curve)), of, [Target("cost", "<=", bound)], SEEDS)


def enough(curve: Curve, x: float, bound: float) -> bool:
    """Whether all seeds together say so."""
    return statistics.replications([curve(x, seed) for seed in SEEDS]).high <= bound


def falling(x: float, seed: int) -> float:
    """Never more with a larger x, under any seed."""
    return 100 / x * (1 + noise(seed) / 5)


@given(bound=st.floats(1.5, 60), wobble=st.floats(0, 1))
def test_it_finds_what_trying_all_would_find(bound: float, wobble: float) -> None:
    def curve(x: float, seed: int) -> float:
        return 100 / x * (1 + wobble * noise(seed))

    found = search(curve, 1, 100, bound=bound)
    first = next((x for x in range(1, 101) if enough(curve, x, bound)), None)
    assert (found.answer.value if found.answer else None) == first
    assert found.runs <= 140


def test_far_from_the_answer_few_seeds_do() -> None:
    found = search(falling, 1, 10_000, bound=0.5)
    assert found.answer is not None
    by_value = {probe.value: probe for probe in found.probes}
    assert found.answer.seeds >= 5
    assert by_value[found.answer.value - 1].verdict != "met"
    assert by_value[10_000].seeds == 1
    assert sum(probe.seeds == 1 for probe in found.probes) > 8
    assert found.runs < 110
    assert list(by_value) == sorted(by_value)


def test_an_answer_that_seeds_can_not_tell_from_its_neighbour_says_so() -> None:
    found = search(falling, 1, 100, bound=10.3)
    assert found.answer is not None
    assert [note for note in found.notes if "may be enough, too" in note]
    neighbour = next(probe for probe in found.probes if probe.value == found.answer.value - 1)
    assert (neighbour.verdict, neighbour.seeds) == ("unclear", 10)


def test_what_no_value_of_the_range_meets_is_told() -> None:
    found = search(falling, 1, 20, bound=4)
    assert found.answer is None
    assert found.notes == ("not even x 20 is surely enough: a wider range may hold the answer",)
    assert {probe.verdict for probe in found.probes if probe.seeds >= 5} == {"missed"}


def test_a_range_whose_first_value_is_enough_is_told() -> None:
    found = search(falling, 10, 90, bound=50)
    assert found.answer is not None
    assert found.answer.value == 10
    assert "the first value of the range is enough" in found.notes[0]


def test_what_was_never_seen_gets_all_seeds_and_a_note() -> None:
    def rare(x: float, seed: int) -> float:
        return 1.0 if x < 30 else 0.5 * (seed == 7) if x < 40 else 0.0

    found = search(rare, 1, 100, bound=0.04)
    assert found.answer is not None
    assert (found.answer.value, found.answer.seeds) == (40, 10)
    assert "cost was 0 under all 10 seeds: what is rarer than that has not shown" in found.notes


def test_the_largest_load_that_will_do() -> None:
    def rising(x: float, seed: int) -> float:
        return x * (1 + noise(seed) / 5)

    found = search(rising, 0.5, 20, bound=7, step=0.25, largest=True)
    assert found.answer is not None
    assert found.answer.value == max(x / 4 for x in range(2, 81) if enough(rising, x / 4, 7))
    assert [probe.value for probe in found.probes] == sorted(probe.value for probe in found.probes)


def test_a_hill_behind_the_answer_is_noticed() -> None:
    def hilly(x: float, seed: int) -> float:
        return falling(x, seed) + (50 if 60 <= x <= 75 else 0)

    found = search(hilly, 1, 100, bound=10.1)
    assert [note for note in found.notes if "though it is more generous: not monotone" in note]


def test_a_valley_before_the_answer_is_noticed() -> None:
    def valley(x: float, seed: int) -> float:
        return 0.0 if 25 <= x <= 75 else 200 - x + noise(seed)

    found = search(valley, 1, 200, bound=20)
    assert found.answer is not None
    assert found.answer.value == 25
    assert [note for note in found.notes if "is not enough, though it is more generous: not monotone" in note]
    narrow = search(lambda x, seed: 0.0 if 110 <= x <= 125 else 200 - x + noise(seed), 40, 200, bound=20)
    assert narrow.answer is not None
    assert narrow.answer.value > 175
    assert [note for note in narrow.notes if "not all values between: not monotone" in note]


def test_all_targets_must_hold() -> None:
    measure = measured(falling)
    both = [Target("cost", "<=", 20), Target("gain", ">=", -10)]
    found = capacity(ThisProcess(measure), Range("x", 1, 100), both, SEEDS)
    alone = capacity(ThisProcess(measure), Range("x", 1, 100), both[1:], SEEDS)
    assert found.answer is not None
    assert alone.answer is not None
    assert found.answer.value == alone.answer.value
    frame = found.frame()
    assert {"value", "seeds", "verdict", "cost", "cost_low", "cost_high", "gain"} <= set(frame.columns)
    assert len(frame) == len(found.probes)


def test_each_probe_is_told_and_ctrl_c_keeps_them() -> None:
    heard: list[Probe] = []

    def stop(probe: Probe) -> None:
        heard.append(probe)
        if len(heard) == 4:
            raise KeyboardInterrupt

    found = capacity(ThisProcess(measured(falling)), Range("x", 1, 100), [Target("cost", "<=", 9)], SEEDS, told=stop)
    assert (found.interrupted, found.answer, len(found.probes)) == (True, None, 5)


def test_what_can_not_be_searched_is_told() -> None:
    def failing(settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
        raise ValueError("no such setting")

    of, targets = Range("x", 1, 100), [Target("cost", "<=", 9)]
    with pytest.raises(SimulationError, match="x=100, seed 0: no such setting"):
        capacity(ThisProcess(failing), of, targets, SEEDS)
    with pytest.raises(SimulationError, match=r"there is no figure 'costs'; did you mean cost\?"):
        capacity(ThisProcess(measured(falling)), of, [Target("costs", "<=", 9)], SEEDS)
    with pytest.raises(SimulationError, match="3 seeds at least"):
        capacity(ThisProcess(measured(falling)), of, targets, [1, 2])
    with pytest.raises(SimulationError, match="goes up"):
        Range("x", 3, 3)
    with pytest.raises(SimulationError, match="take a larger step"):
        Range("x", 0, 1, 1e-9)


@pytest.mark.parametrize(
    ("between", "step", "values"),
    [
        ("1GB..2 GB", "256 MB", ["1024 MB", "1280 MB", "1536 MB", "1792 MB", "2048 MB"]),
        ("512 MB..1 GB", "512MB", ["512 MB", "1024 MB"]),
        ("1..4", "", [1, 2, 3, 4]),
        ("0.5..1", "0.25", [0.5, 0.75, 1]),
        ("10 ms..1 s", "495ms", ["10 ms", "505 ms", "1000 ms"]),
    ],
)
def test_ranges_as_people_write_them(between: str, step: str, values: list[Setting]) -> None:
    of = parse_range("x", between, step)
    assert [of.setting(of.at(place)) for place in range(of.last + 1)] == values


@pytest.mark.parametrize("between", ["1GB", "1GB..2", "a..b", "1GB..10 ms", ".."])
def test_what_is_no_range_is_told(between: str) -> None:
    with pytest.raises(SimulationError, match="is no range: write it as 1GB"):
        parse_range("policy.memory", between)


def test_a_value_is_named_as_people_say_it() -> None:
    of = parse_range("policy.memory", "256 MB..8 GB", "256 MB")
    assert [of.named(of.at(place)) for place in (0, 18)] == ["256 MB", "4.75 GB"]


@pytest.mark.parametrize(
    ("between", "step"), [("1GB..64GB", 512), ("1GB..8GB", 64), ("1MB..9MB", 1), ("1..1000", 8), ("0..64", 1)]
)
def test_a_step_that_nobody_gave_is_a_round_one(between: str, step: float) -> None:
    assert parse_range("x", between).step == step


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("cold_share<=1%", Target("cold_share", "<=", 0.01)),
        (" p99_ms <= 2.5e2", Target("p99_ms", "<=", 250)),
        ("throughput_per_s>=500", Target("throughput_per_s", ">=", 500)),
    ],
)
def test_targets_as_people_write_them(text: str, target: Target) -> None:
    assert parse_targets([text]) == [target]


@pytest.mark.parametrize("texts", [["cold_share"], ["cold_share<1"], ["p99_ms<=250 ms"], ["a<=1e"], []])
def test_what_is_no_target_is_told(texts: Iterable[str]) -> None:
    with pytest.raises(SimulationError, match="no target"):
        parse_targets(texts)


def test_a_verdict_is_the_whole_intervals() -> None:
    at_most, at_least = Target("a", "<=", 5), Target("a", ">=", 5)
    intervals = ((1, 5), (4, 6), (5.1, 6))
    assert [at_most.verdict(*each) for each in intervals] == ["met", "unclear", "missed"]
    assert [at_least.verdict(-high, -low) for low, high in ((-9, -5), (-6, -4), (-4.9, -4))] == [
        "met",
        "unclear",
        "missed",
    ]
