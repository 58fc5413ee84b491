"""The ping names the invoker as an acknowledgement does."""

from __future__ import annotations

import json

import pytest

from invoker.io.kafka.health import ping
from invoker.protocol.acknowledgement import acknowledge
from invoker.protocol.message import decode_message
from invoker.protocol.secrets import KeyRing
from tests.support.node import message


@pytest.mark.parametrize("enabled", [True, False])
def test_the_name_is_the_acknowledgements_instance(enabled: bool) -> None:
    told = json.loads(ping(3, 1 << 30, enabled))
    answer = json.loads(acknowledge(decode_message(message("act"), KeyRing()), b'""', False, 3, 1 << 30))
    assert told == {"name": answer["instance"], "isEnabled": enabled}
