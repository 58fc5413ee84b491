"""Fixtures and hooks of the tests that drive real neighbours."""

from __future__ import annotations

from tests.support.docker_fixtures import *  # noqa: F403
from tests.support.loops import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
