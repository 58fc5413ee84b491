"""An action runtime that does exactly what it is told, so that every answer of a container can be had, right or wrong.

/init is told by the environment variable AT_INIT of its own request (JSON), /run by the parameter `raw`; without them
both do well. An order is an object with any of:

    answer  the body, a string; `times` repeats it, `status` is the HTTP status (200), `announce` the Content-Length
            ("none": chunked without one), `latin1` true: the string's characters are the bytes
    act     "close" the connection unanswered, "cut" it after the answer, "exit", "hog" memory until killed,
            "child hog", "sleep"
    say     a line printed first
    silent  true: no sentinels are printed

Without an order /run answers which container it is, how often it ran, and the request's body as it came.

Usage: server.py [--fd N --watch-stdin]; without, TCP port 8080.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from typing import Any

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
HOG = "pages = [bytearray(8 << 20) for _ in range(100_000)]"
CONTAINER = uuid.uuid4().hex

printing = threading.Lock()
runs = 0
environment: dict[str, Any] = {}


def serve(connection: socket.socket) -> None:
    """Answer requests until the peer closes, or an order ends it."""
    with connection, connection.makefile("rb") as stream:
        while head := stream.readline():
            path = head.split()[1].decode()
            length = 0
            while (line := stream.readline()) not in (b"\r\n", b""):
                name, _, text = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(text)
            answer, keep = respond(path, stream.read(length))
            connection.sendall(answer)
            if not keep:
                connection.shutdown(socket.SHUT_RDWR)
                return


def respond(path: str, body: bytes) -> tuple[bytes, bool]:
    """The whole answer, and whether to keep the connection."""
    global runs
    if path not in ("/init", "/run"):
        return http(b"{}", {}), True
    value = json.loads(body)["value"]
    if path == "/init":
        environment.update(value["env"])
        order = json.loads(value["env"].get("AT_INIT", "{}"))
    else:
        order = value.get("raw", {})
        runs += 1
    if "say" in order:
        write(sys.stdout, order["say"] + "\n")
    act = order.get("act", "")
    if act in ACTS:
        ACTS[act]()
    if act == "close":
        return b"", False
    if path == "/init":
        answer = http(payload(order, b'{"OK":true}'), order)
        ended = order.get("status", 200) != 200
    else:
        told = {"container": CONTAINER, "runs": runs, "body": body.decode(), "environment": environment}
        answer = http(payload(order, json.dumps(told).encode()), order)
        ended = True
    if ended and not order.get("silent"):
        write(sys.stdout, SENTINEL + "\n")
        write(sys.stderr, SENTINEL + "\n")
    return answer, act != "cut"


def payload(order: dict[str, Any], otherwise: bytes) -> bytes:
    """The body that was ordered."""
    if "answer" not in order:
        return otherwise
    return order["answer"].encode("latin-1" if order.get("latin1") else "utf-8") * order.get("times", 1)


def http(body: bytes, order: dict[str, Any]) -> bytes:
    """A response with the body."""
    head = f"HTTP/1.1 {order.get('status', 200)} Raw\r\nContent-Type: application/json\r\n"
    announce = order.get("announce", len(body))
    if announce == "none":
        return f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    return f"{head}Content-Length: {announce}\r\n\r\n".encode() + body


def write(stream: Any, text: str) -> None:
    """Print at once."""
    with printing:
        stream.write(text)
        stream.flush()


def leave() -> None:
    """End the process."""
    os._exit(3)


def hog() -> None:
    """Take memory until the kernel ends this process."""
    exec(HOG)


def child_hog() -> None:
    """A child takes memory until the kernel ends it; this process lives on."""
    subprocess.call([sys.executable, "-c", HOG])


def sleep() -> None:
    """Take very long."""
    time.sleep(600)


ACTS = {"exit": leave, "hog": hog, "child hog": child_hog, "sleep": sleep}


def watch(descriptor: int) -> None:
    """End with whoever started this."""
    while os.read(descriptor, 4096):
        pass
    os._exit(0)


def main() -> None:
    """Serve until killed."""
    if "--watch-stdin" in sys.argv:
        threading.Thread(target=watch, args=(os.dup(0),), daemon=True).start()
    if "--fd" in sys.argv:
        listener = socket.socket(fileno=int(sys.argv[sys.argv.index("--fd") + 1]))
    else:
        listener = socket.create_server(("0.0.0.0", 8080))
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
