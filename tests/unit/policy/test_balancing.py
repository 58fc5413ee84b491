"""Each balancer's conformance vectors (tests/unit/policy/vectors/balancing/*.toml), and what they all share.

A vector names the balancer and the invokers' memory, then tells a story. `["place", activation, action, {...}]` expects
an invoker's index for HTTP, `"topic N"`, or `"nowhere"`; a word that expects nothing only tells the balancer something.
"""

from __future__ import annotations

import pathlib
import tomllib
from typing import Any

import msgspec
import pytest

from invoker.policy.balancing import NOWHERE, AnyBalancer, Controller, Overflow, Request, Sharding, forced_timeout_ms
from invoker.policy.balancing.hashing import place_of, spread
from invoker.policy.balancing.sharding import home_hash, java_hash, step_sizes
from invoker.policy.types import ActivationId

VECTORS = sorted((pathlib.Path(__file__).with_name("vectors") / "balancing").glob("*.toml"))
MS = 1_000_000


def request(activation: str, action: str = "a", **more: Any) -> Request:
    """A request of namespace `guest`; `action` is a name in it."""
    return msgspec.convert(
        {"activation": activation, "namespace": "guest", "action": f"guest/{action}", **more}, Request
    )


def told(where: int | Overflow) -> int | str:
    """A placement in a vector's words."""
    if isinstance(where, Overflow):
        return "nowhere" if where == NOWHERE else f"topic {where.invoker}"
    return where


def perform(controller: Controller, now_ns: int, words: list[Any]) -> int | str | bool | None:
    """Do what a vector says."""
    match words:
        case ["place", activation, action, *more]:
            return told(controller.place(now_ns, request(activation, action, **(more[0] if more else {}))))
        case ["acknowledge", activation]:
            return controller.acknowledged(now_ns, activation)
        case ["time out", activation]:
            return controller.timed_out(now_ns, activation)
        case ["down", int(index)]:
            controller.turn(index, usable=False)
        case ["up", int(index)]:
            controller.turn(index, usable=True)
        case ["join", int(index), int(memory_mb)]:
            controller.join(index, memory_mb)
        case ["report", int(index), int(load_milli)]:
            controller.cluster.report(index, load_milli)
        case ["evict", int(index), action]:
            controller.evicted(index, request("", action))
        case ["controllers", int(count)]:
            controller.cluster.resize(count)
        case _:
            raise AssertionError(f"no such words: {words}")
    return None


@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_the_vector_comes_out_as_written(path: pathlib.Path) -> None:
    vector = tomllib.loads(path.read_text())
    controller = Controller(msgspec.convert(vector["balancer"], AnyBalancer), vector.get("controllers", 1))
    for index, memory_mb in enumerate(vector["invokers_mb"]):
        controller.join(index, memory_mb, vector.get("cores", 1))
    for number, entry in enumerate(vector["step"], start=1):
        outcome = perform(controller, entry.get("at_ms", number) * MS, entry["do"])
        assert outcome == entry.get("then"), f"{path.name}, step {number} ({entry['why']}): {outcome}"


def test_there_is_a_vector_for_every_balancer() -> None:
    named = {tomllib.loads(path.read_text())["balancer"]["type"] for path in VECTORS}
    assert named == {spec.__struct_config__.tag for spec in AnyBalancer.__args__}


@pytest.mark.parametrize(
    ("namespace", "action", "number"),
    [
        ("guest", "guest/hello", 13198339),
        ("whisk.system", "whisk.system/utils/echo", 435753080),
        ("alice", "bob/pkg/act", 1534500363),
        ("guest", "guest/hëllo", 9051725),
    ],
)
def test_homes_are_those_of_the_reference(namespace: str, action: str, number: int) -> None:
    assert home_hash(namespace, action) == number


def test_the_hash_of_a_text_is_over_utf_16_units() -> None:
    assert java_hash("") == 0
    assert java_hash("polygenelubricants") == -(1 << 31)
    assert java_hash("\U0001f600") == 31 * 0xD83D + 0xDE00


@pytest.mark.parametrize(
    ("count", "steps"),
    [
        *[(0, ()), (1, (1,)), (2, (1,)), (3, (1, 2)), (4, (1, 3)), (5, (1, 2, 3)), (6, (1, 5)), (7, (1, 2, 3, 5))],
        *[(8, (1, 3, 5, 7)), (9, (1, 2, 5, 7)), (10, (1, 3, 7)), (12, (1, 5, 7, 11))],
        (20, (1, 3, 7, 11, 13, 17, 19)),
    ],
)
def test_steps_are_coprime_to_the_count_and_to_each_other(count: int, steps: tuple[int, ...]) -> None:
    assert step_sizes(count) == steps


@pytest.mark.parametrize(
    ("count", "managed", "blackbox"),
    [(1, 1, 1), (2, 2, 1), (5, 5, 1), (9, 9, 1), (10, 9, 1), (11, 10, 1), (20, 18, 2), (100, 90, 10)],
)
def test_blackbox_actions_have_the_last_tenth(count: int, managed: int, blackbox: int) -> None:
    parts: dict[bool, set[int]] = {False: set(), True: set()}
    for box in parts:
        controller = Controller(Sharding())
        for index in range(count):
            controller.join(index, 128)
        for number in range(count):
            where = controller.place(0, request(f"a{number}", memory_mb=128, blackbox=box))
            if isinstance(where, int):
                parts[box].add(where)
    assert parts[False] == set(range(managed))
    assert parts[True] == set(range(count - blackbox, count))


def test_the_forced_time_out_is_twice_the_limit_and_a_minute() -> None:
    assert [forced_timeout_ms(limit) for limit in (100, 60_000, 300_000)] == [180_000, 180_000, 660_000]


def test_a_controller_gets_its_share_of_an_invoker_and_no_less_than_the_smallest_action() -> None:
    controller = Controller(Sharding(), controllers=3)
    controller.join(0, 1000)
    controller.join(1, 200)
    assert [invoker.slots.free_mb for invoker in controller.cluster.invokers] == [333, 128]


def test_an_activation_is_not_placed_twice() -> None:
    controller = Controller(Sharding())
    controller.join(0, 1024)
    controller.place(0, request("one"))
    with pytest.raises(ValueError, match="under way already"):
        controller.place(1, request("one"))


def test_places_on_the_ring_are_the_same_everywhere() -> None:
    assert spread(0) == 0xE220A8397B1DCDAF  # the generator's first number for the seed 0
    assert place_of("guest guest/hello") == place_of("guest guest/hello")
    assert len({place_of(f"a{number}") % 64 for number in range(1000)}) == 64


def test_activation_ids_are_texts() -> None:
    assert Controller(Sharding()).acknowledged(0, ActivationId("never sent")) is False
