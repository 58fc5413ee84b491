"""◇ The rules, spelled as `iptables-save` spells them: it is by their text that present and wanted are compared.

The jumps choose the traffic (from the containers' bridge to anywhere but that bridge), so that all other traffic of the
node passes one rule and none of the chains'. Addresses are sorted and told once: the same cluster, learnt in another
order, gives the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, ip_address

from invoker.firewall.state import ClusterState, ContainerRule, Guarded

WHISK = "WHISK-FIREWALL"
PER_CONTAINER = "PER-CONTAINER-FIREWALL"

CLUSTER_RANGE = "10.0.0.0/8"
LINK_LOCAL = "169.254.0.0/16"
EVERYWHERE = "0.0.0.0/0"
DNS_PORT = 53
CONTAINER_RULES_MAX = 64
"""Rules that one container may have: each is tried for each packet of every container."""

ESTABLISHED = "-m conntrack --ctstate RELATED,ESTABLISHED"
ACCEPT = "-j ACCEPT"
REJECT = "-j REJECT --reject-with icmp-port-unreachable"
"""A caller that is rejected learns it at once; one whose packets are dropped waits for its own time limit."""


def jumps(guarded: Guarded) -> dict[str, tuple[str, ...]]:
    """Built-in chain -> the rules it has to begin with (contract, section 17).

    Neither concerns traffic between containers, which the bridge's own option forbids.
    """
    leaving = f"-i {guarded.bridge} ! -o {guarded.bridge}"
    return {
        "FORWARD": (f"{leaving} -j {PER_CONTAINER}", f"{leaving} -j {WHISK}"),
        "INPUT": (f"-i {guarded.bridge} -j {WHISK}",),
    }


def for_all(cluster: ClusterState, guarded: Guarded, skipped: list[str]) -> tuple[str, ...]:
    """The rules of WHISK-FIREWALL, in the contract's order. What can't be a rule is told in `skipped`, and why."""
    nodes = _hosts("node address", cluster.node_addresses, skipped)
    endpoints = _hosts("API server endpoint", cluster.api_endpoints, skipped)
    named = (cluster.dns_service,) if cluster.dns_service is not None else ()
    dns = _hosts("DNS address", (*named, *cluster.dns_pods), skipped)
    resolvers = [each for each in _hosts("DNS server", guarded.resolvers, skipped) if each not in dns]
    networks = [CLUSTER_RANGE, str(IPv4Network(guarded.subnet, strict=False)), LINK_LOCAL]
    networks += [str(IPv4Network(network, strict=False)) for network in guarded.rejected]
    return (
        f"{ESTABLISHED} {ACCEPT}",
        *(f"-d {address}/32 {REJECT}" for address in dict.fromkeys([*nodes, *endpoints])),
        *(f"-d {address}/32 {ACCEPT}" for address in dns),
        *(
            f"-d {each}/32 -p {way} -m {way} --dport {DNS_PORT} {ACCEPT}"
            for each in resolvers
            for way in ("tcp", "udp")
        ),
        *(f"-d {network} {REJECT}" for network in dict.fromkeys(networks)),
        "-j RETURN",
    )


def for_some(rules: Iterable[str]) -> tuple[str, ...]:
    """The rules of PER-CONTAINER-FIREWALL around those of the containers; none where no container has any.

    Answers to who called a container pass by its own rules, which are about whom it calls.
    """
    own = tuple(rules)
    return (f"{ESTABLISHED} -j RETURN", *own) if own else ()


def of_container(address: str, rules: Sequence[ContainerRule]) -> tuple[str, ...]:
    """The rules of the container at `address`. Raises ValueError where one can't be, which is the hook's defect."""
    if len(rules) > CONTAINER_RULES_MAX:
        raise ValueError(f"{len(rules)} rules for one container, where {CONTAINER_RULES_MAX} are the most")
    source = f"-s {IPv4Address(address)}/32"
    return tuple(" ".join((source, *_matches(rule), _verdict(rule))) for rule in rules)


def _matches(rule: ContainerRule) -> Iterator[str]:
    network = IPv4Network(rule.destination, strict=False)
    if network.prefixlen:
        yield f"-d {network}"
    if rule.protocol is not None:
        yield f"-p {rule.protocol}"
    if rule.ports is None:
        return
    first, last = rule.ports
    if rule.protocol not in ("tcp", "udp") or not 0 < first <= last < 65536:
        raise ValueError(f"ports {first} to {last} of {rule.protocol or 'any protocol'} can't be matched")
    yield f"-m {rule.protocol} --dport {first if first == last else f'{first}:{last}'}"


def _verdict(rule: ContainerRule) -> str:
    return ACCEPT if rule.verdict == "accept" else REJECT


def _hosts(what: str, addresses: Iterable[str], skipped: list[str]) -> list[IPv4Address]:
    """Those that are IPv4, sorted, each once."""
    hosts: dict[IPv4Address, None] = {}
    for text in addresses:
        try:
            address = ip_address(text)
        except ValueError:
            skipped.append(f"{what} {text!r} is no IP address")
            continue
        if isinstance(address, IPv4Address):
            hosts[address] = None
        else:
            skipped.append(f"{what} {text} is IPv6, which containers don't have")
    return sorted(hosts)
