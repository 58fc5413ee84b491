"""◆ `invoker serve`: a node of a cluster, set up by its environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from invoker.commands import present
from invoker.commands.exit_codes import ExitCode
from invoker.commands.target import JsonFlag

if TYPE_CHECKING:
    from invoker import config


def serve(*, check: bool = False, settings: bool = False, json: JsonFlag = False) -> int:
    """Serve as a node of a cluster; the settings come from the environment (docs/settings.md).

    Parameters
    ----------
    check
        Only try every neighbour, change nothing, and print what was found; fails where one of them does.
    settings
        Only check the settings and show them, secrets left out.
    json
        Print JSON; with --check or --settings.
    """
    from invoker import config

    told = config.load(os.environ)
    if settings:
        rows = config.describe(told)
        if json:
            present.say(present.pretty(msgspec.json.encode({row.name: row.value for row in rows})))
        else:
            present.table(("variable", "value", "meaning"), [(row.name, row.value or "", row.meaning) for row in rows])
        return ExitCode.OK
    if check:
        return _check(told, json)
    from invoker.app import run_serve

    return run_serve(told, config.likely_slips(config.ServeSettings, os.environ))


def _check(settings: config.ServeSettings, json: bool) -> int:
    import asyncio

    from invoker.app.check import check

    findings = asyncio.run(check(settings))
    if json:
        present.say(present.pretty(msgspec.json.encode([found._asdict() for found in findings])))
    else:
        rows = [(found.neighbour, "well" if found.well else "FAILS", found.told) for found in findings]
        present.table(("neighbour", "", "what was found"), rows)
    return ExitCode.OK if all(found.well for found in findings) else ExitCode.UNAVAILABLE
