"""Completion messages, read as a controller of either generation reads them."""

from __future__ import annotations

import json

import pytest

from invoker.protocol.acknowledgement import acknowledge, short_response
from invoker.protocol.message import ActivationMessage, decode_message
from invoker.protocol.secrets import KeyRing

pytestmark = pytest.mark.contract("6")

ID = "0123456789abcdef0123456789ABCDEF"


def message(transid: str = '["tid",1700000000000]') -> ActivationMessage:
    text = '{"transid":%s,"activationId":"%s","action":{"path":"p","name":"n"},"user":{"namespace":{"name":"ns"}}}'
    return decode_message((text % (transid, ID)).encode(), KeyRing())


def test_the_short_form() -> None:
    body = acknowledge(message(), short_response(message()), False, 3, 1 << 30)
    assert json.loads(body) == {
        "transid": ["tid", 1700000000000],
        "response": ID,
        "isSystemError": False,
        "invoker": {"instance": 3, "userMemory": "0 g"},
        "instance": {
            "instance": 3,
            "userMemory": "1073741824 B",
            "instanceType": "invoker",
            "tags": [],
            "dedicatedNamespaces": [],
        },
    }


def test_the_whole_record() -> None:
    record = b'{"response":{"result":{"x":1e400,"y":8.70}}}'
    body = acknowledge(message(), record, True, 0, 0)
    assert b'"response":' + record + b',"isSystemError":true' in body


@pytest.mark.parametrize(
    "transid", ['["tid",5]', '[ "tid" , 5 ]', '["tid",5,true]', '["tid",5,["p",4]]', r'["\u0041%s\\",5]']
)
def test_the_transaction_id_goes_back_byte_for_byte(transid: str) -> None:
    body = acknowledge(message(transid), b'"x"', False, 0, 0)
    assert body.startswith(b'{"transid":' + transid.encode() + b',"response":"x"')
