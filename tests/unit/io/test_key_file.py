"""Keys that are rolled by changing their file: old and new at once, and a file that can't be used changes nothing."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from invoker.errors import PlatformFault, SettingsError
from invoker.io.key_file import KeyFile
from invoker.protocol.message import MalformedMessage, decode_message
from invoker.protocol.secrets import KeyRing, Undecipherable
from tests.support.node import message

OLD, NEW, FIXED = bytes(range(32)), bytes(range(100, 132)), b"f" * 32


def sealed(plain: bytes, key: bytes) -> str:
    nonce = b"\x07" * 128
    return base64.b64encode(b"\0\0\0\x80" + nonce + AESGCM(key).encrypt(nonce, plain, None)).decode()


def keys(**named: bytes) -> str:
    return json.dumps({name: base64.b64encode(key).decode() for name, key in named.items()})


class Rolled:
    """A ring, its file, and what was told of the changes."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "keys.json"
        self.ring = KeyRing({"fixed": FIXED})
        self.reloads: list[bool] = []
        self.file = KeyFile(
            self.ring,
            self.path,
            {"fixed": FIXED},
            look_every_s=3600,
            on_reload=lambda _, taken: self.reloads.append(taken),
        )

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def opens(self, name: str, key: bytes) -> bool:
        try:
            return self.ring.decrypt(name, sealed(b'"x"', key)) == b'"x"'
        except Undecipherable:
            return False


@pytest.mark.contract("9")
def test_a_key_is_rolled_without_a_gap(tmp_path: Path) -> None:
    async def roll() -> None:
        rolled = Rolled(tmp_path)
        rolled.write(keys(k1=OLD))
        await rolled.file.open()
        assert rolled.opens("k1", OLD)
        rolled.write(keys(k1=OLD, k2=NEW))
        assert await rolled.file.look() is True
        assert rolled.opens("k1", OLD)
        assert rolled.opens("k2", NEW)
        rolled.write(keys(k2=NEW))
        assert await rolled.file.look() is True
        assert not rolled.opens("k1", OLD)
        assert rolled.opens("k2", NEW)
        assert rolled.opens("fixed", FIXED)
        rolled.write(keys(fixed=NEW))
        assert await rolled.file.look() is True
        assert rolled.opens("fixed", NEW), "the file's name wins"
        assert await rolled.file.check() == "1 keys"
        await rolled.file.close()
        assert rolled.reloads == [True, True, True]

    asyncio.run(roll())


def test_a_message_under_a_dropped_key_is_refused_and_one_under_the_next_runs(tmp_path: Path) -> None:
    def decoded(name: str, key: bytes, ring: KeyRing) -> bytes:
        body = message("act", {"a": sealed(b"5.0", key)}, lockedArgs={"a": name})
        return decode_message(body, ring).run_value

    async def roll() -> None:
        rolled = Rolled(tmp_path)
        rolled.write(keys(k1=OLD))
        await rolled.file.open()
        assert decoded("k1", OLD, rolled.ring) == b'{"a":5.0}'
        rolled.write(keys(k2=NEW))
        await rolled.file.look()
        with pytest.raises(MalformedMessage, match="'a' can't be decrypted: no encryption key has the name 'k1'"):
            decoded("k1", OLD, rolled.ring)
        assert decoded("k2", NEW, rolled.ring) == b'{"a":5.0}'
        await rolled.file.close()

    asyncio.run(roll())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is no JSON object"),
        (keys(k1=OLD)[:-10], "is no JSON object"),
        (json.dumps({"k1": "CANARY-not-base64"}), "has no base64 under the name 'k1'"),
        (keys(k1=b"CANARY"), "has 6 bytes under the name 'k1'"),
        (json.dumps({"k1": ["CANARY"]}), "is no JSON object"),
    ],
)
def test_a_file_that_can_not_be_used_changes_nothing_and_shows_nothing(
    tmp_path: Path, content: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def roll() -> None:
        rolled = Rolled(tmp_path)
        rolled.write(content)
        with pytest.raises(SettingsError, match=f"keys.json {words}"):
            await rolled.file.open()
        rolled.write(keys(k1=OLD))
        await rolled.file.open()
        rolled.write(content)
        assert await rolled.file.look() is False
        assert rolled.opens("k1", OLD)
        with pytest.raises(PlatformFault, match=words):
            await rolled.file.check()
        rolled.path.write_bytes(b"\xff\xfe")
        assert await rolled.file.look() is False
        await rolled.file.close()
        assert rolled.reloads == [False, False]

    asyncio.run(roll())
    assert words in caplog.text
    assert "CANARY" not in caplog.text
    assert base64.b64encode(b"CANARY").decode() not in caplog.text


def test_it_shows_no_key(tmp_path: Path) -> None:
    assert repr(Rolled(tmp_path).file) == f"<KeyFile {tmp_path}/keys.json KeyRing(1 keys)>"
