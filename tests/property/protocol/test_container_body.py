"""No input makes a body that lets user code out, and no name is one that Docker refuses."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker.protocol.container_body import container_name, create_body, is_hardened

pytestmark = pytest.mark.contract("12")

ODD = st.sampled_from(["host", "none", "container:x", "", "../..", "/", "a:b", "ALL", "0.0.0.0", "10.0.0.1", "net"])
TEXTS = ODD | st.text(max_size=20)
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


@given(
    fields=st.fixed_dictionaries(
        {
            "image": TEXTS,
            "memory_mb": st.integers(-10, 2**40),
            "network": TEXTS,
            "address": TEXTS | st.just("172.18.0.2"),
            "oci_runtime": TEXTS,
            "resolver_file": TEXTS | st.none() | st.just("/etc/docker/functions.resolv.conf"),
            "dns_servers": st.lists(TEXTS, max_size=3),
            "api_host": TEXTS,
            "labels": st.dictionaries(TEXTS, TEXTS, max_size=3),
        }
    )
)
def test_any_input_gives_a_hardened_body_or_none(fields: dict[str, Any]) -> None:
    try:
        body = create_body(**fields)
    except ValueError:
        return
    assert is_hardened(body)
    assert is_hardened(json.loads(json.dumps(body)))


@given(memory_mb=st.integers(6, 16 * 1024 * 1024), labels=st.dictionaries(TEXTS, TEXTS), api_host=TEXTS)
def test_every_size_gives_a_hardened_body(memory_mb: int, labels: dict[str, str], api_host: str) -> None:
    body = create_body(
        image="i",
        memory_mb=memory_mb,
        network="functions",
        address="172.18.0.2",
        oci_runtime="runc",
        resolver_file=None,
        dns_servers=(),
        api_host=api_host,
        labels=labels,
    )
    assert is_hardened(body)
    assert body["HostConfig"]["Memory"] == memory_mb * 1_048_576


@given(n=st.integers(1, 2**63), parts=st.tuples(TEXTS, TEXTS), prefix=TEXTS)
def test_any_name_is_one_for_docker(n: int, parts: tuple[str, str], prefix: str) -> None:
    name = container_name(n, *parts, prefix)
    assert NAME.fullmatch(name)
    assert f"_{n}_" in name
