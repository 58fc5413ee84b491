"""◇ Encrypted parameters: a ring of named AES keys, so that keys can be rolled without a gap (contract, section 9).

The layout is the controllers': base64 of the nonce's length (4 bytes, big endian, always 128), the nonce, and
AES-256-GCM ciphertext with its tag. There is no associated data, so a ciphertext doesn't say whose it is; what
follows from that is for whoever hands out keys to know. No error and no `repr` shows a key, a ciphertext or a
plaintext.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from invoker.errors import CallerFault, SettingsError
from invoker.protocol.raw_json import DECODE_ERRORS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 128
TAG_BYTES = 16
_LENGTH_BYTES = 4
_HEAD_BYTES = _LENGTH_BYTES + NONCE_BYTES

_TEXTS = msgspec.json.Decoder(dict[str, str])


class MalformedKeys(SettingsError):
    """The keys can't be used. The text follows the name of what holds them, names the bad one, and shows no byte."""


class Undecipherable(CallerFault):
    """A parameter can't be decrypted: the key is unknown, or the text is not what that key made."""


def parse_keys(text: str) -> dict[str, bytes]:
    """The keys of ENCRYPTION_KEYS, a JSON object of key name -> base64 of 32 bytes. Raises MalformedKeys."""
    try:
        texts = _TEXTS.decode(text)
    except (*DECODE_ERRORS, UnicodeEncodeError):
        raise MalformedKeys("is no JSON object of key name -> base64 text") from None
    keys: dict[str, bytes] = {}
    for name, value in texts.items():
        try:
            keys[name] = binascii.a2b_base64(value, strict_mode=True)
        except ValueError:
            raise MalformedKeys(f"has no base64 under the name {name!r}") from None
        _check_length(name, keys[name])
    return keys


def _check_length(name: str, key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise MalformedKeys(f"has {len(key)} bytes under the name {name!r}, where an AES-256 key has {KEY_BYTES}")


class KeyRing:
    """The keys by name. One ring is handed out, and its keys are exchanged in it when they are rolled."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Mapping[str, bytes] | None = None) -> None:
        """Each key has 32 bytes. Raises MalformedKeys."""
        self._keys: dict[str, AESGCM] = {}
        if keys:
            self.replace(keys)

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """The ring of ENCRYPTION_KEYS. Raises MalformedKeys."""
        return cls(parse_keys(text))

    def replace(self, keys: Mapping[str, bytes]) -> None:
        """Have these keys instead, from the next message on. Raises MalformedKeys; the ring is then as it was."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 7 MB that a node without keys can spare

        for name, key in keys.items():
            _check_length(name, key)
        self._keys = {name: AESGCM(key) for name, key in keys.items()}

    def __repr__(self) -> str:
        return f"KeyRing({len(self._keys)} keys)"

    def decrypt(self, name: str, text: str) -> bytes:
        """The plaintext of `text`, made with the key `name`. Raises Undecipherable."""
        key = self._keys.get(name)
        if key is None:
            raise Undecipherable(f"no encryption key has the name {name!r}")
        try:
            sealed = binascii.a2b_base64(text, strict_mode=True)
        except ValueError:
            raise Undecipherable("the encrypted text is no base64") from None
        if len(sealed) < _HEAD_BYTES + TAG_BYTES:
            raise Undecipherable(f"the encrypted text is too short: {len(sealed)} bytes")
        nonce_bytes = int.from_bytes(sealed[:_LENGTH_BYTES], "big")
        if nonce_bytes != NONCE_BYTES:
            raise Undecipherable(f"the nonce has {nonce_bytes} bytes, where {NONCE_BYTES} are expected")
        from cryptography.exceptions import InvalidTag

        try:
            return key.decrypt(sealed[_LENGTH_BYTES:_HEAD_BYTES], sealed[_HEAD_BYTES:], None)
        except InvalidTag:
            raise Undecipherable(f"the encrypted text was not made with the key {name!r}, or was changed") from None
