"""◆ Files that take effect when they change: certificates, tokens, keys. What can't be used changes nothing.

The contents are read, not just the files' times: the few kilobytes cost nothing every few seconds, and no way of
writing escapes it: in place within one tick of the clock, by renaming, or by the swap of a link two directories up, as
Kubernetes does with mounted secrets. They are read again after they were parsed, so files that belong together are
never taken from two moments. All of it is done in a thread; the loop only takes over the finished value.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from invoker.errors import PlatformFault, SettingsError

log = logging.getLogger(__name__)

FILE_BYTES_MAX = 1024 * 1024
LOOK_EVERY_S = 5.0

T = TypeVar("T")


class WatchedFile:
    """One file: what it is for people, and the setting that names it."""

    __slots__ = ("path", "setting", "what")

    def __init__(self, path: Path, what: str, setting: str) -> None:
        self.path = path
        self.what = what
        self.setting = setting

    def read(self) -> bytes:
        """Its content. Raises SettingsError, which tells what to mend."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe would block for ever
            with os.fdopen(fd, "rb") as file:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise self._unreadable("it is no regular file")
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise self._unreadable((error.strerror or str(error)).lower()) from None
        if len(content) > FILE_BYTES_MAX:
            raise self._unreadable(f"it has more than {FILE_BYTES_MAX} bytes")
        return content

    def _unreadable(self, reason: str) -> SettingsError:
        return SettingsError(f"{self.what}, {self.path}, can't be read: {reason}; mend the file or {self.setting}")


class Watched(Generic[T]):
    """Some files and the value that is made of them; what uses such a value builds on this class.

    `parse` makes it from their contents, in a thread, and raises SettingsError where they can't be used; `install`
    takes it into use, on the loop. `on_reload(what, taken)` is told of each changed set of files: one count.
    """

    def __init__(
        self,
        what: str,
        files: tuple[WatchedFile, ...],
        parse: Callable[[tuple[bytes, ...]], T],
        install: Callable[[T], None],
        *,
        every_s: float = LOOK_EVERY_S,
        on_reload: Callable[[str, bool], None] = lambda _what, _taken: None,
    ) -> None:
        self._what = what
        self._files = files
        self._parse = parse
        self._install = install
        self._every_s = every_s
        self._on_reload = on_reload
        self._digest = b""
        self._told = ""
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take the files into use, and watch them from now on. Raises SettingsError where they can't be used."""
        value, self._digest = await asyncio.to_thread(self._make)
        self._install(value)
        if self._files:
            self._task = asyncio.get_running_loop().create_task(self._watch())

    async def close(self) -> None:
        """Watch no more; the value stays. Twice is once."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def look(self) -> bool:
        """Look now; True where something new was taken into use. What can't be used is told, once for each reason."""
        try:
            if await asyncio.to_thread(self._read) == self._digest:
                self._told = ""
                return False
            value, digest = await asyncio.to_thread(self._make)
        except SettingsError as error:
            if str(error) != self._told:
                self._told = str(error)
                self._on_reload(self._what, False)
                log.error("%s changed and can't be used, so what was there before stays: %s", self._what, error)
            return False
        self._install(value)
        self._digest, self._told = digest, ""
        self._on_reload(self._what, True)
        log.info("%s changed and is in use", self._what)
        return True

    async def tried(self) -> T:
        """What the files would give, taken nowhere into use. Raises PlatformFault."""
        try:
            return (await asyncio.to_thread(self._make))[0]
        except SettingsError as error:
            raise PlatformFault(str(error)) from None

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.look()
            except Exception:  # a defect must not end the watch unnoticed
                log.exception("looking after %s failed", self._what)

    def _make(self) -> tuple[T, bytes]:
        contents = tuple(file.read() for file in self._files)
        digest = _digest(contents)
        value = self._parse(contents)
        if self._read() != digest:
            raise SettingsError("it changed while it was read; it is looked at again soon")
        return value, digest

    def _read(self) -> bytes:
        return _digest(tuple(file.read() for file in self._files))


def _digest(contents: tuple[bytes, ...]) -> bytes:
    """Kept in place of the contents, which are secrets."""
    return hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents)).digest()
