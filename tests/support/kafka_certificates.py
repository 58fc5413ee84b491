"""◆ Certificates for a broker and its clients, made anew for each run."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER_NAME = "kafka.openwhisk.svc.cluster.local"
DAYS = 1


class Certificates(NamedTuple):
    """PEM files in `directory`, `broker.pem` for the broker itself among them."""

    directory: Path
    authority: Path
    stranger: Path
    client_certificate: Path
    client_key: Path


class Authority:
    """A key and its certificate, signed by itself."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = _builder(self.name, self.name, self.key.public_key(), authority=True).sign(
            self.key, hashes.SHA256()
        )

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """A certificate for a host of this name, and its key; both PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = _builder(subject, self.name, key.public_key(), authority=False)
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        certificate = built.add_extension(names, critical=False).sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM), _pem(key)


def make_certificates(directory: Path) -> Certificates:
    """Make them all; Kafka's user in the container has to be able to read them."""
    authority, stranger = Authority("the test's authority"), Authority("somebody else")
    certificate, key = authority.issue(SERVER_NAME)
    client_certificate, client_key = authority.issue("invoker0")
    made = {
        "broker.pem": key + certificate,
        "authority.pem": authority.certificate.public_bytes(serialization.Encoding.PEM),
        "stranger.pem": stranger.certificate.public_bytes(serialization.Encoding.PEM),
        "client.crt": client_certificate,
        "client.key": client_key,
    }
    for name, text in made.items():
        (directory / name).write_bytes(text)
        (directory / name).chmod(0o644)
    directory.chmod(0o755)
    return Certificates(
        directory,
        directory / "authority.pem",
        directory / "stranger.pem",
        directory / "client.crt",
        directory / "client.key",
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
