"""◆ `invoker dev`: the whole invoker in one process, with nothing else needed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Group, Parameter

_POOL = Group("How the pool decides", sort_key=10)


def dev(
    *,
    http_port: int | None = None,
    data_dir: Path | None = None,
    engine: Literal["process", "docker"] | None = None,
    memory: str | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    log_format: Literal["json", "console"] | None = None,
    policy: Annotated[Literal["default", "reference"] | None, Parameter(group=_POOL)] = None,
    keep_alive: Annotated[str | None, Parameter(group=_POOL)] = None,
    idle_time: Annotated[str | None, Parameter(group=_POOL)] = None,
    pausing: Annotated[Literal["fixed", "adaptive", "never"] | None, Parameter(group=_POOL)] = None,
    pause_grace: Annotated[str | None, Parameter(group=_POOL)] = None,
    prewarm: Annotated[Literal["fixed", "reactive"] | None, Parameter(group=_POOL)] = None,
) -> int:
    """Serve until SIGTERM or Ctrl-C. Options that are not given come from the environment, else from the defaults.

    Parameters
    ----------
    http_port
        Port to listen on, 0 for any free one; default 8080.
    data_dir
        Where actions, records and the decision log are kept; default .invoker. One invoker a directory.
    engine
        What containers are made of; default process: processes, isolated as far as this machine lets them be.
    memory
        What all containers together may use, such as "512 MB"; default 1 GB.
    tls_cert
        Serve HTTPS with this certificate (PEM).
    tls_key
        Its private key (PEM).
    log_format
        json, or console for a person; default console on a terminal.
    policy
        default charges memory from start until removed; reference decides as the original system does.
    keep_alive
        Which idle container is evicted first, and what is kept for how long: a name of docs/policies.md.
    idle_time
        Idle containers are removed after it, such as 15m.
    pausing
        When idle containers are frozen.
    pause_grace
        Idle time before a container is frozen, such as 150ms.
    prewarm
        How the stock of containers without code is kept.
    """
    from invoker import config

    settings = config.load_dev(
        os.environ,
        http_port=http_port,
        data_dir=data_dir,
        engine=engine,
        user_memory_bytes=memory,
        tls_cert_file=tls_cert,
        tls_key_file=tls_key,
        log_format=log_format or _for_a_person(),
        policy=policy,
        keep_alive=keep_alive,
        idle_time_ns=idle_time,
        pausing=pausing,
        pause_grace_ns=pause_grace,
        prewarm=prewarm,
    )
    from invoker.app import run_dev

    return run_dev(settings)


def _for_a_person() -> str | None:
    """`console` where a person looks on and nothing else was asked for."""
    return "console" if sys.stdout.isatty() and "LOG_FORMAT" not in os.environ else None
