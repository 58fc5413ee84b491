"""An action runtime that does what the parameter `do` says, so that an engine can be seen to cope with it.

It needs no /init. Parameters of a run: `do` (see `ODDITIES`), and what that one takes. Every run that answers prints
one line and both sentinels before it does.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
HOG = "pages = [bytearray(8 << 20) for _ in range(100_000)]"


def text(path: str) -> str:
    """A file's text."""
    with open(path) as file:
        return file.read()


def hog(_: dict[str, Any]) -> object:
    """Take memory until the kernel ends this process."""
    exec(HOG)
    return None


def child_hog(_: dict[str, Any]) -> object:
    """A child takes memory until the kernel ends it; this process lives on and fails the run."""
    return {"error": f"child: {subprocess.call([sys.executable, '-c', HOG])}"}


def leave(_: dict[str, Any]) -> object:
    """End without an answer."""
    os._exit(3)


def sleep(value: dict[str, Any]) -> object:
    """Answer after `s` seconds."""
    time.sleep(value["s"])
    return {"slept": value["s"]}


def write(value: dict[str, Any]) -> object:
    """Print `lines` lines of `columns` characters."""
    with printing:
        sys.stdout.write(("x" * value["columns"] + "\n") * value["lines"])
    return {}


def facts(_: dict[str, Any]) -> object:
    """What the process sees of its confinement."""
    status = dict(line.split(":", 1) for line in text("/proc/self/status").splitlines())
    return {
        "cwd": os.getcwd(),
        "environment": dict(os.environ),
        "capabilities": status["CapBnd"].strip(),
        "no_new_privileges": status["NoNewPrivs"].strip(),
        "root_writable": os.access("/", os.W_OK),
        "tmp": next(line for line in text("/proc/mounts").splitlines() if " /tmp " in line),
        "files": text("/proc/self/limits").split("Max open files")[1].split()[:2],
        "address": socket.gethostbyname(socket.gethostname()),
        "resolver": text("/etc/resolv.conf"),
    }


def connect(value: dict[str, Any]) -> object:
    """Whether `address`:`port` takes a connection."""
    try:
        socket.create_connection((value["address"], value["port"]), 0.5).close()
    except OSError as error:
        return {"connected": False, "why": str(error)}
    return {"connected": True}


ODDITIES = {
    "hog": hog,
    "child_hog": child_hog,
    "leave": leave,
    "sleep": sleep,
    "write": write,
    "facts": facts,
    "connect": connect,
}


printing = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers every POST; a run by its oddity."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing but what a run prints."""

    def do_POST(self) -> None:
        """Answer."""
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        status, result = 200, None
        if self.path == "/run":
            value = json.loads(asked)["value"]
            result = ODDITIES[value["do"]](value) if "do" in value else value
            status = 502 if isinstance(result, dict) and "error" in result else 200
            with printing:
                sys.stdout.write(f"ran\n{SENTINEL}\n")
                sys.stderr.write(f"{SENTINEL}\n")
        body = json.dumps(result).encode()
        head = f"HTTP/1.1 {status} Odd\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        self.wfile.write(head + body)


ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
