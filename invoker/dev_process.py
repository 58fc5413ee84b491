"""◆ `invoker dev` as a child process: started, awaited until it serves, stopped by SIGTERM.

For the tour, and for `invoker invoke` where none runs: both meet the invoker exactly as a developer does.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, NoReturn

from invoker.client import HttpDoor
from invoker.errors import PlatformFault
from invoker.io.dev import page as dev_file

START_WAIT_MAX_S = 30.0
STOP_WAIT_MAX_S = 30.0
_LOOK_EVERY_S = 0.02
_LOG_TAIL_BYTES = 2000


class DevProcess:
    """An `invoker dev` on `data_dir`, a free port and the further `arguments`. A context: it serves inside.

    To be entered in the main thread: a SIGTERM or SIGHUP that comes meanwhile ends this process in order, the child
    first.
    """

    def __init__(self, data_dir: Path, arguments: Sequence[str] = ()) -> None:
        self._data_dir = data_dir
        self._command = [sys.executable, "-m", "invoker.cli", "dev", "--data-dir", str(data_dir), "--http-port", "0"]
        self._command += arguments
        self._log: IO[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._page: dev_file.DevPage | None = None
        self._former: dict[signal.Signals, Any] = {}

    @property
    def page(self) -> dev_file.DevPage:
        """How it is reached."""
        if self._page is None:
            raise PlatformFault("the invoker is not serving")
        return self._page

    @property
    def door(self) -> HttpDoor:
        """How to ask it."""
        return HttpDoor(self.page.url, self.page.ca_file)

    def __enter__(self) -> DevProcess:
        self._former = {number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)}
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._page = self._await_page(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def stop(self) -> int:
        """Ask it to stop (SIGTERM), kill it after STOP_WAIT_MAX_S; its exit code. Twice is once."""
        if self._process is None:
            return 0
        process = self._process
        while self._former:
            signal.signal(*self._former.popitem())
        process.terminate()
        try:
            code = process.wait(STOP_WAIT_MAX_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if self._log is not None:
            self._log.close()
            self._log = None
        self._page = None
        return code

    def _await_page(self, process: subprocess.Popen[bytes]) -> dev_file.DevPage:
        until = time.monotonic() + START_WAIT_MAX_S
        while time.monotonic() < until:
            page = dev_file.find(self._data_dir)
            if page is not None and page.pid == process.pid:
                return page
            if process.poll() is not None:
                raise PlatformFault(f"the invoker ended with exit code {process.returncode}:\n{self.log_tail()}")
            time.sleep(_LOOK_EVERY_S)
        raise PlatformFault(f"the invoker did not serve within {START_WAIT_MAX_S:g} s:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """The last of what it printed."""
        if self._log is None:
            return ""
        size = self._log.seek(0, 2)
        self._log.seek(max(0, size - _LOG_TAIL_BYTES))
        return self._log.read().decode("utf-8", "replace").strip()


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
