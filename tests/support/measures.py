"""Measures of known answers, importable by worker processes and Dask workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path

from sim.planning.task import Setting
from sim.rng import sequence


def noise(seed: int) -> float:
    """A number of the seed alone, from -0.5 to 0.5."""
    return sequence(seed, "noise").random() - 0.5


def linear(settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
    """x + y, and noise that the seed makes: the same for all settings."""
    x, y = settings.get("x", 0), settings.get("y", 0)
    assert isinstance(x, (int, float))
    assert isinstance(y, (int, float))
    return {"sum": x + y + noise(seed), "seed_too": seed}


def broken(settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
    """As `linear`, but where x is 2: it fails; where it is 3: it has a defect."""
    if settings["x"] == 2:
        raise ValueError("x is 2")
    if settings["x"] == 3:
        return {"sum": 1 / 0}
    return linear(settings, seed)


def deadly(settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
    """As `linear`, but where x is 2 its process is killed, as by a system that is short of memory."""
    if settings["x"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return linear(settings, seed)


class Counted:
    """As `linear`, and a line in the file `path` for each run."""

    def __init__(self, path: Path, fingerprint: str = "counted") -> None:
        self.path = path
        self.fingerprint = fingerprint

    def __call__(self, settings: Mapping[str, Setting], seed: int) -> dict[str, float]:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{sorted(settings.items())} {seed}\n")
        return linear(settings, seed)

    @property
    def runs(self) -> int:
        """How often it was asked."""
        return len(self.path.read_text("utf-8").splitlines()) if self.path.exists() else 0
