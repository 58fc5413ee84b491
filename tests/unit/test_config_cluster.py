"""The settings of the cluster around the node: when it is watched, and what is refused."""

from __future__ import annotations

import pytest

from invoker import config
from invoker.config import ServeSettings
from invoker.errors import SettingsError
from tests.unit.test_config import GOOD

POD = {
    "KUBERNETES_SERVICE_HOST": "10.245.0.1",
    "KUBERNETES_SERVICE_PORT": "443",
    "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    "KUBERNETES_PORT": "tcp://10.245.0.1:443",
    "KUBERNETES_PORT_443_TCP": "tcp://10.245.0.1:443",
    "KUBERNETES_PORT_443_TCP_ADDR": "10.245.0.1",
    "KUBERNETES_PORT_443_TCP_PORT": "443",
    "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
}
"""What the kubelet puts into every container's environment."""


def url(**environ: str) -> str | None:
    return config.load({**GOOD, **environ}).kubernetes_url


def test_a_plain_machine_watches_no_cluster() -> None:
    assert url() is None
    assert url(KUBERNETES="off", **POD) is None


def test_a_pod_watches_its_cluster() -> None:
    assert url(**POD) == "https://10.245.0.1:443"
    assert url(KUBERNETES="ON", **POD) == "https://10.245.0.1:443"
    assert url(KUBERNETES_SERVICE_HOST="fd00::1", KUBERNETES_SERVICE_PORT="6443") == "https://[fd00::1]:6443"


def test_a_pods_environment_holds_no_slip() -> None:
    assert config.likely_slips(ServeSettings, {**GOOD, **POD}) == {}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("KUBERNETES", "on", "KUBERNETES is on, but KUBERNETES_SERVICE_HOST"),
        ("KUBERNETES", "yes", "'auto', 'on' or 'off'"),
        ("KUBERNETES_SERVICE_PORT", "tcp://10.0.0.1", "is no integer"),
        ("KUBERNETES_DNS_SERVICE", "coredns", "is not namespace/name"),
        ("KUBERNETES_DNS_SERVICE", "kube-system/..", "is not namespace/name"),
        ("KUBERNETES_DNS_SERVICE", "a/b/c", "is not namespace/name"),
        ("KUBERNETES_OPEN_TIMEOUT", "0", "greater than 0"),
        ("KUBERNETES_RESYNC", "often", "is no span of time"),
    ],
)
def test_mistakes(name: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        config.load({**GOOD, name: value})
    assert words in str(caught.value)
