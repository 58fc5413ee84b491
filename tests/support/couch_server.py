"""◆ A CouchDB for tests: an existing one, the official image, or a stand-in built on the spot.

For a conftest.py: `from tests.support.couch_server import *`. `INVOKER_TEST_COUCHDB_URL` (credentials included) points
the tests at an existing server. Otherwise `couchdb:3` runs in a container; where no registry serves it,
`pouchdb-server` on Debian does, which answers all calls that the invoker makes. Where it differs is listed here and
nowhere else
(`DIFFERENCES`), and each difference is asserted by a test, so that none can spread unnoticed.

Containers bear the label of this run's process: what a killed run leaves is removed by the next one.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from invoker.io.docker.settings import OWNER_LABEL
from tests.support import docker_images
from tests.support.docker_fixtures import OWNER, docker, remove_leftovers

__all__ = ["couchdb", "own_couchdb"]

OFFICIAL = "couchdb:3"
RECIPE = Path(__file__).parents[1] / "integration" / "images" / "pouchdb"
PORT = 5984
USER, PASSWORD = "admin", "correct horse"
READY_TIMEOUT_S = 60.0
INSTALL_TIMEOUT_S = 600
PULL_TIMEOUT_S = 300
POLL_S = 0.1

DIFFERENCES = {
    "malformed revision": "GET with a rev that is none: 404; CouchDB says 400",
    "entity tag": "ETag is a hash of the answer; CouchDB's is the document's revision",
    "written numbers": "1.0 comes back as 1, and digits beyond 2^53 are lost; CouchDB keeps a number as it was written",
    "document size": "one of any size is taken; CouchDB refuses more than max_document_size (8 MB) with 413",
    "half a surrogate pair": "is stored; CouchDB refuses the whole body with 400",
    "id in the body": "wins over the one in the path of a PUT; CouchDB takes the path's",
}
"""What the stand-in does otherwise than CouchDB. tests/integration/couchdb/test_stand_in.py shows each."""

_numbers = itertools.count(PORT)


class CouchServer(NamedTuple):
    """Where a server answers, with an administrator's credentials. `stand_in`: it is pouchdb-server."""

    url: str
    user: str
    password: str
    stand_in: bool

    @property
    def authorization(self) -> str:
        """The header of that name."""
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """One call; the answer's JSON. `body` is sent as JSON, or as it is where it is bytes. Raises HTTPError."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data, method=method)
        request.add_header("Authorization", self.authorization)
        request.add_header("Accept", "application/json")
        if data is not None:
            request.add_header("Content-Type", content_type)
        with urllib.request.urlopen(request, timeout=READY_TIMEOUT_S) as answer:
            return json.loads(answer.read() or b"null")

    def wait(self) -> None:
        """Until it answers. Raises TimeoutError."""
        until = time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                self.call("GET", "")
            except (OSError, ValueError) as error:
                if time.monotonic() > until:
                    raise TimeoutError(f"no CouchDB answers at {self.url}: {error}") from error
                time.sleep(POLL_S)
            else:
                return


class OwnCouch:
    """A server in a container of this run's own, which may be stopped, killed and started; its data stays."""

    def __init__(self) -> None:
        image, stand_in = _image()
        port = _free_port()
        self._container = DockerContainer(image).with_envs(COUCHDB_USER=USER, COUCHDB_PASSWORD=PASSWORD)
        self._container.ports[f"{PORT}/tcp"] = ("127.0.0.1", port)  # type: ignore[assignment]  # as docker-py takes it
        self._container.with_kwargs(labels={OWNER_LABEL: f"{OWNER}-{os.getpid()}-{next(_numbers)}"})
        self.server = CouchServer(f"http://127.0.0.1:{port}", USER, PASSWORD, stand_in)

    def __enter__(self) -> OwnCouch:
        self._container.start()
        try:
            self.server.wait()
        except BaseException:
            self._container.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._container.stop()

    def kill(self) -> None:
        """End it as a power cut would: nothing is written any more."""
        docker("kill", self._container.get_container_id())

    def stop(self) -> None:
        """End it in order."""
        docker("stop", "--time=1", self._container.get_container_id())

    def start(self) -> None:
        """Let it answer again, where it did before."""
        docker("start", self._container.get_container_id())
        self.server.wait()


def _image() -> tuple[str, bool]:
    """(image, whether it is the stand-in)."""
    testcontainers_config.ryuk_disabled = True  # we clean up ourselves: its image may be out of reach
    docker_images.check_daemon()
    if docker("image", "ls", "--quiet", OFFICIAL).strip():
        return OFFICIAL, False
    with contextlib.suppress(docker_images.NoImagesError, subprocess.TimeoutExpired):
        _run(["docker", "pull", "--quiet", OFFICIAL], timeout_s=PULL_TIMEOUT_S)
        return OFFICIAL, False
    return stand_in_image(), True


def stand_in_image() -> str:
    """The stand-in's image, built where it is missing: named by its recipe, so whoever asks twice builds once."""
    base = docker_images.base_image("nodejs")
    digest = hashlib.sha256(base.encode())
    for path in sorted(RECIPE.iterdir()):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    tag = f"{docker_images.REPOSITORY}/couchdb-stand-in:{digest.hexdigest()[:16]}"
    if docker("image", "ls", "--quiet", tag).strip():
        return tag
    with tempfile.TemporaryDirectory(prefix="functions-invoker-couchdb-", dir="/var/tmp") as directory:
        context = Path(directory) / "context"
        shutil.copytree(RECIPE, context)
        options = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
        _run(["npm", "install", "--prefix", str(context), *options])
        _run(["docker", "build", "--quiet", "--network=none", f"--build-arg=BASE={base}", f"--tag={tag}", str(context)])
    return tag


def _run(command: list[str], timeout_s: float = INSTALL_TIMEOUT_S) -> None:
    environment = os.environ | {"DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)
    if done.returncode != 0:
        told = f"{done.stdout}\n{done.stderr}".strip()
        raise docker_images.NoImagesError(f"no CouchDB for tests: {' '.join(command[:2])} failed: {told}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def database_prefix() -> str:
    """For the databases of one test: nobody else has it, and who comes later knows whether its run still lives."""
    return f"{_machine()}{os.getpid()}_{uuid.uuid4().hex[:8]}_"


def _machine() -> str:
    return f"test_{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]}_"


def _remove_leftovers(server: CouchServer) -> None:
    """Remove the databases that killed runs on this machine have left on a server that stays."""
    for name in server.call("GET", "_all_dbs"):
        pid = name.removeprefix(_machine()).partition("_")[0]
        if name.startswith(_machine()) and not Path(f"/proc/{pid}").exists():
            server.call("DELETE", name)


@pytest.fixture(scope="session")
def couchdb() -> Iterator[CouchServer]:
    """A CouchDB that answers, for the whole session; whoever uses it takes databases of names of his own."""
    existing = os.environ.get("INVOKER_TEST_COUCHDB_URL")
    if existing:
        parts = urlsplit(existing)
        place = f"{parts.scheme}://{parts.hostname}:{parts.port or PORT}{parts.path.rstrip('/')}"
        server = CouchServer(place, unquote(parts.username or ""), unquote(parts.password or ""), stand_in=False)
        server = server._replace(stand_in="pouchdb" in json.dumps(server.call("GET", "")).lower())
        _remove_leftovers(server)
        yield server
        return
    remove_leftovers()
    with OwnCouch() as own:
        yield own.server


@pytest.fixture
def own_couchdb() -> Iterator[OwnCouch]:
    """A CouchDB of this test's own, to be stopped and started."""
    remove_leftovers()
    with OwnCouch() as own:
        yield own


def missing(server: CouchServer, path: str) -> bool:
    """Whether the server says that there is no such thing."""
    try:
        server.call("GET", path)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 404
    return False
