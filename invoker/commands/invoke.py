"""◆ `invoker invoke`: run an action, by the invoker that runs or by one started for this call."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from invoker.client import Client
from invoker.commands import parameters, present
from invoker.commands.exit_codes import ExitCode
from invoker.commands.target import JsonFlag, Target
from invoker.errors import CallerFault

PARAMETERS_BYTES_MAX = 5 * 1_048_576


def invoke(
    name: str,
    /,
    *,
    param: list[str] | None = None,
    params_file: Path | None = None,
    blocking: Annotated[bool, Parameter(negative="--no-blocking")] = True,
    result: Annotated[bool, Parameter(show_default=False)] = False,
    json: JsonFlag = False,
    target: Target | None = None,
) -> int:
    """Run the action NAMESPACE/NAME and show what came of it; the exit code is the activation's status.

    With no invoker running, one is started for this call on the data directory and stopped again.

    Parameters
    ----------
    name
        NAMESPACE/NAME or NAMESPACE/PACKAGE/NAME; the namespace `_` is `guest`.
    param
        key=value; JSON if it parses, else a string. May be repeated.
    params_file
        A file with a JSON object of parameters, `-` for stdin; --param wins over it.
    blocking
        Wait for the result. Else print the activation's id at once.
    result
        Print the result alone, as JSON.
    json
        Print the record, as JSON.
    """
    given = _from_file(params_file) if params_file is not None else {}
    given.update(parameters.parse(param or ()))
    body = msgspec.json.encode(given)
    with ExitStack() as stack:
        client = _client(target or Target(), stack, blocking=blocking)
        if not blocking:
            return _id_only(client.begin(name, body), json=json)
        activation = client.invoke(name, body)
        if isinstance(activation, str):
            sys.stderr.write(f"it still runs; ask for it later: invoker activation get {activation}\n")
            return _id_only(activation, json=json)
    record = present.record(bytes(activation.record))
    if result:
        present.say(present.pretty(bytes(record["response"]["result"])))
    elif json:
        present.say(present.pretty(bytes(activation.record)))
    else:
        where = present.console()
        for each in present.activation(record, msgspec.json.decode(activation.facts)):
            where.print(each)
    status: int = record["response"]["statusCode"]
    return present.STATUS_EXIT_CODES[status]


def _id_only(activation_id: str, *, json: bool) -> int:
    present.say(present.pretty(msgspec.json.encode({"activationId": activation_id})) if json else activation_id)
    return ExitCode.OK


def _client(target: Target, stack: ExitStack, *, blocking: bool) -> Client:
    running = target.running()
    if running is not None:
        return running
    if not blocking:
        raise CallerFault("--no-blocking needs an invoker that goes on running: start one with `invoker dev`")
    target.client()  # complains where nothing was ever kept there
    from invoker.dev_process import DevProcess

    process = stack.enter_context(DevProcess(target.directory))
    return Client(process.door)


def _from_file(file: Path) -> dict[str, msgspec.Raw]:
    try:
        if str(file) == "-":
            text = sys.stdin.buffer.read(PARAMETERS_BYTES_MAX + 1)
        else:
            with file.open("rb") as source:
                text = source.read(PARAMETERS_BYTES_MAX + 1)
    except OSError as problem:
        raise CallerFault(f"{file} can't be read: {problem.strerror}") from problem
    if len(text) > PARAMETERS_BYTES_MAX:
        raise CallerFault(f"{file} is longer than {PARAMETERS_BYTES_MAX} bytes")
    return parameters.members(text, str(file))
