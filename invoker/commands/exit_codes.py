"""◇ The exit codes of `invoker`, all of them. Below 64 they tell what was found, from there on what went wrong."""

from __future__ import annotations

from enum import IntEnum

from invoker.errors import ActionNotFound, CallerFault, InvokerError, SettingsError


class ExitCode(IntEnum):
    """What a script may rely on."""

    OK = 0
    APPLICATION_ERROR = 1
    DEVELOPER_ERROR = 2
    SYSTEM_ERROR = 3
    DIFFERENT = 4
    UNFIT = 5
    USAGE = 64
    REFUSED = 65
    NOT_FOUND = 66
    UNAVAILABLE = 69
    DEFECT = 70
    SETTINGS = 78
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "done; an invocation that was awaited succeeded",
    ExitCode.APPLICATION_ERROR: "invoke: the function answered with an error of its own (status 1)",
    ExitCode.DEVELOPER_ERROR: "invoke: the function failed: crash, time, memory, no JSON (status 2)",
    ExitCode.SYSTEM_ERROR: "invoke: the invoker failed to run it (status 3)",
    ExitCode.DIFFERENT: "replay: the decisions differ; tour: something was not as told",
    ExitCode.UNFIT: "doctor: something that is needed is missing",
    ExitCode.USAGE: "the command line is wrong",
    ExitCode.REFUSED: "what was given can't be used",
    ExitCode.NOT_FOUND: "there is no such action, activation or file",
    ExitCode.UNAVAILABLE: "no invoker answers, or a neighbour of it fails",
    ExitCode.DEFECT: "a defect of invoker itself",
    ExitCode.SETTINGS: "the settings can't be used",
    ExitCode.INTERRUPTED: "interrupted",
}


def of_error(error: InvokerError) -> ExitCode:
    """The exit code that tells of `error`."""
    if isinstance(error, SettingsError):
        return ExitCode.SETTINGS
    if isinstance(error, ActionNotFound) or getattr(error, "status", None) == 404:
        return ExitCode.NOT_FOUND
    if isinstance(error, CallerFault):
        return ExitCode.REFUSED
    return ExitCode.UNAVAILABLE
