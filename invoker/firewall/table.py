"""◇ The text of `iptables-save -t filter`, parsed as far as it has to be understood.

A rule stays the text that was printed: nobody's rule is interpreted here beyond the chain that it jumps to, and a text
that was printed can be fed back as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise

import msgspec

from invoker.errors import PlatformFault

TABLE = "*filter"
JUMPS = ("-j", "--jump", "-g", "--goto")

_WORD = re.compile(r'"(?:[^"\\]|\\.)*"|\S+')
_COUNTERS = re.compile(r"\[\d+:\d+\] ")
_FOREIGN = "is incompatible, use 'nft' tool"
"""What iptables prints in the place of a table that somebody made with nft and that it can't read."""


class Table(msgspec.Struct, frozen=True):
    """Chain -> its rules in order, each without `-A CHAIN` and without counters."""

    chains: Mapping[str, tuple[str, ...]]

    def rules(self, chain: str) -> tuple[str, ...]:
        """The rules of a chain; none where there is no such chain."""
        return self.chains.get(chain, ())


def parse(text: str) -> Table:
    """The filter table in what iptables-save printed; nothing printed is a table without chains.

    Raises PlatformFault for a text that is cut off, or that iptables could not make of what is in the kernel.
    """
    chains: dict[str, list[str]] = {}
    inside = whole = False
    for line in text.splitlines():
        if line.startswith("#"):
            if _FOREIGN in line and "filter" in line:
                raise PlatformFault(
                    "iptables can't read the filter table: somebody wrote rules into it that only `nft` knows. Remove "
                    "them (`nft list table ip filter`) or put them in a table of their own"
                )
        elif line == TABLE:
            inside, whole = True, False
        elif line == "COMMIT":
            inside, whole = False, True
        elif inside:
            _add(chains, line)
    if chains and not whole:
        raise PlatformFault("what iptables-save printed is cut off: its filter table has no end")
    return Table({name: tuple(rules) for name, rules in chains.items()})


def target(rule: str) -> str | None:
    """The chain or target that a rule jumps or goes to; None where it has none. Quoted words are nobody's target."""
    words = _WORD.findall(rule)
    for word, following in pairwise(words):
        if word in JUMPS:
            return str(following)
    return None


def _add(chains: dict[str, list[str]], line: str) -> None:
    """One line inside the table: a chain's head, or a rule."""
    line = _COUNTERS.sub("", line, count=1) if line.startswith("[") else line
    if line.startswith(":"):
        chains.setdefault(line[1:].partition(" ")[0], [])
    elif line.startswith("-A "):
        chain, _, rule = line[3:].partition(" ")
        chains.setdefault(chain, []).append(rule)
    elif line.strip():
        raise PlatformFault(f"iptables-save printed a line that is neither chain nor rule: {line[:80]!r}")
