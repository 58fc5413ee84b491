"""◆ The command line `loadtest`: what drives invokers from outside."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import cast

from cyclopts import App, CycloptsError, Parameter

from invoker import __version__
from invoker.commands.exit_codes import ExitCode, of_error
from invoker.errors import InvokerError

app = App(
    name="loadtest",
    help="Drive invokers from outside, as a controller does.",
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    version=__version__,
)
_ENVIRONMENT = (
    "are named by the environment, as for `invoker serve`: KAFKA_HOSTS, KAFKA_SECURITY, COUCH_URL, COUCH_USERNAME, "
    "COUCH_PASSWORD, CLUSTER_CA_FILE (docs/settings.md)."
)
app.command(
    "loadtest.commands.controller:controller",
    name="controller",
    help="Run a reference controller with a door as OpenWhisk's, until Ctrl-C.",
    help_epilogue=f"Kafka and CouchDB {_ENVIRONMENT}",
)
app.command(
    "loadtest.commands.prepare:prepare",
    name="prepare",
    help="Put the function that loads call into CouchDB.",
    help_epilogue=f"CouchDB and its authority {_ENVIRONMENT}",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code, as `invoker` gives it."""
    try:
        result = cast("Callable[..., object]", app)(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as problem:
        return _told(f"{problem}\n`loadtest --help` shows the commands, `loadtest COMMAND --help` one", ExitCode.USAGE)
    except InvokerError as problem:
        return _told(str(problem), of_error(problem))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception:  # noqa: BLE001 - a defect: the traceback is for us, the exit code for scripts
        traceback.print_exc()
        return _told("this is a defect of loadtest; the lines above tell where", ExitCode.DEFECT)
    return result if isinstance(result, int) else ExitCode.OK


def _told(text: str, code: ExitCode) -> int:
    sys.stderr.write(f"loadtest: {text.strip()}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
