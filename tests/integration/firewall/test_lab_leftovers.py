"""What a killed run leaves of its labs is removed by the next one, and nothing else is."""

from __future__ import annotations

import subprocess
import sys

from tests.support.firewall_lab import NETNS, PREFIX, lab, remove_leftovers, run


def test_leftovers_of_the_dead() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = f"{PREFIX}{ended.pid}-1"
    run("ip", "netns", "add", f"{dead}-node")
    run("ip", "netns", "add", f"{dead}-world")
    with lab() as ours:
        assert not (NETNS / f"{dead}-node").exists()
        assert not (NETNS / f"{dead}-world").exists()
        remove_leftovers()
        assert (NETNS / f"{ours.name}-node").exists()
    assert not (NETNS / f"{ours.name}-node").exists()
