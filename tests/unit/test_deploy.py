"""What is deployed agrees with what there is: names with names, settings with settings, metrics with metrics."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from invoker import config
from invoker.config import ServeSettings
from invoker.io import metrics
from invoker.io.kubernetes.objects import nodes, service, slices
from tests.unit.test_config import GOOD

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
ENTRYPOINT = DEPLOY / "image" / "entrypoint.sh"
UNIT = DEPLOY / "systemd" / "functions-invoker.service"
NAME = "functions-invoker"
SETTINGS = {str(info.alias) for info in ServeSettings.model_fields.values()}
SECRETS = {
    str(info.alias) for info in ServeSettings.model_fields.values() if info.json_schema_extra == {"secret": True}
}

YAML = sorted([*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")])
Object = dict[str, Any]


def read(path: Path) -> list[Object]:
    return list(yaml.safe_load_all(path.read_text("utf-8")))


def objects() -> list[Object]:
    """All objects that are applied, and the secret, which is made from its example."""
    (kustomization,) = read(KUBERNETES / "kustomization.yaml")
    paths = [KUBERNETES / name for name in (*kustomization["resources"], "secret.example.yaml")]
    return [found for path in paths for found in read(path)]


def one(kind: str, name: str = NAME) -> Object:
    (found,) = (found for found in objects() if (found["kind"], found["metadata"]["name"]) == (kind, name))
    return found


def pod() -> Object:
    return one("StatefulSet")["spec"]["template"]


def container() -> Object:
    (found,) = pod()["spec"]["containers"]
    return found


def environment() -> dict[str, str]:
    """What the container is given, the pod's name and the kubelet's variables included."""
    given: dict[str, str] = {}
    for source in container()["envFrom"]:
        for kind, part in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if kind in source:
                found = one(part, source[kind]["name"])
                given |= found.get("data") or found["stringData"]
    return given | {"KUBERNETES_SERVICE_HOST": "10.245.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def test_every_file_is_yaml_and_every_manifest_is_applied() -> None:
    assert len(YAML) >= 9
    assert all(read(path) for path in YAML)
    (kustomization,) = read(KUBERNETES / "kustomization.yaml")
    here = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert {*kustomization["resources"], "secret.example.yaml"} == here
    assert all(found["apiVersion"] and found["kind"] and found["metadata"]["name"] for found in objects())


def test_names_agree() -> None:
    stateful, labels = one("StatefulSet")["spec"], pod()["metadata"]["labels"]
    for selector in (
        stateful["selector"]["matchLabels"],
        one("Service")["spec"]["selector"],
        one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        pod()["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0][
            "labelSelector"
        ]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert stateful["serviceName"] == one("Service")["metadata"]["name"]
    assert pod()["spec"]["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert {port["targetPort"] for port in one("Service")["spec"]["ports"]} == set(ports)
    assert {port["port"] for rule in one("NetworkPolicy")["spec"]["ingress"] for port in rule["ports"]} == set(ports)
    volumes = [*pod()["spec"]["volumes"], *(claim["metadata"] for claim in stateful["volumeClaimTemplates"])]
    assert sorted(volume["name"] for volume in volumes) == sorted(
        mount["name"] for mount in container()["volumeMounts"]
    )
    namespaces = {found["metadata"].get("namespace") for found in objects() if "Role" not in found["kind"]}
    assert namespaces == {"openwhisk"}


def test_every_setting_exists_and_all_of_them_together_can_be_used() -> None:
    given = environment()
    assert set(given) <= SETTINGS
    filled = {"COUCH_PASSWORD": "x", "ADMIN_TOKEN": "0123456789abcdef"}
    settings = config.load({**given, **filled, "ID": "0"})
    assert settings.kubernetes_url == "https://10.245.0.1:443"
    assert config.likely_slips(ServeSettings, given) == {}
    assert not SECRETS & set(one("ConfigMap")["data"]), "what is secret is in the secret"


@pytest.mark.contract("1")
def test_the_pod_fits_the_settings() -> None:
    settings = config.load({**environment(), "COUCH_PASSWORD": "x", "ADMIN_TOKEN": "0123456789abcdef", "ID": "0"})
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert (ports["invoke"], ports["metrics"]) == (settings.http_port, settings.metrics_port)
    annotations = pod()["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.metrics_port)
    assert annotations["prometheus.io/scheme"] == ("https" if settings.metrics_tls else "http")
    grace_s = pod()["spec"]["terminationGracePeriodSeconds"]
    assert grace_s > settings.drain_delay_ns / 1e9 + 600, "longer than a drain with a long action in it"
    assert f"TimeoutStopSec={grace_s}" in UNIT.read_text()
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container()[probe]["httpGet"] == {"scheme": "HTTPS", "port": "invoke", "path": "/ping"}

    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container()["volumeMounts"]}
    assert settings.docker_socket == mounts["docker-socket"]
    assert settings.tls_cert_file.parent == settings.tls_key_file.parent == mounts["server-certificate"]
    assert settings.cluster_ca_file == mounts["cluster-authority"] / "ca.crt"
    assert settings.decision_log_dir is not None
    for kept in (settings.spool_dir, settings.decision_log_dir):
        assert kept.is_relative_to(mounts["state"]), "what has to outlive the pod is on its volume"
    (claim,) = one("StatefulSet")["spec"]["volumeClaimTemplates"]
    room = claim["spec"]["resources"]["requests"]["storage"]
    taken = settings.decision_log_bytes * settings.decision_log_files
    taken += settings.spool_limit_bytes + settings.spool_rejected_bytes
    assert room.endswith("Gi")
    assert taken < int(room.removesuffix("Gi")) << 30


def test_the_container_may_do_nothing_that_it_need_not() -> None:
    security = container()["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert pod()["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    paths = [volume["hostPath"] for volume in pod()["spec"]["volumes"] if "hostPath" in volume]
    assert paths == [{"path": "/var/run/docker.sock", "type": "Socket"}]


@pytest.mark.contract("17")
def test_the_service_account_may_see_what_is_watched_and_no_more() -> None:
    granted = {
        (binding["metadata"].get("namespace", ""), group, resource, *rule.get("resourceNames", ()))
        for binding in objects()
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding")
        for rule in one(binding["roleRef"]["kind"], binding["roleRef"]["name"])["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if sorted(rule["verbs"]) == ["list", "watch"]
        and binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": "openwhisk"}]
    }
    namespace, name = str(environment()["KUBERNETES_DNS_SERVICE"]).split("/")
    assert granted == {
        ("", "", "nodes"),
        ("default", "discovery.k8s.io", "endpointslices"),
        (namespace, "discovery.k8s.io", "endpointslices"),
        (namespace, "", "services", name),
    }
    watched = [nodes(), slices("", "default", ""), slices("", namespace, ""), service("", namespace, name)]
    assert sorted(watched_path(*grant[:3]) for grant in granted) == sorted(one.path for one in watched)
    verbs = {verb for found in objects() for rule in found.get("rules", ()) for verb in rule["verbs"]}
    assert verbs == {"list", "watch"}


def watched_path(namespace: str, group: str, resource: str) -> str:
    api = f"/apis/{group}/v1" if group else "/api/v1"
    return f"{api}/namespaces/{namespace}/{resource}" if namespace else f"{api}/{resource}"


def test_the_host_network_goes_on_top() -> None:
    overlay = DEPLOY / "kubernetes-host-network"
    (kustomization,) = read(overlay / "kustomization.yaml")
    (base,) = kustomization["resources"]
    assert (overlay / base).resolve() == KUBERNETES
    (patch,) = kustomization["patches"]
    assert patch["target"] == {"kind": "StatefulSet", "name": NAME}
    added = {step["path"].rpartition("/")[2]: step["value"] for step in yaml.safe_load(patch["patch"])}
    assert added == {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}


def enter(directory: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the entry script with an `invoker` that only tells how it was called."""
    fake = directory / "invoker"
    fake.write_text('#!/bin/sh\necho "$$ ID=${ID-none} $*"\n')
    fake.chmod(0o755)
    path = f"{directory}:{os.environ['PATH']}"
    return subprocess.run(
        ["sh", str(ENTRYPOINT), *arguments], env={"PATH": path, **environ}, capture_output=True, text=True, timeout=10
    )


@pytest.mark.contract("1", "2")
@pytest.mark.parametrize(
    ("environ", "identity"),
    [
        ({"HOSTNAME": "functions-invoker-0"}, "0"),
        ({"HOSTNAME": "functions-invoker-17"}, "17"),
        ({"HOSTNAME": "node-a", "POD_NAME": "functions-invoker-3"}, "3"),
        ({"HOSTNAME": "functions-invoker-3", "ID": "5"}, "5"),
    ],
)
def test_the_id_is_the_last_part_of_the_name(environ: Mapping[str, str], identity: str, tmp_path: Path) -> None:
    done = enter(tmp_path, "serve", "--check", **environ)
    assert (done.returncode, done.stdout.partition(" ")[2]) == (0, f"ID={identity} serve --check\n")


@pytest.mark.parametrize("name", ["node-a", "invoker", "7", "functions-invoker-", "functions-invoker-1x"])
def test_a_name_without_a_number_is_refused(name: str, tmp_path: Path) -> None:
    done = enter(tmp_path, "serve", HOSTNAME=name)
    assert (done.returncode, done.stdout) == (78, "")
    assert f"the name '{name}' ends in no number" in done.stderr


def test_other_commands_need_no_id(tmp_path: Path) -> None:
    assert enter(tmp_path, "doctor", HOSTNAME="node").stdout.partition(" ")[2] == "ID=none doctor\n"


def test_the_images_files_are_there() -> None:
    lines = (DEPLOY / "image" / "Dockerfile").read_text().splitlines()
    copied = [
        part for line in lines if line.startswith("COPY ") and "--from" not in line for part in line.split()[1:-1]
    ]
    assert len(copied) >= 5
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert os.access(ENTRYPOINT, os.X_OK)


def test_the_units_settings_exist_and_can_be_used() -> None:
    unit = [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith("Environment=")]
    lines = [
        line for line in (UNIT.parent / "environment.example").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    given = {name: value.strip("'") for name, _, value in (line.partition("=") for line in [*unit, *lines])}
    assert set(given) <= SETTINGS
    assert config.load({**given, "COUCH_PASSWORD": "x"}).kubernetes_url is None
    assert set(given) >= {name for name in GOOD if name in SETTINGS and name != "LOG_LEVEL"}


# Prometheus and Grafana.

PREFIXES = r"(?:counter|histogram|gauge|invoker|process)_(?!quantile)\w+"


def series() -> set[str]:
    """Every name that a query may use."""
    names: set[str] = set()
    for metric in metrics.Metrics().registry.collect():
        match metric.type:
            case "counter":
                names.add(f"{metric.name}_total")
            case "histogram":
                names |= {f"{metric.name}_{end}" for end in ("bucket", "sum", "count")}
            case _:
                names.add(metric.name)
    return names


def label_of(name: str) -> set[str]:
    base = re.sub("_(total|bucket|sum|count)$", "", name)
    return {*metrics.LABELS.get(base, ()), "instance", "job"}


def unknown(expression: str) -> list[str]:
    """Metrics of ours that don't exist, and labels that they don't have."""
    found = [name for name in re.findall(rf"\b{PREFIXES}", expression) if name not in series()]
    for name, matchers in re.findall(rf"\b({PREFIXES})\{{([^}}]*)\}}", expression):
        found += [f"{name}.{label}" for label in re.findall(r"(\w+)\s*[=!]", matchers) if label not in label_of(name)]
    return found


def alerts() -> Iterator[Object]:
    (rules,) = read(DEPLOY / "prometheus" / "alerts.yml")
    for group in rules["groups"]:
        yield from group["rules"]


def test_alerts_ask_for_metrics_that_exist() -> None:
    found = list(alerts())
    assert len({alert["alert"] for alert in found}) == len(found) >= 10
    for alert in found:
        assert unknown(alert["expr"]) == [], alert["alert"]
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["description"]
        assert alert["expr"].count("(") == alert["expr"].count(")")


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "functions-invoker.json").read_text())
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) > 30
    assert [what for expression in expressions for what in unknown(expression)] == []
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places), "panels lie on each other"
    shown = {re.sub("_(total|bucket)$", "", name) for text in expressions for name in re.findall(PREFIXES, text)}
    reference = {
        metric.name for metric in metrics.Metrics().registry.collect() if metric.name.startswith("histogram_i")
    }
    assert reference <= shown


def test_the_checks_of_queries_can_fail() -> None:
    assert unknown("rate(invoker_no_such_total[5m]) > 0") == ["invoker_no_such_total"]
    assert unknown('invoker_containers{status="idle"}') == ["invoker_containers.status"]
    assert unknown('sum(invoker_containers{state="idle", instance=~"x"})') == []
