"""◆ Which invoker a command talks to: the one at `--url`, the one that serves `--data-dir`, or its files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from invoker.client import Client, FileDoor, HttpDoor, Unreachable
from invoker.io import dev_file


JsonFlag: TypeAlias = Annotated[bool, Parameter(show_default=False)]
"""Whether a command prints JSON for programs rather than words for people."""


def default_data_dir() -> Path:
    """Where `invoker dev` keeps its files unless told otherwise: `functions-invoker` in the user's data directory."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "functions-invoker"


@Parameter(name="*")
@dataclass(frozen=True)
class Target:
    """Which invoker is meant."""

    url: Annotated[str | None, Parameter(group="Which invoker", env_var="INVOKER_URL")] = None
    """Address of a running `invoker dev`, such as http://127.0.0.1:8080; found by the data directory."""

    data_dir: Annotated[Path | None, Parameter(group="Which invoker", env_var="INVOKER_DATA_DIR")] = None
    """Data directory of an `invoker dev`; default ~/.local/share/functions-invoker."""

    @property
    def directory(self) -> Path:
        """The data directory that is meant."""
        return self.data_dir or default_data_dir()

    def running(self) -> Client | None:
        """The invoker that runs; None where none serves the data directory. Raises CallerFault for a bad --url."""
        if self.url is not None:
            return Client(HttpDoor(self.url))
        page = dev_file.find(self.directory)
        return Client(HttpDoor(page.url, page.ca_file)) if page is not None else None

    def client(self, *, may_create: bool = False) -> Client:
        """The invoker that runs, else the files of the data directory.

        Raises Unreachable where there are none, unless they `may_create` them.
        """
        running = self.running()
        if running is not None:
            return running
        store = self.directory / dev_file.STORE_NAME
        if not may_create and not store.exists():
            raise Unreachable(
                f"no invoker serves {self.directory}, and nothing was ever kept there: "
                "start one with `invoker dev`, or say --data-dir or --url"
            )
        return Client(FileDoor(store))
