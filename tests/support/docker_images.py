"""◆ The images of action containers for tests: built on the spot, named by their content, kept in the daemon.

Where a Debian's tools are at hand the base image is made by `debootstrap` from the mirror this machine's own apt uses,
so that no image registry is needed; elsewhere the official images are the base. On top come the runtimes of this
project, from the Dockerfiles that ship with it. A name carries the hash of all that went in: whoever asks twice builds
once.

`python -m tests.support.docker_images` builds all and prints `kind image` lines.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

RUNTIMES = Path(__file__).parents[2] / "invoker" / "runtimes"
KINDS = {"python:3": "python", "nodejs:default": "nodejs"}
"""Kind of action -> directory of its runtime."""

OFFICIAL = {"python": "python:3.12-slim", "nodejs": "node:20-slim"}
PACKAGES = "python3,nodejs,ca-certificates"
REPOSITORY = "functions-invoker-test"
BUILD_TIMEOUT_S = 900
ASK_TIMEOUT_S = 30

NO_DAEMON = (
    "these tests drive a real Docker daemon, and none answers ({reason}). Start one (`make docker-up` does on Debian "
    "as root: it installs docker.io and debootstrap), or name its socket in DOCKER_HOST=unix:///path."
)


class NoImagesError(Exception):
    """The images can't be had; the text says what to do."""


def action_images() -> dict[str, str]:
    """Kind -> image, for every kind whose runtime this project ships; built where they are missing.

    Raises NoImagesError with the remedy where there is no daemon, or nothing to build a base from.
    """
    check_daemon()
    return {kind: _action_image(directory) for kind, directory in KINDS.items()}


def check_daemon() -> None:
    """Raises NoImagesError, telling how to get a daemon, where none answers."""
    if shutil.which("docker") is None:
        raise NoImagesError(NO_DAEMON.format(reason="there is no `docker` command"))
    try:
        _docker("version", "--format", "{{.Server.Version}}", timeout_s=ASK_TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        reason = str(getattr(error, "stderr", "") or error).strip()
        raise NoImagesError(NO_DAEMON.format(reason=reason)) from error


def build(context: Path, *, base: str, repository: str) -> str:
    """Build the directory `context`, its Dockerfile's ARG BASE set to `base`; the image's name."""
    digest = hashlib.sha256(base.encode())
    for path in sorted(path for path in context.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(context)}\0{path.stat().st_mode & 0o111}\0".encode() + path.read_bytes())
    tag = f"{REPOSITORY}/{repository}:{digest.hexdigest()[:16]}"
    with _one_builder(repository):
        if not _stands(tag):
            _docker("build", "--quiet", "--network=none", "--build-arg", f"BASE={base}", "--tag", tag, str(context))
    return tag


def base_image(runtime: str) -> str:
    """The image that runtime `runtime` is put on: one of our own making, or the official one."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        return _official(runtime)
    codename, mirror = _apt_source()
    recipe = f"minbase {PACKAGES} {codename} stripped"
    tag = f"{REPOSITORY}/base:{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    with _one_builder("base"):
        if not _stands(tag):
            _bootstrap(tag, codename, mirror)
    return tag


def _action_image(directory: str) -> str:
    return build(RUNTIMES / directory, base=base_image(directory), repository=directory)


def _bootstrap(tag: str, codename: str, mirror: str) -> None:
    with tempfile.TemporaryDirectory(prefix="functions-invoker-base-", dir="/var/tmp") as directory:
        root = Path(directory) / "root"
        _run(["debootstrap", "--variant=minbase", f"--include={PACKAGES}", codename, str(root), mirror])
        for ballast in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/locale", "usr/share/man"):
            shutil.rmtree(root / ballast, ignore_errors=True)
        archive = Path(directory) / "root.tar"
        _run(
            [
                "tar",
                "-C",
                str(root),
                "--exclude=./dev/*",
                "--exclude=./proc/*",
                "--exclude=./sys/*",
                "-cf",
                archive,
                ".",
            ]
        )
        _docker(
            "import", "--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", archive, tag
        )


def _apt_source() -> tuple[str, str]:
    """(codename, mirror) of the first package source that this machine's apt uses."""
    shown = _run(["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"])
    for line in shown.splitlines():
        codename, _, mirror = line.partition(" ")
        if codename and mirror:
            return codename, mirror
    raise NoImagesError(
        "apt on this machine names no package source, so debootstrap has no mirror; see sources.list(5)"
    )


def _official(runtime: str) -> str:
    image = OFFICIAL[runtime]
    if not _stands(image):
        try:
            _docker("pull", "--quiet", image)
        except subprocess.CalledProcessError as error:
            raise NoImagesError(
                f"no base image for action containers: {image} can't be pulled ({str(error.stderr).strip()}), "
                "and `debootstrap` is not here or may not run. Install it and be root, or give access to a registry."
            ) from error
    return image


def _stands(image: str) -> bool:
    return bool(_docker("image", "ls", "--quiet", image, timeout_s=ASK_TIMEOUT_S).strip())


@contextmanager
def _one_builder(what: str) -> Generator[None]:
    """Several test runs on one machine build an image once."""
    with (Path(tempfile.gettempdir()) / f"{REPOSITORY}-{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _docker(*arguments: str | Path, timeout_s: float = BUILD_TIMEOUT_S) -> str:
    return _run(["docker", *arguments], timeout_s=timeout_s)


def _run(command: Sequence[str | Path], *, timeout_s: float = BUILD_TIMEOUT_S) -> str:
    environment = os.environ | {"DOCKER_BUILDKIT": "0"}  # the one builder that every daemon has
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True, env=environment)
    return done.stdout


def main() -> None:
    """Build all and print them."""
    for kind, image in action_images().items():
        print(kind, image)


if __name__ == "__main__":
    main()
