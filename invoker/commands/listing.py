"""◆ What the commands that list have in common: which rows, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from cyclopts import Parameter

from invoker.commands import present
from invoker.commands.target import JsonFlag


@Parameter(name="*")
@dataclass(frozen=True)
class Rows:
    """Which rows of a list, and in which form."""

    limit: int = 30
    """Rows at most; up to 200."""

    skip: int = 0
    """Rows to leave out."""

    json: JsonFlag = False
    """Print JSON instead of a table."""

    def show(
        self, answer: bytes, columns: Sequence[str], row: Callable[[dict[str, Any]], Sequence[str]], *, none: str
    ) -> None:
        """Print the list that was answered, each element as a `row` by `columns`; `none` where it is empty."""
        if self.json:
            present.say(present.pretty(answer))
            return
        listed: list[dict[str, Any]] = msgspec.json.decode(answer)
        if listed:
            present.table(columns, [row(each) for each in listed])
        else:
            present.say(none)
