"""Programs beside the invoker: bounded in time and in what they print, and gone when nobody waits for them any more."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from invoker.errors import PlatformFault
from invoker.io.firewall import iptables as firewall_iptables
from invoker.io.firewall.iptables import HostPrograms, Iptables, Output, read_counts
from invoker.io.firewall.settings import Backend

LIMIT_S = 10


class Script:
    """Programs whose outputs are given; notes what was run."""

    def __init__(self, *outputs: Output) -> None:
        self.outputs = list(outputs)
        self.commands: list[list[str]] = []
        self.closed = 0

    async def open(self) -> None:
        pass

    async def run(self, command: list[str], given: bytes = b"") -> Output:
        self.commands.append(command)
        return self.outputs.pop(0)

    async def close(self) -> None:
        self.closed += 1

    def describe(self) -> str:
        return "in a script"


@pytest.mark.parametrize(
    ("backend", "counts", "name", "version"),
    [
        ("auto", "nft 12\nlegacy 3\n", "iptables-nft", "iptables v1.8.9 (nf_tables)"),
        ("auto", "nft 2\nlegacy 30\n", "iptables-legacy", "iptables v1.8.9 (legacy)"),
        ("auto", "nft 0\nlegacy 0\n", "iptables", "iptables v1.8.9 (nf_tables)"),
        ("auto", "nft 5\nlegacy 5\n", "iptables", "iptables v1.8.9 (nf_tables)"),
        ("auto", "nft\nlegacy\n", "iptables", "iptables v1.8.9 (nf_tables)"),
        ("nft", "nft 0\nlegacy 30\n", "iptables-nft", "iptables v1.8.9 (nf_tables)"),
        ("legacy", "nft 9\nlegacy 0\n", "iptables-legacy", "iptables v1.8.9 (legacy)"),
    ],
)
async def test_the_tables_in_use_are_chosen(backend: Backend, counts: str, name: str, version: str) -> None:
    told = Output(0, f"{counts}iptables v1.8.9 (nf_tables)\n".encode(), b"")
    script = Script(told, Output(0, b"*filter\n", b""))
    tables = Iptables(script, backend)
    await tables.open()
    assert await tables.save() == "*filter\n"
    assert script.commands[1] == [f"{name}-save", "-t", "filter"]
    assert tables.describe() == f"{version} in a script"


async def test_a_place_without_iptables_is_closed_again() -> None:
    script = Script(Output(127, b"nft 0\nlegacy 0\n", b"sh: iptables: not found\n"))
    with pytest.raises(PlatformFault, match=r"in a script \(exit code 127: sh: iptables: not found\).*FIREWALL="):
        await Iptables(script).open()
    assert script.closed == 1


def test_what_was_counted() -> None:
    assert read_counts("nft 3\nlegacy 0\niptables v1.8.9 (legacy)\n") == (
        {"nft": 3, "legacy": 0},
        "iptables v1.8.9 (legacy)",
    )
    assert read_counts("nft x\nsomething\n") == ({}, "")


async def test_a_program_gets_its_input_and_is_heard() -> None:
    programs = HostPrograms(LIMIT_S)
    text = b"x" * 1_000_000
    assert await programs.run(["cat"], text) == Output(0, text, b"")
    assert await programs.run(["sh", "-c", "echo no >&2; exit 3"]) == Output(3, b"", b"no\n")
    assert (await programs.run(["true"], text)).code == 0, "one that doesn't read"
    missing = await programs.run(["no-such-program-at-all"])
    assert missing.code == 127
    assert "No such file" in missing.complaint


def test_a_complaint_is_a_line_of_bounded_length() -> None:
    assert Output(2, b"", b"a\nb\n").complaint == "exit code 2: a / b"
    assert Output(2, b"out", b"").complaint == "exit code 2: out"
    assert Output(1, b"", b"").complaint == "exit code 1: it said nothing"
    assert len(Output(1, b"", b"z" * 10_000).complaint) < 600


async def test_a_program_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(PlatformFault, match=r"gave up after 0\.3 s"):
        await HostPrograms(0.3).run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 60"])
    assert not _alive(tmp_path / "pid")


async def test_a_program_whose_caller_goes_away_is_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    script = f"echo $$ > {tmp_path}/pid; sleep 60 & echo > {tmp_path}/begun; wait"
    work = asyncio.create_task(HostPrograms(LIMIT_S).run(["sh", "-c", script]))
    await asyncio.wait_for(asyncio.to_thread((tmp_path / "begun").read_text), LIMIT_S)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not _alive(tmp_path / "pid")


async def test_what_a_program_prints_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firewall_iptables, "OUTPUT_BYTES_MAX", 100_000)
    with pytest.raises(PlatformFault, match="more than 100000 bytes"):
        await HostPrograms(LIMIT_S).run(["yes"])


def _alive(path: Path) -> bool:
    return Path(f"/proc/{path.read_text().strip()}").exists()
