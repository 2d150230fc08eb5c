"""Whom we believe: trust anchors and intermediates from a folder of ours, never whatever a system brings along.

Source: docs/providers/paypal.md, "Trust anchors".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from handlers.paypal.settings import Environment
from hub.errors import ConfigError, HubError

SIGNER_NAMES: Final = {
    "sandbox": "messageverificationcerts.sandbox.paypal.com",
    "live": "messageverificationcerts.paypal.com",
}
TEST_ONLY: Final = "TEST_ONLY"
"""How the names of files begin that must never be believed in live."""
CERTIFICATES_MAX: Final = 10
"""In one answer of a certificate address; the first signs, the others only help to build the chain."""


class WrongCertificateError(HubError):
    """This certificate can never prove anything; the text says why."""


class UnknownIssuerError(HubError):
    """Nothing is wrong with the certificate, but nobody whom we know vouches for it."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Anchors that need no proof, and intermediates that signers leave out."""

    anchors: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...]

    @classmethod
    def load(cls, folder: Path, environment: Environment) -> Trust:
        """Everything in the ``.pem`` files of a folder. Raises ConfigError when one cannot be read or none is there."""
        files = sorted(folder.glob("*.pem"))
        if environment == "live" and any(file.name.startswith(TEST_ONLY) for file in files):
            raise ConfigError(f"HUB_PAYPAL_TRUST_DIR: {folder} holds {TEST_ONLY} certificates: never in live")
        found: list[x509.Certificate] = []
        for file in files:
            try:
                found += x509.load_pem_x509_certificates(file.read_bytes())
            except (OSError, ValueError) as error:
                raise ConfigError(f"HUB_PAYPAL_TRUST_DIR: {file} cannot be read as PEM certificates") from error
        trust = cls.of(found)
        if not trust.anchors:
            raise ConfigError(f"HUB_PAYPAL_TRUST_DIR: {folder} holds no certificate that signed itself")
        return trust

    @classmethod
    def of(cls, certificates: Iterable[x509.Certificate]) -> Trust:
        """Told apart by who signed them."""
        anchors: list[x509.Certificate] = []
        intermediates: list[x509.Certificate] = []
        for one in certificates:
            (anchors if one.issuer == one.subject else intermediates).append(one)
        return cls(tuple(anchors), tuple(intermediates))

    def beside(self, other: Trust) -> Trust:
        """Everything of both."""
        return Trust((*self.anchors, *other.anchors), (*self.intermediates, *other.intermediates))

    def check(self, chain: Sequence[x509.Certificate], environment: Environment, at: datetime) -> None:
        """Whether the first of these certificates is PayPal's signer and was believed at this time.

        Raises WrongCertificateError or UnknownIssuerError.
        """
        signer, name = chain[0], SIGNER_NAMES[environment]
        _check_alone(signer, name, at)
        if not self.anchors:
            raise UnknownIssuerError("no trust anchor is known")
        policy = PolicyBuilder().store(Store(list(self.anchors))).time(at).build_server_verifier(x509.DNSName(name))
        try:
            policy.verify(signer, [*chain[1:], *self.intermediates])
        except VerificationError as error:
            raise UnknownIssuerError("no chain leads from the certificate to a trust anchor of ours") from error


def read_certificates(pem: bytes) -> list[x509.Certificate]:
    """What a certificate address answered, the signer first. Raises UnknownIssuerError when it is not PEM."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise UnknownIssuerError("the certificate address answered with something that is not PEM") from error
    if not found:
        raise UnknownIssuerError("the certificate address answered without a certificate")
    return found[:CERTIFICATES_MAX]


def is_signed_by(signer: x509.Certificate, signature: bytes, message: bytes) -> bool:
    """Whether this certificate's key made this signature. Raises WrongCertificateError for a key that is not RSA."""
    key = signer.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise WrongCertificateError("the certificate's key is not RSA")
    try:
        key.verify(signature, message, padding.PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _check_alone(signer: x509.Certificate, name: str, at: datetime) -> None:
    """What must hold of the signer whoever issued it."""
    try:
        is_ca = signer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    except ValueError as error:
        raise WrongCertificateError("the certificate's extensions cannot be read") from error
    if is_ca:
        raise WrongCertificateError("the certificate is an authority's, not a signer's")
    try:
        # A certificate is read part by part, its names only here.
        issuer, subject = signer.issuer, signer.subject
    except ValueError as error:
        raise WrongCertificateError("the certificate's names cannot be read") from error
    if issuer == subject:
        raise WrongCertificateError("the certificate signed itself")
    # Whole names: "begins with" and "ends with" would let a stranger's names through.
    common = [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if common != [name] or name not in _dns_names(signer):
        raise WrongCertificateError("the certificate is not issued to PayPal's message signer")
    if not signer.not_valid_before_utc <= at <= signer.not_valid_after_utc:
        raise WrongCertificateError("the certificate was not valid when the delivery was received")


def _dns_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.DNSName)
