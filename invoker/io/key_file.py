"""◆ Keys of encrypted parameters that come from a file and are rolled by changing it, without a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from invoker.errors import SettingsError
from invoker.io.watched import LOOK_EVERY_S, Watched, WatchedFile
from invoker.protocol.secrets import KeyRing, MalformedKeys, parse_keys


class KeyFile:
    """Keeps `ring` at the keys of the file and of `fixed` (ENCRYPTION_KEYS); a name that both have is the file's.

    To roll a key: add the new one, have the controllers encrypt with it, drop the old one. A file that can't be used
    leaves the keys as they were; `on_reload("keys", taken)` is told of each change.
    """

    def __init__(
        self,
        ring: KeyRing,
        file: Path,
        fixed: Mapping[str, bytes],
        *,
        look_every_s: float = LOOK_EVERY_S,
        on_reload: Callable[[str, bool], None] = lambda _what, _taken: None,
    ) -> None:
        self._ring = ring
        self._file = file
        self._fixed = dict(fixed)
        files = (WatchedFile(file, "the file of encryption keys", "ENCRYPTION_KEYS_FILE"),)
        self._watched = Watched("keys", files, self._parse, ring.replace, every_s=look_every_s, on_reload=on_reload)

    def __repr__(self) -> str:
        return f"<KeyFile {self._file} {self._ring}>"

    async def open(self) -> None:
        """Take the file's keys into the ring, and watch it. Raises SettingsError where it can't be used."""
        await self._watched.open()

    async def close(self) -> None:
        """Watch no more; the keys stay. Twice is once."""
        await self._watched.close()

    async def look(self) -> bool:
        """Look at the file now; True where other keys were taken into use."""
        return await self._watched.look()

    async def check(self) -> str:
        """How many keys there would be. Raises PlatformFault where the file can't be used."""
        return f"{len(await self._watched.check())} keys"

    def _parse(self, contents: tuple[bytes, ...]) -> dict[str, bytes]:
        try:
            return {**self._fixed, **parse_keys(contents[0].decode("utf-8"))}
        except UnicodeDecodeError:
            raise SettingsError(f"{self._file} is no text in UTF-8") from None
        except MalformedKeys as error:
            raise SettingsError(f"{self._file} {error}") from None
