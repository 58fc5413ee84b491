"""◆ The command line `sim`: its commands, and how each way to fail becomes a sentence and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Final, cast

from cyclopts import App, CycloptsError, Group, Parameter

from invoker import __version__
from invoker.commands.exit_codes import ExitCode
from invoker.errors import InvokerError
from sim.scenario.document import ScenarioError

MEANINGS: Final = {
    ExitCode.OK: "done",
    ExitCode.APPLICATION_ERROR: "what was to be shown is not so: an oracle is off, a target can't be met",
    ExitCode.DIFFERENT: "replay: the decisions differ",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.REFUSED: "what was given (a scenario, a trace, a log) can't be used",
    ExitCode.DEFECT: "a defect of sim itself",
    ExitCode.INTERRUPTED: "interrupted; what was done is kept, where the command says so",
}
_EXIT_CODES = "\n".join(f"{code:>4}  {meaning}" for code, meaning in MEANINGS.items())

app = App(
    name="sim",
    help="Simulate nodes that run serverless functions, with the policies of `invoker serve`.",
    help_epilogue=f"Exit codes:\n{_EXIT_CODES}",
    help_format="plaintext",
    default_parameter=Parameter(negative=""),
    version=__version__,
)

_ASK, _MAKE, _PROVE = (
    Group(name, sort_key=position) for position, name in enumerate(("Ask", "Prepare", "Prove and measure"))
)

for _name, _group, _summary in (
    ("run", _ASK, "Simulate a scenario, and tell what came of it."),
    ("sweep", _ASK, "Run a scenario under every combination of some settings, and several seeds."),
    ("capacity", _ASK, "Find the smallest memory, or whatever, that is enough for what is wanted."),
    ("compare", _ASK, "Hold policies, or other settings, against each other on the same luck."),
    ("oracles", _PROVE, "Hold the simulator against mathematics."),
    ("headlines", _PROVE, "Try what papers claim, on the generator's workloads."),
    ("bench", _PROVE, "Measure how fast the simulator is on this machine."),
    ("fit", _MAKE, "Make a node's profile of decision logs: how long each thing takes there."),
    ("report", _ASK, "A page of figures and findings of a scenario, or of a result that was kept."),
    ("replay", _ASK, "What a decision log's run would have been under other policies or memory."),
):
    app.command(f"sim.commands.{_name}:{_name}", name=_name, group=_group, help=_summary)
app.command("sim.commands.trace:app", name="trace", group=_MAKE, help="Describe, clean, convert and generate traces.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (MEANINGS)."""
    try:
        result = cast("Callable[..., object]", app)(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
    except CycloptsError as problem:
        return _told(str(problem), ExitCode.USAGE, hint="`sim --help` shows the commands, `sim COMMAND --help` one")
    except ScenarioError as problem:  # each line begins with its place, as editors and people look for it
        sys.stderr.write(f"{problem}\n")
        return ExitCode.REFUSED
    except InvokerError as problem:
        return _told(str(problem), ExitCode.REFUSED)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # `sim ... | head`: who read has seen enough
        sys.stdout = None
        return ExitCode.OK
    except Exception:  # noqa: BLE001 - a defect: the traceback is for us, the exit code for scripts
        traceback.print_exc()
        return _told("this is a defect of sim; the lines above tell where", ExitCode.DEFECT)
    return result if isinstance(result, int) else ExitCode.OK


def _told(text: str, code: ExitCode, hint: str = "") -> int:
    sys.stderr.write(f"sim: {text.strip()}\n{hint}{chr(10) if hint else ''}")
    return code


if __name__ == "__main__":
    sys.exit(main())
