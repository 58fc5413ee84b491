"""◆ A node in a network namespace of its own, with containers on a bridge and a world around it, for real packets.

    container 172.18.0.2 ─┐
    container 172.18.0.3 ─┴─ bridge 172.18.0.1 [ node ] 203.0.113.7 ── world: every other address

Whether a container reaches an address is found out by connecting to a listener there. All namespaces bear the process
id of the run that made them; what a killed run has left is removed by the next one. This machine's own tables are never
touched: iptables runs inside the node's namespace.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

COMMAND_TIMEOUT_S = 30
NETNS = Path("/run/netns")
PREFIX = "fwlab"

SUBNET = "172.18.0.0/16"
BRIDGE = "br-functions"
GATEWAY = "172.18.0.1"
CONTAINER, SIBLING = "172.18.0.2", "172.18.0.3"
NODE = "203.0.113.7"
WORLD = {
    "other node": "203.0.113.8",
    "API server": "198.51.100.1",
    "DNS service": "10.245.0.10",
    "DNS pod": "10.244.1.5",
    "pod": "10.244.1.7",
    "metadata": "169.254.169.254",
    "internet": "192.0.2.80",
    "resolver": "10.9.9.9",
    "carrier network": "100.64.3.3",
}
PORT, DNS_PORT = 80, 53
PORTS = (PORT, DNS_PORT)

LISTEN = """
import socket, sys, threading
def serve(port):
    listener = socket.create_server(("0.0.0.0", port), backlog=64)
    def accept():
        while True:
            listener.accept()[0].close()
    threading.Thread(target=accept, daemon=True).start()
    answerer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    answerer.setsockopt(socket.IPPROTO_IP, 8, 1)  # IP_PKTINFO: answer from the address that was asked
    answerer.bind(("0.0.0.0", port))
    def answer():
        while True:
            data, ancillary, _, peer = answerer.recvmsg(100, 100)
            info = bytearray(ancillary[0][2])
            answerer.sendmsg([data], [(socket.IPPROTO_IP, 8, bytes(4) + bytes(info[4:8]) + bytes(4))], 0, peer)
    threading.Thread(target=answer, daemon=True).start()
for port in sys.argv[1:]:
    serve(int(port))
print("listening", flush=True)
sys.stdin.read()  # ends with the test that started it
"""

PROBE = """
import json, socket, sys
def tcp(address, port):
    try:
        socket.create_connection((address, port), timeout=3).close()
        return "open"
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        return repr(error)
def udp(address, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(3)
        asker.connect((address, port))
        try:
            asker.send(b"?")
            asker.recv(10)
            return "open"
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return repr(error)
ways = {"tcp": tcp, "udp": udp}
print(json.dumps([ways[way](address, port) for way, address, port in json.loads(sys.argv[1])]))
"""

_numbers = count(1)


def run(*command: str) -> str:
    """Run a command; what it printed. Raises AssertionError with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Lab:
    """One node and its surroundings. `inside` gives the words that put a command into one of the namespaces."""

    def __init__(self, name: str) -> None:
        self.name = name

    def inside(self, place: str) -> tuple[str, ...]:
        """`node`, `world`, `container` or `sibling`."""
        return ("ip", "netns", "exec", f"{self.name}-{place}")

    def iptables(self, backend: str, *arguments: str) -> str:
        """Run iptables in the node."""
        return run(*self.inside("node"), f"iptables-{backend}", *arguments)

    def saved(self, backend: str) -> str:
        """The node's filter table."""
        return run(*self.inside("node"), f"iptables-{backend}-save", "-t", "filter")

    def reach(self, place: str, targets: Iterable[tuple[str, str, int]]) -> list[str]:
        """For each (tcp or udp, address, port) whether `place` reaches it: open, refused, or what else happened."""
        wanted = json.dumps(list(targets))
        return list(json.loads(run(*self.inside(place), sys.executable, "-c", PROBE, wanted)))

    def table(self, place: str = "container", way: str = "tcp", port: int = PORT) -> dict[str, str]:
        """Who can be reached, by name."""
        everybody = WORLD | {"this node": NODE, "gateway": GATEWAY, "sibling": SIBLING}
        return dict(zip(everybody, self.reach(place, [(way, each, port) for each in everybody.values()]), strict=True))


@contextmanager
def lab(node_pid: int | None = None) -> Generator[Lab]:
    """A lab that stands; the node is the network namespace of `node_pid` where given. All is gone at the end."""
    remove_leftovers()
    made = Lab(f"{PREFIX}{os.getpid()}-{next(_numbers)}")
    with ExitStack() as stack:
        stack.callback(remove, made.name)
        _build(made, node_pid)
        for place in ("node", "world", "container", "sibling"):
            stack.enter_context(_listener(made, place))
        yield made


def _build(made: Lab, node_pid: int | None) -> None:
    name = made.name
    if node_pid is None:
        run("ip", "netns", "add", f"{name}-node")
    else:
        run("ip", "netns", "attach", f"{name}-node", str(node_pid))
    for place in ("world", "container", "sibling"):
        run("ip", "netns", "add", f"{name}-{place}")
        run("ip", "-n", f"{name}-{place}", "link", "set", "lo", "up")
    commands = ["link set lo up", f"link add {BRIDGE} type bridge", f"addr add {GATEWAY}/16 dev {BRIDGE}"]
    commands += [f"link set {BRIDGE} up", f"link add uplink type veth peer name uplink netns {name}-world"]
    commands += [f"addr add {NODE}/32 dev uplink", "link set uplink up", "route add default dev uplink"]
    for place in ("container", "sibling"):
        commands += [f"link add to-{place} type veth peer name eth0 netns {name}-{place}"]
        commands += [f"link set to-{place} master {BRIDGE}", f"link set to-{place} up"]
    _ip(made, "node", commands)
    for place, address in (("container", CONTAINER), ("sibling", SIBLING)):
        commands = [f"addr add {address}/16 dev eth0", "link set eth0 up", f"route add default via {GATEWAY}"]
        _ip(made, place, commands)
    addresses = [f"addr add {address}/32 dev lo" for address in WORLD.values()]
    routes = [f"route add {NODE}/32 dev uplink", f"route add {SUBNET} via {NODE} dev uplink"]
    _ip(made, "world", [*addresses, "link set uplink up", *routes])
    # A kernel tells a caller of few rejections a second; who looks at many wants to hear of each.
    for name, value in (("ip_forward", 1), ("icmp_ratelimit", 0)):
        run(*made.inside("node"), "sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{name}")


def _ip(made: Lab, place: str, commands: Iterable[str]) -> None:
    for command in commands:
        run("ip", "-n", f"{made.name}-{place}", *command.split())


@contextmanager
def _listener(made: Lab, place: str) -> Generator[None]:
    """Answers on all ports of `place`, and ends with this process."""
    command = [*made.inside(place), sys.executable, "-c", LISTEN, *map(str, PORTS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "listening\n"
            yield
        finally:
            process.kill()


def remove(name: str) -> None:
    """Remove the namespaces of a lab. Its interfaces go with them, but for a bridge in a node that is a container."""
    for place in ("node", "world", "container", "sibling"):
        if (NETNS / f"{name}-{place}").exists():
            run("ip", "netns", "delete", f"{name}-{place}")


def remove_leftovers() -> None:
    """Remove what runs that were killed have left: those whose process is no more."""
    for path in NETNS.glob(f"{PREFIX}*"):
        match = re.fullmatch(rf"({PREFIX}(\d+)-\d+)-\w+", path.name)
        if match and not Path(f"/proc/{match[2]}").exists():
            remove(match[1])
