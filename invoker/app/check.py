"""◆ `invoker serve --check`: every neighbour is asked how it is, all at once, and nothing is changed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from invoker.app.neighbours import Neighbours
from invoker.config import ServeSettings
from invoker.errors import InvokerError, PlatformFault
from invoker.io.docker import prepare as docker_prepare
from invoker.io.metrics import Metrics
from invoker.protocol.manifest import parse_manifest

LIMIT_S = 20.0
"""For all of them together: each has limits of its own below it."""


class Finding(NamedTuple):
    """What was found of one neighbour. `told` is what it says of itself, or what is wrong and what to do."""

    neighbour: str
    well: bool
    told: str


async def check(settings: ServeSettings) -> list[Finding]:
    """Ask all neighbours that the settings name; in the order in which the start needs them."""
    near = Neighbours(settings, Metrics())
    asked: dict[str, Callable[[], Awaitable[str]]] = {
        "certificate": near.tls.check,
        "debug and admin": near.guard.check,
    }
    if near.key_file is not None:
        asked["encryption keys"] = near.key_file.check
    asked["couchdb"] = near.couch.check
    asked["spool"] = lambda: _directory(settings.spool_dir, "SPOOL_DIR")
    if (decisions := settings.decision_log_dir) is not None:
        asked["decision log"] = lambda: _directory(decisions, "DECISION_LOG_DIR")
    asked["kafka"] = near.consumer.check
    asked["docker"] = lambda: docker_prepare.check(
        near.docker, parse_manifest(settings.runtimes_manifest).images.values()
    )
    if near.cluster is not None:
        asked["kubernetes"] = near.cluster.check
    if near.firewall is not None:
        asked["firewall"] = near.firewall.check
    findings = await asyncio.gather(*(_ask(name, one()) for name, one in asked.items()))
    await near.consumer.close()
    return list(findings)


async def _ask(neighbour: str, question: Awaitable[str]) -> Finding:
    try:
        async with asyncio.timeout(LIMIT_S):
            return Finding(neighbour, True, await question)
    except InvokerError as error:
        return Finding(neighbour, False, str(error))
    except TimeoutError:
        return Finding(neighbour, False, f"no answer within {LIMIT_S:g} s")


async def _directory(path: Path, variable: str) -> str:
    return await asyncio.to_thread(_writable, path, variable)


def _writable(path: Path, variable: str) -> str:
    """Whether files can be made in a directory, or it can be made itself. Raises PlatformFault."""
    standing = path.absolute()
    while not standing.exists():
        standing = standing.parent
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        raise PlatformFault(f"{standing} is no directory that can be written to; mend it, or set {variable}")
    return f"{path} can be written to" if path.exists() else f"{path} will be made"
