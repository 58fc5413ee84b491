"""◆ The command line `invoker`: its commands, and how each way to fail becomes a sentence and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import cast

from cyclopts import App, CycloptsError, Group, Parameter

from invoker import __version__
from invoker.commands.exit_codes import MEANINGS, ExitCode, of_error
from invoker.errors import InvokerError

_EXIT_CODES = "\n".join(f"{code:>4}  {meaning}" for code, meaning in MEANINGS.items())

app = App(
    name="invoker",
    help="Run serverless functions on this node: cold, warm and out of a pause.",
    help_epilogue=f"Exit codes:\n{_EXIT_CODES}",
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    version=__version__,
)

_BEGIN, _SERVE, _USE, _INSIDE = (
    Group(name, sort_key=position) for position, name in enumerate(("Begin", "Serve", "Use", "Look inside"))
)

for function, group, summary, more in (
    ("tour", _BEGIN, "See functions run cold, warm, paused and failing, in under a minute.", ""),
    ("doctor", _BEGIN, "Tell what this machine can do, and how to mend what it can't.", ""),
    (
        "dev",
        _SERVE,
        "Serve functions on this machine, with nothing else needed, until Ctrl-C.",
        "HTTP on loopback, actions and records in SQLite. Each option can come from the environment instead: "
        "docs/settings.md lists the variables, those without an option too.",
    ),
    ("serve", _SERVE, "Serve as a node of a cluster, set up by the environment (docs/settings.md).", ""),
    (
        "invoke",
        _USE,
        "Run an action; show its result, logs and timings.",
        "The exit code is the activation's status: 0 success, 1 application, 2 developer, 3 internal error. "
        "Where no invoker runs, one is started for this call on the data directory and stopped again.",
    ),
    (
        "replay",
        _INSIDE,
        "Feed recorded decisions to the pool again and compare.",
        "The exit code is 0 where all decisions are the same, 4 where they differ.",
    ),
):
    app.command(f"invoker.commands.{function}:{function}", name=function, group=group, help=summary, help_epilogue=more)
for family, group, summary in (
    ("action", _USE, "Keep actions: put, get, list, delete."),
    ("activation", _USE, "Read what ran: get, list."),
    ("couchdb", _SERVE, "Make what the invoker needs to find in CouchDB: init."),
):
    app.command(f"invoker.commands.{family}:app", name=family, group=group, help=summary)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (`invoker.commands.exit_codes`)."""
    try:
        result = cast("Callable[..., object]", app)(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as problem:
        return _told(
            str(problem), ExitCode.USAGE, hint="`invoker --help` shows the commands, `invoker COMMAND --help` one"
        )
    except InvokerError as problem:
        return _told(str(problem), of_error(problem))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # `invoker ... | head`: who read has seen enough
        sys.stdout = None
        return ExitCode.OK
    except Exception:  # noqa: BLE001 - a defect: the traceback is for us, the exit code for scripts
        traceback.print_exc()
        return _told("this is a defect of invoker; the lines above tell where", ExitCode.DEFECT)
    return result if isinstance(result, int) else ExitCode.OK


def _told(text: str, code: ExitCode, hint: str = "") -> int:
    sys.stderr.write(f"invoker: {text.strip()}\n{hint}{chr(10) if hint else ''}")
    return code


if __name__ == "__main__":
    sys.exit(main())
