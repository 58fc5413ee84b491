"""◆ `invoker action`: keep actions in a running invoker, or straight in its files."""

from __future__ import annotations

import base64
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from cyclopts import App

from invoker.commands import parameters, present
from invoker.commands.listing import Rows
from invoker.commands.target import JsonFlag, Target
from invoker.errors import CallerFault

CODE_BYTES_MAX = 48 * 1_048_576  # as OpenWhisk limits an action's code

app = App(name="action", help="Keep actions: put, get, list, delete.", help_epilogue="")

KIND_OF_SUFFIX = {".py": "python:3", ".js": "nodejs:default", ".mjs": "nodejs:default", ".cjs": "nodejs:default"}
KIND_OF_MEMBER = {"__main__.py": "python:3", "package.json": "nodejs:default", "index.js": "nodejs:default"}


@app.command
def put(
    name: str,
    file: Path,
    /,
    *,
    kind: str | None = None,
    main: str | None = None,
    memory: int = 256,
    timeout: int = 60_000,
    logs: int = 256,
    concurrency: int = 1,
    param: list[str] | None = None,
    init_param: list[str] | None = None,
    json: JsonFlag = False,
    target: Target | None = None,
) -> None:
    """Keep FILE as the action NAMESPACE/NAME, new or changed, and print its revision.

    Parameters
    ----------
    name
        NAMESPACE/NAME or NAMESPACE/PACKAGE/NAME; the namespace `_` is `guest`.
    file
        The source, or a .zip of it.
    kind
        The runtime. Guessed: python:3 for .py, nodejs:default for .js, by what is inside for .zip.
    main
        The function to call; default `main`.
    memory
        MB that its containers may use.
    timeout
        Milliseconds that a run may take.
    logs
        KB of logs that an activation keeps.
    concurrency
        Activations that one container may run at once.
    param
        key=value given to every run; JSON if it parses, else a string. May be repeated.
    init_param
        As --param, but given at initialisation, as environment. May be repeated.
    json
        Print the action's document instead.
    """
    code = _read(file)
    binary = file.suffix == ".zip"
    request: dict[str, object] = {
        "exec": {
            "kind": kind or _guess_kind(file),
            "code": base64.b64encode(code).decode() if binary else _text(code, file),
            "binary": binary,
            **({"main": main} if main else {}),
        },
        "limits": {"memory": memory, "timeout": timeout, "logs": logs, "concurrency": concurrency},
        "parameters": [
            *({"key": key, "value": value} for key, value in parameters.parse(param or ()).items()),
            *({"key": key, "value": value, "init": True} for key, value in parameters.parse(init_param or ()).items()),
        ],
    }
    answer = (target or Target()).client(may_create=True).put(name, request, overwrite=True)
    present.say(present.pretty(answer) if json else msgspec.json.decode(answer)["_rev"])


@app.command
def get(name: str, /, *, code: bool = False, target: Target | None = None) -> None:
    """Show an action's document, as JSON.

    Parameters
    ----------
    name
        NAMESPACE/NAME or NAMESPACE/PACKAGE/NAME.
    code
        Show only the code: the source, or a zip file's bytes.
    """
    answer = (target or Target()).client().get(name, code=code)
    if not code:
        present.say(present.pretty(answer))
        return
    execution = msgspec.json.decode(answer)["exec"]
    if execution.get("binary"):
        sys.stdout.buffer.write(base64.b64decode(execution["code"]))
    else:
        present.say(execution["code"])


@app.command(name="list")
def list_(namespace: str = "guest", /, *, rows: Rows | None = None, target: Target | None = None) -> None:
    """List the actions of a namespace.

    Parameters
    ----------
    namespace
        The namespace.
    """
    rows = rows or Rows()
    answer = (target or Target()).client().actions(namespace, limit=rows.limit, skip=rows.skip)
    none = f"no actions in {namespace}; put one: invoker action put {namespace}/hello hello.py"
    rows.show(answer, ("action", "kind", "memory", "timeout", "version", "revision"), _row, none=none)


def _row(action: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        f"{action['namespace']}/{action['name']}",
        action["exec"]["kind"],
        f"{action['limits']['memory']} MB",
        present.milliseconds(action["limits"]["timeout"]),
        action["version"],
        action["_rev"],
    )


@app.command
def delete(name: str, /, *, target: Target | None = None) -> None:
    """Delete an action.

    Parameters
    ----------
    name
        NAMESPACE/NAME or NAMESPACE/PACKAGE/NAME.
    """
    (target or Target()).client().delete(name)
    present.say(f"deleted {name}")


def _read(file: Path) -> bytes:
    try:
        size = file.stat().st_size
        if size > CODE_BYTES_MAX:
            raise CallerFault(f"{file} has {size} bytes; an action's code has at most {CODE_BYTES_MAX}")
        return file.read_bytes()
    except OSError as problem:
        raise CallerFault(f"{file} can't be read: {problem.strerror}") from problem


def _text(code: bytes, file: Path) -> str:
    try:
        return code.decode()
    except UnicodeDecodeError as problem:
        raise CallerFault(f"{file} is no text in UTF-8 ({problem}); binary code comes as a .zip") from problem


def _guess_kind(file: Path) -> str:
    kind = KIND_OF_SUFFIX.get(file.suffix)
    if file.suffix == ".zip":
        try:
            with zipfile.ZipFile(file) as archive:
                kind = next((KIND_OF_MEMBER[name] for name in archive.namelist() if name in KIND_OF_MEMBER), None)
        except (zipfile.BadZipFile, OSError) as problem:
            raise CallerFault(f"{file} is no zip file: {problem}") from problem
    if kind is None:
        raise CallerFault(f"the kind can't be guessed from {file}: say --kind, such as --kind python:3")
    return kind
