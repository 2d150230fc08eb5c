"""The sandbox's own certificates: an authority and a signer, made up where the hub keeps its data, never shipped.

Only a hub that plays PayPal itself believes them. Source: docs/providers/paypal.md, "Sandbox".
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from handlers.paypal.certificates import CertificateUnavailableError
from handlers.paypal.transmission import ALGORITHM, Transmission
from handlers.paypal.trust import SIGNER_NAMES, Trust

CERT_URL: Final = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-PLAYED-BY-THE-HUB"
LIFE: Final = timedelta(days=3_650)
KEY_BITS: Final = 2_048


@dataclass(frozen=True, slots=True)
class Authority:
    """A signer with PayPal's sandbox name, and the authority that vouches for it."""

    key: rsa.RSAPrivateKey = field(repr=False)
    signer: x509.Certificate
    root: x509.Certificate

    @classmethod
    def of(cls, folder: Path) -> Authority:
        """The one that is kept in this folder, made now if there is none."""
        file = folder / "signer.pem"
        if not file.exists():
            folder.mkdir(parents=True, exist_ok=True)
            draft = folder / f"signer.{uuid4().hex}.tmp"
            draft.touch(mode=0o600)
            draft.write_bytes(_made())
            try:
                # A second process that is as quick finds the first one's.
                os.link(draft, file)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return _read(file.read_bytes())

    @property
    def trust(self) -> Trust:
        """What a hub must believe to believe this signer."""
        return Trust.of([self.root])

    async def fetch(self, url: str) -> bytes:
        """What the certificate's address would answer. Raises CertificateUnavailableError for another address."""
        if url != CERT_URL:
            raise CertificateUnavailableError("the sandbox has no certificate under this address")
        return self.signer.public_bytes(Encoding.PEM)

    def signed_headers(self, body: bytes, webhook_id: str, *, transmission_id: str, now: datetime) -> Mapping[str, str]:
        """The headers with which PayPal sends this body to this webhook."""
        drafted = Transmission(
            id=transmission_id,
            time=now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            cert_url=CERT_URL,
            algorithm=ALGORITHM,
            signature_text="",
            body=body,
        )
        signature = self.key.sign(drafted.message(webhook_id), padding.PKCS1v15(), SHA256())
        return {
            "Content-Type": "application/json",
            "Paypal-Auth-Algo": drafted.algorithm,
            "Paypal-Auth-Version": "v2",
            "Paypal-Cert-Url": drafted.cert_url,
            "Paypal-Transmission-Id": drafted.id,
            "Paypal-Transmission-Time": drafted.time,
            "Paypal-Transmission-Sig": base64.b64encode(signature).decode(),
        }


@lru_cache(maxsize=1)
def _read(pem: bytes) -> Authority:
    # Every part of the sandbox asks for it, and to check a key takes as long as to sign with it a hundred times.
    key = load_pem_private_key(pem, None)
    signer, root = x509.load_pem_x509_certificates(pem)
    assert isinstance(key, rsa.RSAPrivateKey)
    return Authority(key, signer, root)


def _made() -> bytes:
    """A fresh key, its certificate and the root, in PEM."""
    root_key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    key = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    root_name = _name("Sandbox root, believed by one hub alone")
    name = SIGNER_NAMES["sandbox"]
    no_use = dict.fromkeys(
        ("content_commitment", "data_encipherment", "key_agreement", "encipher_only", "decipher_only"), False
    )
    signs = x509.KeyUsage(digital_signature=False, key_encipherment=False, key_cert_sign=True, crl_sign=True, **no_use)
    says = x509.KeyUsage(digital_signature=True, key_encipherment=True, key_cert_sign=False, crl_sign=False, **no_use)
    own = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _draft(root_name, root_name, root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(own, critical=False)
        .sign(root_key, SHA256())
    )
    signer = (
        _draft(_name(name), root_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(says, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False)
        .sign(root_key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + signer.public_bytes(Encoding.PEM) + root.public_bytes(Encoding.PEM)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _draft(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPublicKey) -> x509.CertificateBuilder:
    # Far back, so that tests with a clock of their own find it valid.
    start = datetime(2020, 1, 1, tzinfo=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(datetime.now(UTC) + LIFE)
    )
