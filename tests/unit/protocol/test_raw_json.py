"""Values that a JSON library would improve pass from the message to /init, /run and the record byte for byte."""

from __future__ import annotations

import json

import msgspec
import pytest

from invoker.protocol.document import decode_action
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.raw_json import DECODE_ERRORS, decode_masked, is_json, is_utf8, unmask
from invoker.protocol.record import Ending, activation_record
from invoker.protocol.runtime_api import init_body, run_body
from invoker.protocol.secrets import KeyRing

AWKWARD: dict[str, str] = {
    "float that is whole": "1.0",
    "trailing zero": "8.70",
    "beyond a double": "1e400",
    "below a double": "-1e-400",
    "exponent in capitals": "1E+05",
    "negative zero": "-0",
    "40 digits": "1234567890123456789012345678901234567890",
    "40 digits after the point": "0.1234567890123456789012345678901234567890",
    "5000 digits": "9" * 5000,
    "escaped ASCII": r'"\u0041\/\b\f\n\r\t\"\\"',
    "NUL": r'"\u0000"',
    "non-BMP as it is": '"😀 𝄞"',
    "non-BMP escaped": r'"\ud83d\ude00 \uD834\uDD1E"',
    "line separators": '"\u2028\u2029"',
    "lone high surrogate": r'"\ud83d"',
    "lone high surrogate, then text": r'"\uD83D and more"',
    "lone low surrogate": r'"\ude00"',
    "surrogates the wrong way round": r'"\ude00\ud83d"',
    "lone surrogate before a pair": r'"\ud83d\ud83d\ude00"',
    "escaped backslash before what looks like one": r'"\\ud83d"',
    "lone surrogate behind an escaped backslash": r'"\\\ud83d"',
    "key order": '{"z":1,"a":2,"m":{"y":1,"b":2}}',
    "nested duplicate keys": '{"a":1,"a":2,"a":{"b":1,"b":2}}',
    "lone surrogate in a nested key": r'{"\ud83d":["\ude00"]}',
    "spaces": '{ "a" : [ 1 ,\t2 , \n 3 ] }',
    "empty ones": '[{},[],"",0,null,false]',
    "deep": "[" * 300 + "]" * 300,
}

MESSAGE = (
    '{"transid":["tid",1700000000000],"activationId":"0123456789abcdef0123456789abcdef",'
    '"action":{"path":"guest","name":"hello"},"user":{"namespace":{"name":"guest"}},'
    '"content":%s,"initArgs":%s}'
)
DOCUMENT = decode_action(b'{"namespace":"guest","name":"hello","exec":{"kind":"python:3","code":"x"}}')

awkward = pytest.mark.parametrize("value", AWKWARD.values(), ids=AWKWARD.keys())


def message(content: str, init_args: str = "[]") -> ActivationMessage:
    return decode_message((MESSAGE % (content, init_args)).encode(), KeyRing())


@pytest.mark.contract("3")
@awkward
def test_run_gets_the_content_as_it_was_written(value: str) -> None:
    content = f'{{"b":1, "value":{value},"a":2}}'
    assert run_body(message(content), DOCUMENT, 1).startswith(b'{"value":' + content.encode() + b',"activation_id":')


@pytest.mark.contract("3")
@awkward
def test_run_gets_each_value_as_it_was_written_beside_an_initialisation_parameter(value: str) -> None:
    decoded = message(f'{{"value":{value},"given":"x"}}', '["given"]')
    assert decoded.run_value == b'{"value":' + value.encode() + b"}"
    assert run_body(decoded, DOCUMENT, 1).startswith(b'{"value":' + decoded.run_value + b",")


@pytest.mark.contract("3", "12")
@awkward
def test_init_gets_a_string_as_it_was_written_and_all_else_as_its_text(value: str) -> None:
    decoded = message(f'{{"given":{value},"rest":1}}', '["given"]')
    assert decoded.init_parameters == {"given": value.encode()}
    assert decoded.run_value == b'{"rest":1}'
    body = init_body(decoded, DOCUMENT, 1)
    expected = value.encode() if value.startswith('"') else json.dumps(value, ensure_ascii=False).encode()
    assert b'"env":{"given":' + expected + b',"__OW_ACTIVATION_ID"' in body
    seen = json.loads(body)["value"]["env"]["given"]
    assert seen == (json.loads(value) if value.startswith('"') else value)


@pytest.mark.contract("7")
@awkward
def test_the_record_holds_the_result_as_it_was_written(value: str) -> None:
    result = b'{"value":' + value.encode() + b"}"
    ending = Ending(
        status=0, result=result, size_bytes=len(result), timed_out=False, run_start_ns=1_000_000, end_ns=2_000_000
    )
    record = activation_record(message("{}"), DOCUMENT, ending, [])
    assert b'"response":{"result":' + result + b',"statusCode":0' in record


@pytest.mark.contract("3", "6")
@awkward
def test_a_transaction_id_with_a_parent_is_echoed_as_it_was_written(value: str) -> None:
    body = (MESSAGE % ("{}", "[]")).replace(
        '["tid",1700000000000]', f'[ "tid" ,1700000000000,["parent", 1, [{value}]]]'
    )
    decoded = decode_message(body.encode(), KeyRing())
    assert decoded.transid == f'[ "tid" ,1700000000000,["parent", 1, [{value}]]]'.encode()
    assert (decoded.transaction_id, decoded.transaction_start_ms) == ("tid", 1700000000000)


@awkward
def test_an_annotation_of_the_document_keeps_its_value(value: str) -> None:
    body = f'{{"namespace":"n","name":"a","exec":{{"kind":"k"}},"annotations":[{{"key":"x","value":{value}}}]}}'
    assert decode_action(body.encode()).annotations == (("x", value.encode()),)


@awkward
def test_each_is_json(value: str) -> None:
    assert is_json(value.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"1 2",
        b'"\\ud83',
        b'"\\udzzz"',
        b'"\xff"',
        b'"\xed\xa0\xbd"',
        b"NaN",
        b"01",
        b'{"a":1,}',
        b'"\\x"',
        b'"\n"',
        b"[" * 100000 + b"]" * 100000,
        b"\xef\xbb\xbf1",
    ],
)
def test_what_is_no_json(data: bytes) -> None:
    assert not is_json(data)


def test_the_mask_leaves_pairs_and_escaped_backslashes_alone() -> None:
    decoder = msgspec.json.Decoder(list[msgspec.Raw])
    text = rb'["\ud83d\ude00","\\ud83d","\ud83d","\\\ude00\\","\ud83d\u0041"]'
    raws = decode_masked(decoder, text)
    assert [unmask(raw) for raw in raws] == text[1:-1].split(b",")
    assert [b"\xff" in bytes(raw) for raw in raws] == [False, False, True, True, True]


def test_half_a_pair_is_no_text() -> None:
    """A masked string that we do need as text is refused: it would be another string."""
    with pytest.raises(DECODE_ERRORS):
        decode_masked(msgspec.json.Decoder(dict[str, str]), rb'{"a":"\ud83d"}')
    with pytest.raises(DECODE_ERRORS):
        decode_masked(msgspec.json.Decoder(dict[str, msgspec.Raw]), rb'{"\ud83d":1}')


def test_utf8() -> None:
    assert is_utf8(b"plain")
    assert is_utf8("é😀".encode())
    assert not is_utf8(b"\xff")
    assert not is_utf8(b"\xed\xa0\xbd")  # half a pair, encoded
