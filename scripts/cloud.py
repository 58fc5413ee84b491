"""◆ A whole little cloud on one machine: a controller, invokers, Kafka, CouchDB, Docker. `make cloud` runs this.

Kafka, CouchDB and the actions' images come as in the tests, so no registry of images is needed. Everything is on
loopback, and everything that is made here is removed at the end, by Ctrl-C too; what a killed run left is removed by
the next one. Each invoker has a Docker network of its own, and an instance number that no container on this daemon
bears: an invoker removes what bears its number when it starts.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from invoker.errors import InvokerError
from scripts.cloud_parts import (
    POLL_S,
    NoCloudError,
    all_up,
    complain,
    databases,
    docker_networks,
    free_instances,
    free_ports,
    given_couch,
    log_of,
    own_kafka,
    own_settings,
    process,
    shared_settings,
    wait_until,
)
from tests.support import docker_images
from tests.support.couch_server import CouchServer, OwnCouch

RESTART_WAIT_S = 1.0
CODE = r"def main(args):\n    return {\"hello\": args.get(\"name\", \"world\")}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Start all, tell what to try, wait, remove all. The exit code."""
    parser = argparse.ArgumentParser(prog="make cloud", description="A whole little cloud on this machine.")
    parser.add_argument("--port", type=int, default=3233, help="port of the controller's door (default 3233)")
    parser.add_argument("--invokers", type=int, default=2, help="how many invokers (default 2)")
    parser.add_argument("--memory", default="2 GB", help="memory of each for containers (default 2 GB)")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="use this Kafka, without TLS, instead of an own one")
    parser.add_argument("--couchdb", metavar="URL", help="use this CouchDB, http://user:password@host:port, likewise")
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    try:
        with ExitStack() as stack:
            _run(stack, options)
    except KeyboardInterrupt:
        _say("\nstopped; nothing is left of it")
        return 0
    except (NoCloudError, InvokerError, docker_images.NoImagesError, AssertionError) as problem:
        _say(f"error: {problem}")
        return 1
    return 1


def _run(stack: ExitStack, options: argparse.Namespace) -> None:
    """All parts, in order; an invoker that ends is started again, as a cluster does. Raises NoCloudError where the
    controller has ended."""
    began_s = time.monotonic()
    if not 1 <= options.invokers <= 8:
        raise NoCloudError(f"--invokers is 1 to 8, not {options.invokers}")
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="functions-cloud-", dir="/var/tmp")))
    images, kafka, couch, credentials = _neighbours(stack, options, directory)
    shared = shared_settings(directory, kafka, couch, images, options.port)
    networks = stack.enter_context(docker_networks(options.invokers))
    instances = free_instances(options.invokers)
    ports = free_ports(options.invokers)
    programs = {
        f"invoker{instance}": (
            ["invoker.cli", "serve"],
            own_settings(instance, port, network, directory, options.memory),
        )
        for instance, port, network in zip(instances, ports, networks, strict=True)
    }
    running: dict[str, subprocess.Popen[bytes]] = {}

    def start(name: str) -> None:
        command, own = programs[name]
        running[name] = stack.enter_context(process(directory / f"{name}.log", command, shared | own))

    for name in programs:
        start(name)
    addresses = [
        f"--invoker={instance}=https://127.0.0.1:{port}" for instance, port in zip(instances, ports, strict=True)
    ]
    for instance in instances:
        with _step(f"invoker{instance}"):
            wait_until(
                running, lambda instance=instance: f"invoker{instance} serves" in log_of(directory, instance), directory
            )
    trust = [
        f"--invoker-ca={shared['TLS_CERT_FILE']}",
        f"--port={options.port}",
        *[f"--kind={kind}" for kind in images],
    ]
    programs["controller"] = (["loadtest.cli", "controller", *addresses, *trust], {})
    start("controller")
    with _step("controller"):
        wait_until(running, lambda: all_up(options.port), directory)
    neighbours = f"Kafka at {kafka}, CouchDB at {couch.url}, Docker"
    _say(f"\nA little cloud is up after {time.monotonic() - began_s:.0f} s: {', '.join(running)}, {neighbours}.")
    _tell(options.port, ports[0], credentials, directory)
    try:
        _keep(running, start)
    finally:
        _deaf()  # nothing shall interrupt the end
    complain(running, directory)


def _neighbours(
    stack: ExitStack, options: argparse.Namespace, directory: Path
) -> tuple[dict[str, str], str, CouchServer, str]:
    """(images by kind, Kafka's address, CouchDB, the guest's credentials)."""
    given = given_couch(options.couchdb) if options.couchdb else None
    with _step("images of the runtimes"):
        images = docker_images.action_images()
    with _step("Kafka"):
        kafka = options.kafka or stack.enter_context(own_kafka(directory))
    with _step("CouchDB"):
        couch = given or stack.enter_context(OwnCouch()).server
        return images, kafka, couch, stack.enter_context(databases(couch))


def _keep(running: dict[str, subprocess.Popen[bytes]], start: Callable[[str], None]) -> None:
    """Start invokers again that end, for as long as the controller runs."""
    while running["controller"].poll() is None:
        time.sleep(POLL_S)
        for name, each in tuple(running.items()):
            if each.poll() is not None and name != "controller":
                _say(f"{name} has ended with {each.returncode}, and is started again")
                start(name)
                time.sleep(RESTART_WAIT_S)


# --- words ----------------------------------------------------------------------------------------------------------


def _tell(port: int, invoker_port: int, credentials: str, directory: Path) -> None:
    """What to try."""
    api = f"http://127.0.0.1:{port}/api/v1/namespaces/_"
    json = "-H 'Content-Type: application/json'"
    _say(f"""
Try, from a second terminal:

  # who you are
  AUTH={credentials}

  # put a function
  curl -u "$AUTH" -X PUT '{api}/actions/hello?overwrite=true' {json} \\
    -d '{{"exec": {{"kind": "python:3", "code": "{CODE}"}}}}'

  # run it and wait: cold first, then warm
  curl -u "$AUTH" -X POST '{api}/actions/hello?blocking=true&result=true' {json} -d '{{"name": "you"}}'

  # run it without waiting, and read its record a second later
  ID=$(curl -s -u "$AUTH" -X POST '{api}/actions/hello' {json} | grep -oE '[0-9a-f]{{32}}'); sleep 2
  curl -u "$AUTH" "{api}/activations/$ID"

  # which invokers are fit; kill one of them with -9, and it is started again
  curl 'http://127.0.0.1:{port}/invokers'

Or put load on it, straight at an invoker or through the controller (docs/load.md):

  .venv/bin/locust -f loadtest/locustfile.py DirectUser --host https://127.0.0.1:{invoker_port} \\
    --headless --peak 4 --run-time 20s --stop-timeout 10 --only-summary
  .venv/bin/locust -f loadtest/locustfile.py DoorUser --host http://127.0.0.1:{port} --auth "$AUTH" \\
    --headless --peak 40 --run-ms 100 --shape spike --period 20 --run-time 20s --stop-timeout 10 --only-summary

Logs and decision logs, as long as it runs: {directory}
Ctrl-C stops it all.""")


@contextmanager
def _step(what: str) -> Generator[None]:
    """Tell what is being started, and how long it took."""
    began_s = time.monotonic()
    sys.stdout.write(f"  {what:<24}")
    sys.stdout.flush()
    try:
        yield
    except BaseException:
        _say("no")
        raise
    _say(f"{time.monotonic() - began_s:5.1f} s")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _deaf() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
