"""The key ring: what it takes, what it opens, and that nothing of it shows."""

from __future__ import annotations

import base64
import json
import traceback

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from invoker.errors import CallerFault, SettingsError
from invoker.protocol.secrets import KeyRing, MalformedKeys, Undecipherable

OLD, NEW = bytes(range(32)), bytes(range(100, 132))


def text_of(key: bytes) -> str:
    return base64.b64encode(key).decode()


def sealed(plain: bytes, key: bytes, nonce: bytes = b"\x07" * 128, length: int | None = None) -> str:
    head = (len(nonce) if length is None else length).to_bytes(4, "big")
    return base64.b64encode(head + nonce + AESGCM(key).encrypt(nonce, plain, None)).decode()


RING = KeyRing.parse(json.dumps({"old": text_of(OLD), "new": text_of(NEW)}))


@pytest.mark.contract("9")
@pytest.mark.parametrize("plain", [b"5", b"", b'{"a":1.0}', "😀".encode(), b"x" * 100_000])
def test_each_key_opens_what_it_closed(plain: bytes) -> None:
    assert RING.decrypt("old", sealed(plain, OLD)) == plain
    assert RING.decrypt("new", sealed(plain, NEW)) == plain


@pytest.mark.contract("9")
def test_a_value_made_elsewhere_is_opened() -> None:
    """Made with OpenSSL's primitives directly, so that both sides of this test are not the same call."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    nonce = bytes(range(128))
    encryptor = Cipher(algorithms.AES(OLD), modes.GCM(nonce)).encryptor()
    body = encryptor.update(b'"secret"') + encryptor.finalize() + encryptor.tag
    assert RING.decrypt("old", base64.b64encode(b"\0\0\0\x80" + nonce + body).decode()) == b'"secret"'


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("none", sealed(b"5", OLD), "no encryption key has the name 'none'"),
        ("new", sealed(b"5", OLD), "was not made with the key 'new', or was changed"),
        ("old", sealed(b"5" * 300, OLD, b"\x07" * 12), "the nonce has 12 bytes, where 128 are expected"),
        ("old", sealed(b"5" * 300, OLD, length=0), "the nonce has 0 bytes"),
        ("old", sealed(b"5" * 300, OLD, length=0xFFFFFFFF), "the nonce has 4294967295 bytes"),
        ("old", "", "too short: 0 bytes"),
        ("old", base64.b64encode(b"\0\0\0\x80" + b"n" * 128 + b"t" * 15).decode(), "too short: 147 bytes"),
        ("old", sealed(b"5", OLD)[:-4], "too short|was changed"),
        ("old", sealed(b"5", OLD).replace("A", "-", 1), "no base64"),
        ("old", sealed(b"5", OLD) + "\n", "no base64"),
        ("old", "é" * 300, "no base64"),
    ],
)
@pytest.mark.contract("9")
def test_what_it_does_not_open(name: str, text: str, complaint: str) -> None:
    with pytest.raises(Undecipherable, match=complaint):
        RING.decrypt(name, text)
    assert issubclass(Undecipherable, CallerFault)


@pytest.mark.contract("9")
def test_a_changed_bit_anywhere_is_noticed() -> None:
    data = bytearray(base64.b64decode(sealed(b'"value"', OLD)))
    for place in range(len(data)):
        data[place] ^= 1
        with pytest.raises(Undecipherable):
            RING.decrypt("old", base64.b64encode(data).decode())
        data[place] ^= 1


@pytest.mark.contract("2", "9")
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no JSON object"),
        ("[]", "no JSON object"),
        ('{"a": 5}', "no JSON object"),
        ('{"a": "\ud800"}', "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        (json.dumps({"good": text_of(OLD), "bad": "not base64"}), "has no base64 under the name 'bad'"),
        (json.dumps({"bad": text_of(OLD)[:-1]}), "has no base64 under the name 'bad'"),
        (json.dumps({"bad": text_of(OLD[:16])}), "has 16 bytes under the name 'bad', where an AES-256 key has 32"),
        (json.dumps({"bad": ""}), "has 0 bytes under the name 'bad'"),
    ],
)
def test_keys_that_are_none(text: str, complaint: str) -> None:
    with pytest.raises(MalformedKeys, match=complaint):
        KeyRing.parse(text)
    assert issubclass(MalformedKeys, SettingsError)


@pytest.mark.contract("2", "9")
def test_no_keys_are_keys_too() -> None:
    assert repr(KeyRing.parse("{}")) == "KeyRing(0 keys)"


def test_nothing_shows() -> None:
    assert repr(RING) == str(RING) == f"{RING}" == "KeyRing(2 keys)"
    assert not hasattr(RING, "__dict__")
    canary = text_of(b"canary" * 6)
    for broken in ({"k": canary}, {"k": canary[:-1]}, {"k": [canary]}):
        with pytest.raises(MalformedKeys) as caught:
            KeyRing.parse(json.dumps(broken))
        assert canary[:-1] not in "".join(traceback.format_exception(caught.value))
