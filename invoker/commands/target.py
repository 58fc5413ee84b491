"""◆ Which invoker a command talks to: the one at `--url`, the one that serves `--data-dir`, or its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from invoker.client import Client, FileDoor, HttpDoor, Unreachable
from invoker.errors import InvokerError
from invoker.io.dev import page as dev_file

JsonFlag: TypeAlias = Annotated[bool, Parameter(show_default=False)]
"""Whether a command prints JSON for programs rather than words for people."""


DEFAULT_DATA_DIR = Path(".invoker")  # as in `invoker.config`, which is too heavy to ask
DEFAULT_URL = "http://127.0.0.1:8080"


@Parameter(name="*")
@dataclass(frozen=True)
class Target:
    """Which invoker is meant."""

    url: Annotated[str | None, Parameter(group="Which invoker", env_var="INVOKER_URL")] = None
    """Address of a running `invoker dev`, such as http://127.0.0.1:8080; found by the data directory."""

    ca_file: Annotated[Path | None, Parameter(group="Which invoker")] = None
    """Certificate (PEM) to trust at an https:// --url."""

    data_dir: Annotated[Path | None, Parameter(group="Which invoker", env_var="DATA_DIR")] = None
    """Data directory of an `invoker dev`; default .invoker."""

    @property
    def directory(self) -> Path:
        """The data directory that is meant."""
        return self.data_dir or DEFAULT_DATA_DIR

    def running(self) -> Client | None:
        """The invoker that runs, None where none does: at the URL, at the data directory, at the usual address."""
        if self.url is not None:
            return Client(HttpDoor(self.url, None if self.ca_file is None else str(self.ca_file)))
        page = dev_file.find(self.directory)
        if page is not None:
            return Client(HttpDoor(page.url, page.ca_file))
        if self.data_dir is None and not self._store.exists():
            return _answering(DEFAULT_URL)
        return None

    def client(self, *, may_create: bool = False) -> Client:
        """The invoker that runs, else the files of the data directory.

        Raises Unreachable where there are none, unless they `may_create` them.
        """
        running = self.running()
        if running is not None:
            return running
        if not may_create and not self._store.exists():
            raise Unreachable(
                f"no invoker serves {self.directory}, and nothing was ever kept there: "
                "start one with `invoker dev`, or say --data-dir or --url"
            )
        return Client(FileDoor(self._store))

    @property
    def _store(self) -> Path:
        return self.directory / dev_file.STORE_NAME


def _answering(url: str) -> Client | None:
    """The invoker at `url`, None where nobody, or somebody else, answers."""
    client = Client(HttpDoor(url))
    try:
        client.info()
    except InvokerError:
        return None
    return client
