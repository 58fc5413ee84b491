"""◇ The settings of the node's firewall."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from invoker.config.values import DurationNs, Settings, comma_list, lower, setting


class FirewallSettings(Settings):
    """What containers can't reach, and who sees to it. On by default, as in the reference: code of strangers must not
    reach the cluster because a variable was forgotten."""

    firewall: Annotated[Literal["helper", "host", "off"], BeforeValidator(lower)] = setting(
        "helper",
        "FIREWALL",
        "Who keeps the node's firewall: helper (iptables in a container of FIREWALL_IMAGE), host (iptables beside the "
        "invoker, which then needs NET_ADMIN in the node's network) or off (containers reach what the node reaches)",
    )
    firewall_image: Annotated[str, Field(min_length=1)] = setting(
        "functions-invoker/firewall:1", "FIREWALL_IMAGE", "Image of the helper, made from deploy/firewall"
    )
    firewall_backend: Annotated[Literal["auto", "legacy", "nft"], BeforeValidator(lower)] = setting(
        "auto",
        "FIREWALL_BACKEND",
        "Which of the kernel's two sets of tables is written: legacy, nft, or auto: the one with most of the rules",
    )
    firewall_interval_ns: Annotated[DurationNs, Field(gt=0)] = setting(
        "60s", "FIREWALL_INTERVAL", "The firewall is compared with what it shall be at least this often"
    )
    firewall_reject: Annotated[tuple[IPv4Network, ...], BeforeValidator(comma_list)] = setting(
        "",
        "FIREWALL_REJECT",
        "Networks that containers can't reach beside 10.0.0.0/8, 169.254.0.0/16, their own, the nodes and the API "
        "server, comma-separated",
        "192.168.0.0/16,100.64.0.0/10",
    )
    firewall_tenants: Annotated[str, Field(pattern=r"^([A-Za-z_][\w.]*:[A-Za-z_]\w*)?$")] = setting(
        "",
        "FIREWALL_TENANTS",
        "Python object, module:name, that decides which namespaces' containers get rules of their own "
        "(invoker.ports.TenantRules); empty: none does",
        "our_rules.tenants:rules",
    )

    @model_validator(mode="after")
    def _tenants_have_a_firewall(self) -> Self:
        if self.firewall_tenants and self.firewall == "off":
            raise ValueError("FIREWALL_TENANTS only makes sense with a firewall; set FIREWALL=helper or FIREWALL=host")
        return self
