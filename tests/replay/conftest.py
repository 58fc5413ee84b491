"""Machines with real containers, for runs that are recorded and replayed."""

from __future__ import annotations

from tests.support.docker_fixtures import *  # noqa: F403
from tests.support.loops import pytest_asyncio_loop_factories
from tests.support.machines import machine

__all__ = ["machine", "pytest_asyncio_loop_factories"]
