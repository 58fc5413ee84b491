"""◆ `invoker serve`: a node of a cluster, set up by its environment."""

from __future__ import annotations

import os

from invoker.commands import present
from invoker.commands.exit_codes import ExitCode


def serve(*, check: bool = False) -> int:
    """Serve as a node of a cluster; the settings come from the environment (docs/settings.md).

    Parameters
    ----------
    check
        Only check the settings and show them, secrets left out.
    """
    from invoker import config

    settings = config.load(os.environ)
    if check:
        rows = config.describe(settings)
        present.table(("variable", "value", "meaning"), [(row.name, row.value or "", row.meaning) for row in rows])
        return ExitCode.OK
    from invoker.app import run_serve

    return run_serve(settings)
