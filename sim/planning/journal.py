"""◆ What was computed already: a file of JSON lines that only grows, so that whatever stops a sweep costs no run but
those under way.

A run is found again by its key (`sim.planning.task.key`): the measure's fingerprint, the settings and the seed. Lines
of another fingerprint stay in the file and are counted, as somebody who changed a scenario wants to be told.
"""

from __future__ import annotations

import pathlib
from types import TracebackType
from typing import IO, Self

import msgspec

from sim.errors import SimulationError
from sim.planning.task import Figures, Measure, Outcome, Settings, Task, fingerprint, key


class Line(msgspec.Struct, frozen=True):
    """One run. `of` is the measure's fingerprint. Failed runs are not written: they are tried again."""

    key: str
    of: str
    settings: Settings
    seed: int
    figures: Figures


class Journal:
    """The runs of one measure in the file `path`, which need not be there; a context, in which it is open.

    `strangers`: how many of its lines are of another measure. Raises SimulationError where the file is no journal, or
    can't be read or written.
    """

    def __init__(self, path: pathlib.Path, measure: Measure) -> None:
        self._path = path
        self._of = fingerprint(measure)
        self._known: dict[str, Figures] = {}
        self._file: IO[bytes] | None = None
        self.strangers = 0

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("a+b")
            self._read(self._file)
        except OSError as problem:
            raise self._unusable(problem) from problem
        except SimulationError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def find(self, task: Task) -> Outcome | None:
        """The outcome of the task, if it was computed before."""
        figures = self._known.get(key(self._of, task))
        return None if figures is None else Outcome(task, figures)

    def note(self, outcome: Outcome) -> None:
        """Keep an outcome; of a failure nothing is kept."""
        if outcome.figures is None:
            return
        task = outcome.task
        line = Line(key(self._of, task), self._of, task.settings, task.seed, outcome.figures)
        assert self._file is not None
        try:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()
        except OSError as problem:
            raise self._unusable(problem) from problem

    def _read(self, file: IO[bytes]) -> None:
        file.seek(0)
        text = file.read()
        whole, _, torn = text.rpartition(b"\n")
        if torn:  # written when the machine went down
            file.truncate(len(text) - len(torn))
        decode = msgspec.json.Decoder(Line).decode
        for number, written in enumerate(whole.splitlines(), 1):
            try:
                line = decode(written)
            except msgspec.DecodeError as problem:
                raise SimulationError(
                    f"{self._path}:{number}: is no journal of runs ({problem}); choose another directory, or remove it"
                ) from problem
            if line.of == self._of:
                self._known[line.key] = line.figures
            else:
                self.strangers += 1

    def _unusable(self, problem: OSError) -> SimulationError:
        return SimulationError(f"the journal {self._path} can't be used: {problem.strerror}")
