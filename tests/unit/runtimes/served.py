"""One of our runtimes, running as a program of this machine, with a socket to talk to it and its output to read."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import zipfile
from pathlib import Path
from typing import Any

RUNTIMES = Path(__file__).parents[3] / "invoker" / "runtimes"
SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
LIMIT_S = 30.0
COMMANDS = {
    "python": [sys.executable, "-I", "-S", "-B", str(RUNTIMES / "python" / "server.py")],
    "nodejs": [shutil.which("node") or "node", str(RUNTIMES / "nodejs" / "server.js")],
}


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__("runtime", timeout=LIMIT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(LIMIT_S)
        self.sock.connect(self._path)


class Output:
    """One of its streams, read by a thread all the time."""

    def __init__(self, pipe: io.BufferedReader) -> None:
        self._pipe = pipe
        self._text = ""
        self._news = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            with self._news:
                self._text += line.decode()
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def until_sentinel(self, count: int = 1) -> str:
        """All that was printed so far, the `count`-th sentinel included."""
        return self.until(SENTINEL, count)

    def until(self, word: str, count: int = 1) -> str:
        """All that was printed so far, once `word` was for the `count`-th time."""
        with self._news:
            assert self._news.wait_for(lambda: self._text.count(word) >= count, LIMIT_S), self._text
            return self._text

    def until_end(self) -> str:
        """All that was printed by the time the stream ended."""
        with self._news:
            assert self._news.wait_for(lambda: self._over, LIMIT_S), self._text
            return self._text

    def close(self) -> None:
        """Once the process has ended."""
        self._thread.join(LIMIT_S)
        self._pipe.close()


class Served:
    """A runtime; `language` is its directory's name. Use as a context."""

    def __init__(self, language: str, *, concurrent: bool = False, environment: dict[str, str] | None = None) -> None:
        self.language = language
        self._directory = tempfile.TemporaryDirectory(prefix="rt-")
        self.path = os.path.join(self._directory.name, "socket")
        given = {"PATH": os.environ["PATH"], "TMPDIR": self._directory.name, "HOME": "/tmp"} | (environment or {})
        if concurrent:
            given["__OW_ALLOW_CONCURRENT"] = "true"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self.path)
            listener.listen()
            self.process = subprocess.Popen(
                [*COMMANDS[language], "--fd", str(listener.fileno()), "--watch-stdin"],
                env=given,
                cwd=self._directory.name,
                pass_fds=(listener.fileno(),),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        assert isinstance(self.process.stdout, io.BufferedReader)
        assert isinstance(self.process.stderr, io.BufferedReader)
        self.stdout, self.stderr = Output(self.process.stdout), Output(self.process.stderr)
        self._connection = UnixConnection(self.path)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self.process.kill()
        self.process.wait(LIMIT_S)
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.stdout.close()
        self.stderr.close()
        self._directory.cleanup()

    def connection(self) -> UnixConnection:
        """Another connection; to be closed by who asked."""
        return UnixConnection(self.path)

    def post(self, path: str, body: Any, connection: UnixConnection | None = None) -> tuple[int, Any]:
        """(status, JSON of the answer); the connection is kept, and so shows whether the runtime keeps it."""
        asked = connection or self._connection
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        asked.request("POST", path, raw, {"Content-Type": "application/json"})
        answer = asked.getresponse()
        return answer.status, json.loads(answer.read())

    def init(self, code: str, main: str = "main", *, binary: bool = False, **env: str) -> tuple[int, Any]:
        """POST /init."""
        value = {"name": "act", "main": main, "code": code, "binary": binary, "env": env}
        return self.post("/init", {"value": value})

    def run(self, value: Any = None, connection: UnixConnection | None = None, **context: str) -> tuple[int, Any]:
        """POST /run."""
        return self.post("/run", {"value": value if value is not None else {}} | context, connection)

    def end(self) -> int:
        """Its exit status, once it has ended."""
        return self.process.wait(LIMIT_S)


def zipped(files: dict[str, str], *, stored: bool = False, claimed_bytes: int | None = None) -> str:
    """A base64 zip of texts by name. `claimed_bytes`: what its directory says of each member's size, true or not."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        for member in archive.infolist() if claimed_bytes is not None else ():
            member.file_size = claimed_bytes  # written into the directory at the end
    return base64.b64encode(packed.getvalue()).decode()
