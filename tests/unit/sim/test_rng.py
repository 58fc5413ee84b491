"""Streams: the same numbers everywhere, and none that moves because another was read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.rng import Stream, sequence

ROOT = Path(__file__).parents[3]


GOLDEN_TABLE = [0.213010957184, 0.554635447545, 0.693505007935]
GOLDEN = [0.230192025845, 0.077446203537]


def test_the_numbers_are_these_for_ever() -> None:
    stream = Stream(1, "cold")
    assert [round(stream.at(k).random(), 12) for k in range(3)] == GOLDEN_TABLE
    assert [round(number, 12) for number in (sequence(1, "run/f").random(), sequence(2, "run/f").random())] == GOLDEN


def test_a_place_in_the_table_does_not_depend_on_what_was_read_before() -> None:
    read, fresh = Stream(7, "init"), Stream(7, "init")
    for k in range(100):
        read.at(k).random()
    assert read.at(5).random() == fresh.at(5).random()
    assert [read.random() for _ in range(3)] == [fresh.random() for _ in range(3)]


def test_names_seeds_and_places_give_other_numbers() -> None:
    first = [Stream(seed, name).at(k).random() for seed in range(10) for name in ("a", "b") for k in range(50)]
    assert len(set(first)) == len(first)


@pytest.mark.parametrize("name", ["a", "run/f1"])
def test_numbers_are_uniform(name: str) -> None:
    stream, numbers = Stream(3, name), sequence(3, name)
    for draws in ([stream.at(k).random() for k in range(20_000)], [numbers.random() for _ in range(20_000)]):
        tenths = [0] * 10
        for number in draws:
            tenths[int(number * 10)] += 1
        chi_square = sum((count - 2000) ** 2 / 2000 for count in tenths)
        assert chi_square < 27.9  # 99.9 % of 9 degrees of freedom


def test_bits_are_a_number_for_each_thing_each_bit_as_likely() -> None:
    stream = Stream(3, "a")
    numbers = [stream.bits(index) for index in range(-5_000, 5_000)]
    assert numbers == [stream.bits(index) for index in range(-5_000, 5_000)]
    assert len(set(numbers)) == 10_000
    assert all(0 <= number < 1 << 64 for number in numbers)
    for bit in range(64):
        assert abs(sum(number >> bit & 1 for number in numbers) - 5_000) < 200  # four standard deviations
    assert numbers[:3] != [Stream(4, "a").bits(index) for index in range(-5_000, -4_997)]


def test_the_hash_seed_is_no_matter() -> None:
    program = "from sim.rng import *; print(Stream(1, 'x').at(9).random(), sequence(1, 'x').random())"
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=ROOT,
            check=True,
            capture_output=True,
            timeout=30,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(told) == 1
