"""◆ A simulation's decisions as a decision log: what the invoker writes of a live run, of a simulated one.

So a simulation can be replayed by `invoker replay`, told in words by it, and fitted and altered as a live run is.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Generator

import msgspec

from invoker.policy import Pool
from invoker.policy.actions import AnyAction
from invoker.policy.decision import FORMAT, Header
from invoker.policy.events import AnyEvent
from sim.body import Ledger
from sim.errors import SimulationError


class LoggedLedger(Ledger):
    """A ledger that also writes every step to a file. Raises SimulationError where it can't."""

    def __init__(self, pool: Pool, hashing: bool, path: pathlib.Path, seed: int) -> None:
        super().__init__(pool, hashing)
        self._path = path
        self._encode_line = msgspec.json.Encoder().encode
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise self._unwritable(error) from error
        self._write(Header(FORMAT, f"simulated-{seed}", 1, 0, pool.policies))

    def note(self, now_ns: int, event: AnyEvent, actions: list[AnyAction]) -> None:
        """One step of the heart."""
        super().note(now_ns, event, actions)
        self._write((now_ns, event, actions))

    def close_file(self) -> None:
        """Write what is left."""
        try:
            self._file.close()
        except OSError as error:
            raise self._unwritable(error) from error

    def _write(self, line: object) -> None:
        try:
            self._file.write(self._encode_line(line) + b"\n")
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SimulationError:
        return SimulationError(f"the decision log {self._path} can't be written: {error.strerror}")


@contextlib.contextmanager
def logged(pool: Pool, hashing: bool, path: pathlib.Path, seed: int) -> Generator[LoggedLedger]:
    """A ledger whose log lies at `path` when the context is left; a file of that name is overwritten.

    The run is called `simulated-SEED`, and its time begins with 1970. Raises SimulationError where the file can't be
    written.
    """
    ledger = LoggedLedger(pool, hashing, path, seed)
    try:
        yield ledger
    finally:
        ledger.close_file()
