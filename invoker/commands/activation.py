"""◆ `invoker activation`: read what ran."""

from __future__ import annotations

from typing import Literal

import msgspec
from cyclopts import App

from invoker.commands import present
from invoker.commands.listing import Rows
from invoker.commands.target import JsonFlag, Target

app = App(name="activation", help="Read what ran: get, list.", help_epilogue="")


@app.command
def get(
    activation_id: str,
    part: Literal["record", "logs", "result", "facts"] = "record",
    /,
    *,
    namespace: str = "guest",
    json: JsonFlag = False,
    target: Target | None = None,
) -> None:
    """Show an activation: how it ended, how it came to its container, its result and its log.

    Parameters
    ----------
    activation_id
        The activation's id, 32 hex digits.
    part
        The whole record, or only its logs, its result, or the facts of how it came about.
    namespace
        The namespace that invoked.
    json
        Print JSON.
    """
    client = (target or Target()).client()
    answer = client.activation(namespace, activation_id, "" if part == "record" else part)
    if json or part in ("result", "facts"):
        present.say(present.pretty(answer))
        return
    if part == "logs":
        for line in msgspec.json.decode(answer)["logs"]:
            present.say(line)
        return
    facts = msgspec.json.decode(client.activation(namespace, activation_id, "facts"))
    where = present.console()
    for each in present.activation(present.record(answer), facts):
        where.print(each)


@app.command(name="list")
def list_(
    namespace: str = "guest",
    /,
    *,
    name: str | None = None,
    since: int | None = None,
    rows: Rows | None = None,
    target: Target | None = None,
) -> None:
    """List the activations of a namespace, newest first.

    Parameters
    ----------
    namespace
        The namespace that invoked.
    name
        Only those of the action with this name.
    since
        Only those that began at this Unix time in milliseconds, or later.
    """
    rows = rows or Rows()
    client = (target or Target()).client()
    answer = client.activations(namespace, limit=rows.limit, skip=rows.skip, name=name, since=since)
    none = f"no activations in {namespace}; make one: invoker invoke {namespace}/NAME"
    rows.show(answer, present.ACTIVATION_COLUMNS, present.activation_row, none=none)
