"""◆ Who serves a data directory: a lock that one process holds, and a page that tells the others how to reach it.

The lock ends with its process, however that ends, so a page that a killed invoker left behind deceives nobody.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

import msgspec

from invoker.errors import PlatformFault, SettingsError

STORE_NAME = "invoker.db"
PAGE_NAME = "dev.json"
_LOCK_NAME = "dev.lock"
_LOCK_TRIES = 10
_LOCK_RETRY_S = 0.01


class DevPage(msgspec.Struct, frozen=True):
    """How to reach the invoker that serves a data directory.

    `decision_log` is the directory of its decision log, `ca_file` the certificate to trust, None for plain HTTP.
    """

    url: str
    pid: int
    engine: str
    decision_log: str | None = None
    ca_file: str | None = None


class DevClaim:
    """The right to serve a data directory, from `claim` until `release`."""

    def __init__(self, data_dir: Path, descriptor: int) -> None:
        self._page = data_dir / PAGE_NAME
        self._descriptor: int | None = descriptor

    def publish(self, page: DevPage) -> None:
        """Tell how this invoker is reached; readers see the old page or the new one, never half of one.

        They may be in another directory, so paths are made absolute.
        """
        page = msgspec.structs.replace(page, decision_log=_absolute(page.decision_log), ca_file=_absolute(page.ca_file))
        draft = self._page.with_suffix(".draft")
        try:
            draft.write_bytes(msgspec.json.encode(page))
            draft.replace(self._page)
        except OSError as problem:
            raise PlatformFault(f"can't write {self._page}: {problem.strerror}") from problem

    def release(self) -> None:
        """Take the page away and let others serve. Twice is once."""
        if self._descriptor is not None:
            self._page.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None


def claim(data_dir: Path) -> DevClaim:
    """Become the one that serves `data_dir`, making it where there is none. Raises SettingsError where another does."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(data_dir / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise SettingsError(f"the data directory {data_dir} can't be used: {problem.strerror}") from problem
    if not _locked(descriptor):
        os.close(descriptor)
        other = _read(data_dir)
        who = f"the invoker at {other.url} (process {other.pid})" if other is not None else "another invoker"
        raise SettingsError(
            f"the data directory {data_dir} is served by {who}: stop that one, or choose another --data-dir"
        )
    return DevClaim(data_dir, descriptor)


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).resolve())


def _locked(descriptor: int) -> bool:
    """Take the lock. One who looks whether it is taken holds it for an instant, hence the tries."""
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_RETRY_S)
        else:
            return True
    return False


def find(data_dir: Path) -> DevPage | None:
    """How to reach the invoker that serves `data_dir`; None where none does."""
    page = _read(data_dir)
    return page if page is not None and _is_held(data_dir / _LOCK_NAME) else None


def _read(data_dir: Path) -> DevPage | None:
    try:
        return msgspec.json.decode((data_dir / PAGE_NAME).read_bytes(), type=DevPage)
    except (OSError, msgspec.MsgspecError):
        return None


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
