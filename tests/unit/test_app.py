"""What `invoker serve` makes of its settings before it touches a neighbour."""

from __future__ import annotations

import errno
import os
import sys
from types import ModuleType

import pytest

from invoker import config
from invoker.app.common import policies, take_precedence
from invoker.app.neighbours import tenant_rules
from invoker.errors import SettingsError
from invoker.policy.queueing import EarliestDeadline, FairShare, FirstCome, ShortestJob
from tests.unit.test_config import GOOD


class Rules:
    """A hook as an operator writes one."""

    def rules_for(self, namespace: str) -> None:
        """None of them has rules."""


@pytest.fixture(autouse=True)
def hook(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("our_rules")
    module.rules, module.nothing = Rules(), object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "our_rules", module)


def test_the_hook_for_tenants_is_imported() -> None:
    settings = config.load({**GOOD, "FIREWALL_TENANTS": "our_rules:rules"})
    assert isinstance(tenant_rules(settings), Rules)
    assert tenant_rules(config.load(GOOD)) is None


@pytest.mark.parametrize(
    ("named", "complaint"),
    [("no_such_module:rules", "no_such_module"), ("our_rules:gone", "gone"), ("our_rules:nothing", "rules_for")],
)
def test_a_hook_that_can_not_be_had_is_named(named: str, complaint: str) -> None:
    settings = config.load({**GOOD, "FIREWALL_TENANTS": named})
    with pytest.raises(SettingsError, match=f"FIREWALL_TENANTS.*{complaint}"):
        tenant_rules(settings)


@pytest.mark.parametrize("named", ["rules", "our rules:x", ":x", "x:"])
def test_what_is_no_name_of_a_hook(named: str) -> None:
    with pytest.raises(SettingsError, match="FIREWALL_TENANTS"):
        config.load({**GOOD, "FIREWALL_TENANTS": named})


def test_a_hook_without_a_firewall_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="FIREWALL_TENANTS"):
        config.load({**GOOD, "FIREWALL": "off", "FIREWALL_TENANTS": "our_rules:rules"})


@pytest.mark.parametrize(
    ("environment", "queueing"),
    [
        ({}, FirstCome()),
        ({"QUEUEING": "sjf"}, ShortestJob()),
        ({"QUEUEING": "edf"}, EarliestDeadline()),
        ({"QUEUEING": "fair", "FAIR_BY": "namespace"}, FairShare("namespace")),
    ],
)
def test_the_queues_discipline_is_a_setting(environment: dict[str, str], queueing: object) -> None:
    settings = config.load({**GOOD, **environment, "INTAKE_LIMIT": "40", "INTAKE_LOW": "10", "WAIT_LIMIT": "30s"})
    found = policies(settings, 1024)
    assert found.queueing == queueing
    assert (found.intake_limit, found.intake_low, found.wait_limit_ns) == (40, 10, 30 * 10**9)


def test_the_reference_takes_limits_and_nothing_else() -> None:
    settings = config.load({**GOOD, "POLICY": "reference", "QUEUEING": "sjf", "INTAKE_LIMIT": "40"})
    found = policies(settings, 1024)
    assert (found.accounting, found.queueing, found.intake_limit) == ("reference", FirstCome(), 40)


def test_the_loop_takes_precedence_or_says_that_it_can_not(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[tuple[int, int, int]] = []

    def taken(which: int, who: int, niceness: int) -> None:
        asked.append((which, who, niceness))

    monkeypatch.setattr("os.setpriority", taken)
    take_precedence(-10)
    assert asked == [(os.PRIO_PROCESS, 0, -10)]

    def refused(*_: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("os.setpriority", refused)
    with caplog.at_level("INFO"):
        take_precedence(-10)
    assert "NICENESS=-10: Permission denied" in caplog.text
