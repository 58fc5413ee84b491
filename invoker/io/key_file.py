"""◆ Keys of encrypted parameters that come from a file and are rolled by changing it, without a restart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from invoker.errors import SettingsError
from invoker.io.watched import LOOK_EVERY_S, Watched, WatchedFile
from invoker.protocol.secrets import KeyRing, MalformedKeys, parse_keys


class KeyFile(Watched[dict[str, bytes]]):
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
        super().__init__("keys", files, self._keys, ring.replace, every_s=look_every_s, on_reload=on_reload)

    def __repr__(self) -> str:
        return f"<KeyFile {self._file} {self._ring}>"

    async def check(self) -> str:
        """How many keys there would be. Raises PlatformFault where the file can't be used."""
        return f"{len(await self.tried())} keys"

    def _keys(self, contents: tuple[bytes, ...]) -> dict[str, bytes]:
        try:
            return {**self._fixed, **parse_keys(contents[0].decode("utf-8"))}
        except UnicodeDecodeError:
            raise SettingsError(f"{self._file} is no text in UTF-8") from None
        except MalformedKeys as error:
            raise SettingsError(f"{self._file} {error}") from None
