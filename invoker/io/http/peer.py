"""◇ Who is at the other end of a connection: the address, and the names of a certificate that was verified."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from typing import Any, cast

import msgspec

SHORT_NAMES = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU", "countryName": "C"}
NAME_KINDS = frozenset({"DNS", "URI", "email", "IP Address"})


class Peer(msgspec.Struct, frozen=True):
    """`subject` is the certificate's as `CN=...,O=...`, None where none was shown; `names` are its common names and
    alternative names. `on_this_machine`: the address is a loopback one."""

    address: str = ""
    on_this_machine: bool = False
    subject: str | None = None
    names: frozenset[str] = frozenset()


UNKNOWN = Peer()
"""Of a connection that has gone."""


def identify(peername: Any, certificate: dict[str, Any] | None) -> Peer:
    """The peer with what `get_extra_info` tells of a transport: its `peername` and `peercert`."""
    address = str(cast("tuple[object, ...]", peername)[0]) if isinstance(peername, tuple) and peername else ""
    if not certificate:
        return Peer(address, _is_loopback(address))
    relatives = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate.get("subject", ()))
    subject = ",".join(f"{SHORT_NAMES.get(key, key)}={value}" for relative in relatives for key, value in relative)
    return Peer(address, _is_loopback(address), subject, frozenset(_names(certificate, relatives)))


def _names(certificate: dict[str, Any], relatives: tuple[tuple[tuple[str, str], ...], ...]) -> Iterator[str]:
    for relative in relatives:
        for key, value in relative:
            if key == "commonName":
                yield value
    for kind, value in cast("tuple[tuple[str, object], ...]", certificate.get("subjectAltName", ())):
        if kind in NAME_KINDS:
            yield str(value)


def _is_loopback(address: str) -> bool:
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (mapped or ip).is_loopback
