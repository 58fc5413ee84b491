"""Starts in a real Docker daemon that come to nothing, and leave nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from invoker.errors import StartFailed
from invoker.policy.types import ContainerId
from invoker.ports import ContainerSpec
from tests.support import docker_images as images
from tests.support.docker_fixtures import Make
from tests.support.odd_calls import spec, unexpected

pytestmark = pytest.mark.docker


def image_of(dockerfile: str, tmp_path: Path) -> str:
    (tmp_path / "Dockerfile").write_text(f"ARG BASE\nFROM ${{BASE}}\n{dockerfile}\n")
    return images.build(tmp_path, base=images.base_image("python"), repository="odd-text")


@pytest.mark.contract("12")
@pytest.mark.parametrize(
    ("dockerfile", "message"),
    [
        ('CMD ["false"]', "its main process ended before it answered"),
        ('CMD ["sleep", "60"]', r"port 8080 did not answer within 0\.4 s"),
        ('CMD ["/no/such/program"]', "docker start of container"),
    ],
)
async def test_starts_that_fail(docker_engine: Make, tmp_path: Path, dockerfile: str, message: str) -> None:
    engine = await docker_engine(ready_timeout_s=0.4)
    with pytest.raises(StartFailed, match=message) as caught:
        await engine.start(spec(image_of(dockerfile, tmp_path)), unexpected)
    assert not caught.value.leaked
    assert "containers=0" in repr(engine)
    assert "taken=0" in repr(engine)


async def test_missing_image_names_the_remedy(docker_engine: Make) -> None:
    engine = await docker_engine()
    with pytest.raises(StartFailed, match=r"No such image: .*docker pull functions-invoker-test/none:1"):
        await engine.start(spec("functions-invoker-test/none:1"), unexpected)
    assert "taken=0" in repr(engine)


@pytest.mark.contract("12")
async def test_no_address_left(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine(address_first=10, address_last=10)
    container = await engine.start(spec(odd_image), unexpected)
    with pytest.raises(StartFailed, match="no free address"):
        await engine.start(spec(odd_image, 2), unexpected)
    await container.remove()
    again = await engine.start(spec(odd_image, 3), unexpected)
    assert again.address == container.address


async def test_impossible_memory(docker_engine: Make, odd_image: str) -> None:
    engine = await docker_engine()
    with pytest.raises(StartFailed, match="memory"):
        await engine.start(ContainerSpec(ContainerId(1), "python:3", odd_image, 1, ("guest", "tiny")), unexpected)
    assert "taken=0" in repr(engine)
