"""Settings: the contract's names and defaults, one message for all mistakes, and no secret in any text."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from invoker import config
from invoker.config import AddressRange, DevSettings, ServeSettings
from invoker.config.values import format_duration, parse_duration_ns
from invoker.errors import SettingsError
from invoker.policy import policyset
from invoker.policy.keepalive import Cidre, FixedTtl, GreedyDual, HybridHistogram, LruTtl, OpenWhiskLru
from invoker.policy.policyset import AnyKeepAlive
from invoker.policy.types import SECOND_NS

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
CANARY = "correct-horse-battery-staple"
KEY = base64.b64encode(b"0123456789abcdefCANARYKEYabcdefg").decode()
MANIFEST = (
    '{"runtimes": {"nodejs": [{"kind": "nodejs:14", "image": {"prefix": "p", "name": "n", "tag": "t"}}]}, "x": 1}'
)

GOOD = {
    "ID": "3",
    "LOG_LEVEL": "WARN",
    "COUCH_URL": "https://couchdb:6984/",
    "COUCH_USERNAME": "invoker",
    "COUCH_PASSWORD": CANARY,
    "KAFKA_HOSTS": "kafka-0:9093, kafka-1:9093",
    "USER_MEMORY": "16 GB",
    "MINIMUM_FUNCTION_MEMORY": "128MiB",
    "ENCRYPTION_KEYS": json.dumps({"k1": KEY}),
    "RUNTIMES_MANIFEST": MANIFEST,
    "CONTAINERS_API_HOST": "https://api.example.com",
    "CONTAINERS_DNS_SERVERS": "10.245.0.10,10.245.0.11",
    "CONTAINERS_NETWORK": "functions",
    "CONTAINERS_SUBNET": "172.18.0.0/16",
    "CONTAINERS_BRIDGE_NAME": "br-functions",
    "PATH": "/usr/bin",
    "HOSTNAME": "invoker-3",
}


def complaints(**changes: str | None) -> list[str]:
    """The lines of the refusal after changing (None: dropping) some variables of a good environment."""
    environ = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(SettingsError) as caught:
        config.load(environ)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "a chained error would print what was hidden"
    first, *lines = str(caught.value).splitlines()
    assert first == "the settings can't be used:"
    return [line.strip() for line in lines]


@pytest.mark.contract("2")
def test_a_good_environment() -> None:
    settings = config.load(GOOD)
    assert settings.instance == 3
    assert settings.log_level == "warn"
    assert settings.couch_url == "https://couchdb:6984"
    assert settings.couch_password.get_secret_value() == CANARY
    assert settings.kafka_hosts == ("kafka-0:9093", "kafka-1:9093")
    assert settings.user_memory_bytes == 16 << 30
    assert settings.minimum_function_memory_bytes == 128 << 20
    assert settings.encryption_keys["k1"].get_secret_value() == base64.b64decode(KEY)
    assert settings.runtimes_manifest == MANIFEST
    assert settings.containers_dns_servers == (IPv4Address("10.245.0.10"), IPv4Address("10.245.0.11"))
    assert settings.containers_subnet == IPv4Network("172.18.0.0/16")


@pytest.mark.contract("2")
def test_what_the_reference_fixes_in_code_is_the_default() -> None:
    settings = config.load(GOOD)
    assert settings.http_port == 8443
    assert str(settings.tls_cert_file) == "/invokercerts/tls.crt"
    assert str(settings.tls_key_file) == "/invokercerts/tls.key"
    assert str(settings.cluster_ca_file) == "/certs/ca.crt"
    assert settings.kafka_tls_server_name == "kafka.openwhisk.svc.cluster.local"
    assert settings.oci_runtime == "runsc"
    assert str(settings.resolver_file) == "/etc/docker/functions.resolv.conf"
    assert settings.idle_time_ns == 15 * 60 * 1_000_000_000
    assert settings.pause_grace_ns == 150_000_000
    assert settings.drain_delay_ns == 5_000_000_000
    assert settings.metrics_port is None
    assert settings.tls_client_ca_file is None
    assert settings.decision_log_dir is None


@pytest.mark.contract("2")
@pytest.mark.parametrize(
    ("subnet", "first", "last"),
    [
        ("172.18.0.0/16", "172.18.0.2", "172.18.0.254"),
        ("10.0.4.0/24", "10.0.4.2", "10.0.4.254"),
        ("10.0.4.64/28", "10.0.4.66", "10.0.4.78"),
        ("10.0.4.0/30", "10.0.4.2", "10.0.4.2"),
    ],
)
def test_the_default_addresses_are_those_of_the_first_24(subnet: str, first: str, last: str) -> None:
    settings = config.load({**GOOD, "CONTAINERS_SUBNET": subnet})
    assert settings.addresses == AddressRange(IPv4Address(first), IPv4Address(last))


def test_addresses_can_be_set() -> None:
    settings = config.load({**GOOD, "CONTAINERS_ADDRESSES": "172.18.1.0 - 172.18.9.9"})
    assert str(settings.addresses) == "172.18.1.0-172.18.9.9"


def test_settings_that_may_be_empty() -> None:
    settings = config.load(
        {**GOOD, "RESOLVER_FILE": "", "CLUSTER_CA_FILE": "", "METRICS_PORT": "", "ENCRYPTION_KEYS": "{}"}
    )
    assert settings.resolver_file is None
    assert settings.cluster_ca_file is None
    assert settings.metrics_port is None
    assert settings.encryption_keys == {}


@pytest.mark.contract("2")
def test_every_missing_variable_is_named_with_an_example() -> None:
    with pytest.raises(SettingsError) as caught:
        config.load({})
    lines = str(caught.value).splitlines()[1:]
    optional = {"LOG_LEVEL", "PATH", "HOSTNAME"}
    assert sorted(line.split(":")[0].strip() for line in lines) == sorted(set(GOOD) - optional)
    assert all(": is missing; for example " in line for line in lines)


@pytest.mark.contract("2")
def test_all_mistakes_are_told_at_once() -> None:
    lines = complaints(ID=None, USER_MEMORY="16", HTTP_PORT="no", POLICY="best", PAUSE_GRACE="150")
    assert [line.split(":")[0] for line in lines] == ["POLICY", "PAUSE_GRACE", "HTTP_PORT", "ID", "USER_MEMORY"]


@pytest.mark.contract("2")
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ID", "-1", "greater than or equal to 0"),
        ("ID", "three", "is no integer"),
        ("LOG_LEVEL", "loud", "'debug', 'info', 'warn' or 'error'"),
        ("COUCH_URL", "couchdb:5984", "is no URL of http or https"),
        ("COUCH_URL", f"http://u:{CANARY}@couchdb", "holds credentials"),
        ("COUCH_USERNAME", "", "is empty"),
        ("COUCH_PASSWORD", "", "is empty"),
        ("KAFKA_HOSTS", "", "is empty"),
        ("KAFKA_HOSTS", "kafka", "has a part that is not host:port"),
        ("KAFKA_HOSTS", "kafka:9092,,", "a part is empty"),
        ("KAFKA_HOSTS", "kafka:99999", "has a part that is not host:port"),
        ("USER_MEMORY", "1.5 GB", "is no byte size"),
        ("USER_MEMORY", "0 B", "greater than 0"),
        ("MINIMUM_FUNCTION_MEMORY", "128 TB", "is no byte size"),
        ("ENCRYPTION_KEYS", CANARY, "is no JSON object"),
        ("ENCRYPTION_KEYS", json.dumps({"k1": CANARY}), "has no base64 under the name 'k1'"),
        ("ENCRYPTION_KEYS", json.dumps({"k1": KEY[:20]}), "has 15 bytes under the name 'k1'"),
        ("ENCRYPTION_KEYS", json.dumps({"k1": [CANARY]}), "is no JSON object"),
        ("RUNTIMES_MANIFEST", "{", "Input data was truncated"),
        ("RUNTIMES_MANIFEST", '{"runtimes": []}', "Expected `object`, got `array`"),
        ("CONTAINERS_DNS_SERVERS", "dns.example.com", "valid IPv4 address"),
        ("CONTAINERS_DNS_SERVERS", "", "is empty"),
        ("CONTAINERS_SUBNET", "172.18.0.1/16", "is no IPv4 network"),
        ("CONTAINERS_SUBNET", "172.18.0.0/31", "has no address for a container"),
        ("CONTAINERS_BRIDGE_NAME", "br-functions-of-node", "at most 15 characters"),
        ("CONTAINERS_ADDRESSES", "172.18.0.2", "is no range"),
        ("CONTAINERS_ADDRESSES", "172.18.0.9-172.18.0.2", "ends before it begins"),
        ("CONTAINERS_ADDRESSES", "10.0.0.2-10.0.0.9", "is not inside CONTAINERS_SUBNET"),
        ("HTTP_PORT", "65536", "less than or equal to 65535"),
        ("METRICS_PORT", "x", "is no integer"),
        ("IDLE_TIME", "15", "is no span of time"),
        ("IDLE_TIME", "-1s", "is no span of time"),
        ("KEEP_ALIVE", "lru", "'lru-ttl', 'fixed-ttl'"),
        ("KEEP_ALIVE", "oracle", "'rainbowcake' or 'cidre'"),
        ("KEEP_ALIVE_PARAMETERS", "ttl=5", "is no JSON object: JSON is malformed"),
        ("KEEP_ALIVE_PARAMETERS", "[1]", "is no JSON object: Expected `object`, got `array`"),
        ("KEEP_ALIVE_PARAMETERS", '{"ttl": 1}', "lru-ttl has no parameter 'ttl'; it has ttl_ns, tick_ns"),
        ("KEEP_ALIVE_PARAMETERS", '{"ttl_ns": "soon"}', "ttl_ns is no span of time"),
        ("KEEP_ALIVE_PARAMETERS", '{"ttl_ns": -1}', "ttl_ns of lru-ttl: expected `int` >= 0"),
        ("KEEP_ALIVE_PARAMETERS", '{"ttl_ns": true}', "ttl_ns of lru-ttl: expected `int`, got `bool`"),
        ("CREATES_AT_A_TIME", "0", "greater than or equal to 1"),
        ("MINIMUM_FUNCTION_MEMORY", "32 GB", "is larger than USER_MEMORY"),
    ],
)
def test_one_mistake_is_one_line_that_says_what_is_wrong(name: str, value: str, words: str) -> None:
    [line] = complaints(**{name: value})
    assert line.startswith(name)
    assert words in line
    assert CANARY not in line
    assert KEY[:20] not in line


@pytest.mark.parametrize(
    ("name", "parameters", "policy"),
    [
        ("lru-ttl", "", LruTtl(120 * SECOND_NS)),
        ("lru-ttl", '{"ttl_ns": "1.5s", "tick_ns": 7}', LruTtl(1_500_000_000, 7)),
        ("fixed-ttl", '{"ttl_ns": 0}', FixedTtl(0)),
        ("greedy-dual", "{}", GreedyDual(120 * SECOND_NS)),
        ("openwhisk-lru", '{"quirks": false}', OpenWhiskLru(quirks=False)),
        ("hybrid-histogram", '{"bin_ns": "10s", "bins": 60}', HybridHistogram(10 * SECOND_NS, 60)),
        ("cidre", '{"wait_percent": 50}', Cidre(120 * SECOND_NS, 50)),
    ],
)
def test_a_keep_alive_policy_and_its_parameters(name: str, parameters: str, policy: AnyKeepAlive) -> None:
    settings = config.load({**GOOD, "KEEP_ALIVE": name, "KEEP_ALIVE_PARAMETERS": parameters, "IDLE_TIME": "2m"})
    assert settings.keep_alive_policy == policy


def test_every_keep_alive_policy_but_the_oracle_can_be_set() -> None:
    for name in set(policyset.KEEP_ALIVES) - {"oracle"}:
        assert isinstance(config.load({**GOOD, "KEEP_ALIVE": name}).keep_alive_policy, policyset.KEEP_ALIVES[name])


def test_a_likely_slip_is_pointed_out() -> None:
    lines = complaints(KAFKA_HOSTS=None, KAFKA_HOST="kafka:9092")
    assert lines[1] == "KAFKA_HOST: is no setting; did you mean KAFKA_HOSTS?"
    assert config.likely_slips(ServeSettings, {**GOOD, "IDLE_TIMES": "1m"}) == {"IDLE_TIMES": "IDLE_TIME"}
    assert config.likely_slips(ServeSettings, GOOD) == {}


@pytest.mark.contract("2")
def test_secrets_are_in_no_text() -> None:
    settings = config.load(GOOD)
    texts = [repr(settings), str(settings), repr(config.describe(settings)), settings.model_dump_json()]
    for text in texts:
        assert CANARY not in text
        assert KEY not in text
        assert "CANARYKEY" not in text


def test_a_description_has_every_setting_with_its_value_and_default() -> None:
    rows = {row.name: row for row in config.describe(config.load({**GOOD, "PAUSE_GRACE": "1500ms"}))}
    assert rows["COUCH_PASSWORD"].value == "[redacted]"
    assert rows["ENCRYPTION_KEYS"].value == "[redacted]"
    assert rows["USER_MEMORY"].value == "16 GB"
    assert (rows["PAUSE_GRACE"].value, rows["PAUSE_GRACE"].default) == ("1500ms", "150ms")
    assert rows["ID"].default == "required"
    assert rows["KAFKA_HOSTS"].value == "kafka-0:9093,kafka-1:9093"
    assert rows["METRICS_PORT"].value == ""
    assert all(row.meaning for row in rows.values())
    assert [row.value for row in config.describe(ServeSettings)] == [None] * len(rows)


def test_every_default_and_example_is_a_right_value() -> None:
    examples = {info.alias: str((info.examples or [""])[0]) for info in ServeSettings.model_fields.values()}
    examples |= {"ENCRYPTION_KEYS": GOOD["ENCRYPTION_KEYS"]}
    config.load({str(name): value for name, value in examples.items()})
    config.load_dev({})


def test_the_process_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError):
        config.load({})


def test_settings_do_not_change() -> None:
    settings = config.load_dev({})
    with pytest.raises(ValueError, match="frozen"):
        settings.http_port = 1


def test_dev_needs_nothing() -> None:
    settings = config.load_dev({})
    assert (settings.http_host, settings.engine, settings.user_memory_bytes) == ("127.0.0.1", "process", 1 << 30)
    assert settings.tls_cert_file is None


def test_devs_options_go_before_its_environment() -> None:
    environ = {"HTTP_PORT": "1", "PAUSE_GRACE": "1s", "USER_MEMORY": "2 GB"}
    settings = config.load_dev(environ, http_port=0, pause_grace_ns="2s", user_memory_bytes=None, data_dir=Path("d"))
    assert (settings.http_port, settings.pause_grace_ns) == (0, 2_000_000_000)
    assert settings.user_memory_bytes == 2 << 30
    assert settings.data_dir == Path("d")


def test_devs_mistakes_are_told_alike() -> None:
    with pytest.raises(SettingsError, match="TLS_CERT_FILE and TLS_KEY_FILE go together"):
        config.load_dev({}, tls_cert_file="x")
    with pytest.raises(SettingsError, match=r"USER_MEMORY: is no byte size.*for example USER_MEMORY=1 GB"):
        config.load_dev({}, user_memory_bytes="much")


def test_the_page_is_what_the_models_say() -> None:
    page = subprocess.run(
        [sys.executable, "-W", "error", "-m", "invoker.config"], capture_output=True, text=True, check=True, timeout=60
    )
    assert PAGE.read_text("utf-8") == page.stdout, "run: python -m invoker.config > docs/settings.md"
    for model in (ServeSettings, DevSettings):
        for info in model.model_fields.values():
            assert f"| `{info.alias}` |" in page.stdout


@pytest.mark.parametrize(
    ("text", "span_ns"),
    [
        ("150ms", 150_000_000),
        ("5s", 5_000_000_000),
        ("15m", 900_000_000_000),
        ("2h", 7_200_000_000_000),
        ("0", 0),
        ("1.5s", 1_500_000_000),
        ("0.25ms", 250_000),
        ("10us", 10_000),
        (" 7 s ", 7_000_000_000),
        ("3ns", 3),
    ],
)
def test_spans(text: str, span_ns: int) -> None:
    assert parse_duration_ns(text) == span_ns


@pytest.mark.parametrize(
    "text", ["", "5", "5 parsecs", "s", "-5s", "5S", "1e3s", ".5s", "5.s", "1,5s", "٣s", "5s5s", "0.0"]
)
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="is no span of time"):
        parse_duration_ns(text)


@given(st.integers(min_value=0, max_value=10**18))
def test_a_printed_span_reads_back(span_ns: int) -> None:
    assert parse_duration_ns(format_duration(span_ns)) == span_ns
