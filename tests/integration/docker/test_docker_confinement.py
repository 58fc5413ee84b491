"""What confines a container in a real Docker daemon (section 12), told by the daemon and by the process inside."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from invoker.io.docker.engine import PORT
from invoker.io.docker.settings import OWNER_LABEL
from invoker.protocol.container_body import is_hardened
from tests.support.docker_fixtures import Make, inspect
from tests.support.odd_calls import MEMORY_MB, run, spec, unexpected

pytestmark = pytest.mark.docker


@pytest.mark.contract("12")
async def test_confinement(docker_engine: Make, odd_image: str) -> None:
    """Section 12, as the daemon tells it and as the process inside sees it."""
    engine = await docker_engine(dns_servers=("192.0.2.53",), api_host="https://api.example")
    container = await engine.start(spec(odd_image), unexpected)
    shown = inspect(container.id)
    assert shown["Name"].endswith("_1_guest_hello")
    assert shown["Config"]["Labels"][OWNER_LABEL].startswith("functions-invoker-test-")
    host = shown["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["CpuShares"]) == (MEMORY_MB << 20, MEMORY_MB << 20, MEMORY_MB)
    assert (host["LogConfig"]["Type"], host["PidsLimit"], host["Runtime"]) == ("none", 1024, "runc")
    facts = await run(container, do="facts")
    assert facts["cwd"] == "/tmp"
    assert facts["environment"]["HOME"] == "/tmp"
    assert facts["environment"]["__OW_API_HOST"] == "https://api.example"
    assert int(facts["capabilities"], 16) == 0
    assert facts["no_new_privileges"] == "1"
    assert not facts["root_writable"]
    assert facts["files"] == ["1024", "1024"]
    assert facts["address"] == container.address
    mount = facts["tmp"].split()
    assert mount[2] == "tmpfs"
    assert {"rw", "nosuid", "nodev", f"size={MEMORY_MB * 1024}k"} <= set(mount[3].split(","))
    assert "noexec" not in mount[3]
    assert is_hardened(engine._body(spec(odd_image), container.address))


@pytest.mark.contract("12")
async def test_resolver_file(docker_engine: Make, odd_image: str, tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 192.0.2.99\n")
    os.chmod(tmp_path, 0o755)
    engine = await docker_engine(resolver_file=str(resolver))
    container = await engine.start(spec(odd_image), unexpected)
    assert (await run(container, do="facts"))["resolver"] == resolver.read_text()


@pytest.mark.contract("17")
async def test_containers_do_not_reach_each_other(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine()
    one, other = await asyncio.gather(*(engine.start(spec(odd_image, number), unexpected) for number in (1, 2)))
    assert not (await run(one, do="connect", address=other.address, port=PORT))["connected"]
