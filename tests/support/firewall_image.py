"""◆ The firewall's helper image for tests: deploy/firewall, built on the spot and kept in the daemon.

Where apt is at hand it fetches the packages, which are put where the Dockerfile looks for them, so that the build needs
no network; elsewhere the build fetches them itself. The name carries the hash of what the repository puts in.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support import docker_images as images

CONTEXT = Path(__file__).parents[2] / "deploy" / "firewall"
PACKAGES = (
    *("iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnfnetlink0", "libnetfilter-conntrack3", "libnftnl11"),
    *("libmnl0", "netbase"),
)
"""iptables, and what it needs beyond a minimal Debian."""

BUILD_TIMEOUT_S = 300


def helper_image() -> str:
    """The image's name; built where it is missing. Raises NoImagesError where there is no daemon."""
    images.check_daemon()
    base = images.base_image("python")
    digest = hashlib.sha256(f"{base} {PACKAGES}".encode() + (CONTEXT / "Dockerfile").read_bytes())
    tag = f"{images.REPOSITORY}/firewall:{digest.hexdigest()[:16]}"
    if not _run("docker", "image", "ls", "--quiet", tag).strip():
        with tempfile.TemporaryDirectory(prefix="functions-invoker-firewall-") as directory:
            context = Path(shutil.copytree(CONTEXT, Path(directory) / "firewall"))
            network = ["--network=none"] if _fetch(context / "packages") else []
            _run("docker", "build", "--quiet", *network, f"--build-arg=BASE={base}", f"--tag={tag}", str(context))
    return tag


def _fetch(packages: Path) -> bool:
    """Let apt fetch the packages; False where that is not for this machine to do."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:  # then the base is an official image, with other ones
        return False
    _run("apt-get", "download", "-q", *PACKAGES, directory=packages)
    return True


def _run(*command: str, directory: Path | None = None) -> str:
    environment = os.environ | {"DOCKER_BUILDKIT": "0"}  # the one builder that every daemon has
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False, env=environment, cwd=directory
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
