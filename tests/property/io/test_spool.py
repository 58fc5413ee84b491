"""The spool against a list: whatever is appended, confirmed, crashed and cut, no record is lost or reordered."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from invoker.io.spool.settings import SPOOL_BYTES_MIN, SpoolSettings
from invoker.io.spool.spool import Batch, Spool, Told, frame, frames


class SpoolMachine(RuleBasedStateMachine):
    """`waiting`: what the spool holds. A crash without a cut loses none of it; confirmed records may come again only
    where the note of it was lost."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="spool-"))
        self.waiting: list[bytes] = []
        self.batch: Batch | None = None
        self.count = 0
        self.open()

    def open(self) -> None:
        self.spool = Spool(
            SpoolSettings(str(self.directory), spool_bytes=SPOOL_BYTES_MIN), Told(self.on_dropped, lambda _: None)
        )
        self.spool.open()
        self.batch = None

    def on_dropped(self, records: list[bytes]) -> None:
        assert self.waiting[: len(records)] == records, "the oldest are dropped, and nothing else"
        del self.waiting[: len(records)]

    @rule(sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=5))
    def append(self, sizes: list[int]) -> None:
        records: list[bytes] = []
        for size in sizes:
            self.count += 1
            records.append(b"%d:" % self.count + b"x" * size)
        self.spool.append(records)
        self.waiting += records

    @rule(bytes_max=st.integers(0, 30_000))
    def read(self, bytes_max: int) -> None:
        self.batch = self.spool.read(bytes_max)
        assert self.batch.records == self.waiting[: len(self.batch.records)]
        assert bool(self.batch.records) == bool(self.waiting)
        framed = sum(len(frame(record)) for record in self.batch.records)
        assert framed <= bytes_max or len(self.batch.records) == 1

    @precondition(lambda self: self.batch is not None)
    @rule()
    def acknowledge(self) -> None:
        batch, self.batch = self.batch, None
        assert batch is not None
        self.spool.acknowledge(batch.end)
        confirmed = set(batch.records)  # some may have been dropped since they were read
        self.waiting = [record for record in self.waiting if record not in confirmed]

    @rule()
    def crash(self) -> None:
        self.spool.close()
        self.open()

    @precondition(lambda self: self.waiting)
    @rule(lost=st.integers(1, 9000))
    def crash_with_a_torn_end(self, lost: int) -> None:
        """The newest segment loses its last bytes: records at the end go, and none before them."""
        self.spool.close()
        newest = max(self.directory.glob("*.spool"))
        size = newest.stat().st_size
        ends: list[tuple[int, bytes]] = []
        offset = 8
        for record in frames(newest.read_bytes()[8:]):
            offset += len(frame(record))
            ends.append((offset, record))
        left = max(8, size - lost)
        os.truncate(newest, left)
        gone = {record for end, record in ends if end > left}
        self.waiting = [record for record in self.waiting if record not in gone]
        self.open()

    @invariant()
    def bounded(self) -> None:
        assert sum(path.stat().st_size for path in self.directory.glob("*.spool")) <= SPOOL_BYTES_MIN
        assert self.spool.held_bytes >= sum(map(len, self.waiting))

    def teardown(self) -> None:
        found: list[bytes] = []
        while (batch := self.spool.read(1 << 20)).records:
            found += batch.records
            self.spool.acknowledge(batch.end)
        assert found == self.waiting
        self.spool.close()
        shutil.rmtree(self.directory)


TestSpool = SpoolMachine.TestCase
