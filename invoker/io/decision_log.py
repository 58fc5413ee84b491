"""◆ The decision log: every event of the heart and the actions that followed, as lines of JSON.

It is enough to feed the heart again: `invoker replay` does, and says whether every decision comes out the same. What a
line is, is told in `invoker.policy.decision`.

Encoding happens on the loop (about a microsecond a step), writing in a thread of its own. Files are rotated by size;
the oldest go when there are more than allowed, and then a replay can't begin there and says so.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import queue
import threading
import time

import msgspec

from invoker.errors import PlatformFault
from invoker.policy import PolicySet
from invoker.policy.actions import AnyAction
from invoker.policy.decision import FORMAT, Header
from invoker.policy.events import AnyEvent

log = logging.getLogger(__name__)

HAND_OVER_BYTES = 64 * 1024
"""How much is gathered on the loop before the thread gets it."""
BACKLOG_MAX = 256
"""How many such pieces may wait for a slow disk before the log gives up (and says so)."""
CLOSE_WAIT_S = 5.0
"""How long the end waits for the disk to take what is left."""


class DecisionLog:
    """Appends the decisions of one run to files `decisions-<run>-<part>.jsonl` in a directory.

    `file_bytes`: a file is ended when it has passed this size. `files_max`: so many files of all runs are kept.
    Raises PlatformFault where the directory can't be written.
    """

    def __init__(
        self, directory: pathlib.Path, policies: PolicySet, started_ns: int, *, file_bytes: int, files_max: int
    ) -> None:
        self._directory = directory
        self._run = f"{started_ns:020d}"
        self._header = Header(FORMAT, self._run, 1, started_ns, policies)
        self._file_bytes = file_bytes
        self._files_max = files_max
        self._encode = msgspec.json.Encoder().encode
        self._gathered = bytearray()
        self._pieces: queue.Queue[bytes | None] = queue.Queue(BACKLOG_MAX)
        self.stopped = False
        self._closed = False
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._begin_file(1)
        except OSError as error:
            raise PlatformFault(
                f"the decision log can't be written to {directory}: {error.strerror}; see DECISION_LOG_DIR"
            ) from error
        self._thread = threading.Thread(target=self._write, name="decision-log", daemon=True)
        self._thread.start()

    @property
    def path(self) -> pathlib.Path:
        """The run's first file: what `invoker replay` wants."""
        return self._path(1)

    def append(self, now_ns: int, event: AnyEvent, actions: list[AnyAction]) -> None:
        """Note one step; nothing once the log has stopped."""
        if self.stopped or self._closed:
            return
        gathered = self._gathered
        gathered += self._encode((now_ns, event, actions))
        gathered += b"\n"
        if len(gathered) > HAND_OVER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what was gathered to the writing thread; called from time to time, so that a crash loses little."""
        if not self._gathered or self.stopped:
            return
        try:
            self._pieces.put_nowait(bytes(self._gathered))
        except queue.Full:
            self.stopped = True
            log.error("the disk is too slow for the decision log: it ends here, and can be replayed up to here")
        self._gathered.clear()

    def close(self) -> None:
        """Write what is left and end the thread. Blocks until the disk has it, for CLOSE_WAIT_S at most, and says where
        that was not enough; call it off the loop. Twice is once."""
        self.flush()
        self._closed = True
        give_up_s = time.monotonic() + CLOSE_WAIT_S
        with contextlib.suppress(queue.Full):
            self._pieces.put(None, timeout=CLOSE_WAIT_S)
            self._thread.join(max(0.0, give_up_s - time.monotonic()))
        if self._thread.is_alive():
            log.error(
                "the disk did not take the end of the decision log %s within %g s: it can be replayed up to there",
                self._path(self._part),
                CLOSE_WAIT_S,
            )

    def _path(self, part: int) -> pathlib.Path:
        return self._directory / f"decisions-{self._run}-{part:05d}.jsonl"

    def _begin_file(self, part: int) -> None:
        self._part = part
        self._file = self._path(part).open("ab", buffering=0)
        header = self._encode(msgspec.structs.replace(self._header, part=part)) + b"\n"
        self._file.write(header)
        self._written_bytes = len(header)
        files = sorted(self._directory.glob("decisions-*.jsonl"))
        for old in files[: max(0, len(files) - self._files_max)]:
            old.unlink(missing_ok=True)

    def _write(self) -> None:
        try:
            while (piece := self._pieces.get()) is not None:
                if self._written_bytes > self._file_bytes:
                    self._file.close()
                    self._begin_file(self._part + 1)
                self._file.write(piece)
                self._written_bytes += len(piece)
        except OSError as error:
            self.stopped = True
            log.error("the decision log can't be written any more: %s", os.strerror(error.errno or 0))
            while self._pieces.get() is not None:
                pass
        finally:
            self._file.close()
