"""Who is asking: end users by JWT, programs and people by API key.

Source: RFC 7519, RFC 8725 (the algorithm belongs to the key, never to the token), RFC 6750.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from aiohttp import web

from hub.errors import ConfigError, RefusedRequestError, UsageError
from hub.settings import Settings, revealed
from hub.texts import is_storable

LEEWAY_S = 30
"""How far the clock of whoever issues tokens may be off."""
TOKEN_BYTES_MAX = 8 * 1024
TOKEN_LIFE_S = 3_600
HS256_KEY_BYTES = 32
SUBJECT_MAX = 255
EPOCH_S_MAX = 10**12


class Role(StrEnum):
    """What the holder of an API key may do."""

    CLIENT = "client"  # a shop's backend: send events, use the business API
    OPERATOR = "operator"  # reverse, retry, assign, report
    ADMIN = "admin"  # everything
    VIEWER = "viewer"  # look, change nothing


GRANTS: Mapping[Role, frozenset[Role]] = {
    Role.CLIENT: frozenset({Role.CLIENT}),
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.CLIENT, Role.VIEWER}),
    Role.ADMIN: frozenset(Role),
}
"""Which roles each role includes."""


class RefusedError(RefusedRequestError):
    """The caller is not known (401) or may not do this (403). The text is for the log, not for the caller."""


@dataclass(frozen=True, slots=True)
class User:
    """An end user, proven by a token. ``id`` is the token's ``sub``, a text."""

    id: str
    claims: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Client:
    """The holder of an API key."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether the holder's role includes ``role``."""
        return role in GRANTS[self.role]


class ApiKeys:
    """The API keys that are known. Only their hashes are held."""

    def __init__(self, entries: Mapping[str, Client]) -> None:
        """``entries``: key → holder."""
        self._holders = [(digest_of(key), holder) for key, holder in entries.items()]

    @property
    def has_any(self) -> bool:
        """Whether there is any."""
        return bool(self._holders)

    @classmethod
    def read(cls, admin_key: str, more: str) -> ApiKeys:
        """From ``HUB_API_KEY`` and ``HUB_API_KEYS`` (``name:role:key,…``). Raises ConfigError, without the keys."""
        entries: dict[str, Client] = {admin_key: Client("admin", Role.ADMIN)} if admin_key else {}
        for number, entry in enumerate(filter(None, (part.strip() for part in more.split(","))), start=1):
            name, _, rest = entry.partition(":")
            role, _, key = rest.partition(":")
            if not name or not key or role not in set(Role):
                roles = "|".join(Role)
                raise ConfigError(f"HUB_API_KEYS: entry {number}: expected name:role:key with a role out of {roles}")
            if key in entries:
                raise ConfigError(f"HUB_API_KEYS: entry {number} ({name}): this key is already in use")
            entries[key] = Client(name, Role(role))
        return cls(entries)

    def holder(self, key: str) -> Client | None:
        """Whose key this is. All are compared, so that the time taken tells nothing."""
        digest = digest_of(key)
        return self.holder_of(lambda known: hmac.compare_digest(known, digest))

    def holder_of(self, is_digest: Callable[[bytes], bool]) -> Client | None:
        """Whose key has the digest of which this is true."""
        found = [holder for known, holder in self._holders if is_digest(known)]
        return found[0] if found else None


class Tokens:
    """Verifies the JWTs of end users: HS256 with the shared secret, RS256 with the public key."""

    def __init__(self, *, secret: str = "", public_key: str = "", audience: str = "", issuer: str = "") -> None:
        """Raises ConfigError when the public key is not an RSA key in PEM."""
        # One key per algorithm: a public key can never be taken for a shared secret.
        self._keys: dict[str, bytes] = {}
        if secret:
            # HMAC pads short keys with zeros anyway; done here, the library does not warn on every request.
            self._keys["HS256"] = secret.encode("utf-8", "surrogateescape").ljust(HS256_KEY_BYTES, b"\0")
        if public_key:
            self._keys["RS256"] = _public_pem(public_key)
        self._audience = audience or None
        self._issuer = issuer or None

    def verify(self, token: str, now: datetime) -> User:
        """The user whom the token names. Raises RefusedError."""
        import jwt  # noqa: PLC0415 - with the first token, as cryptography comes along: many a hub never sees one

        if len(token) > TOKEN_BYTES_MAX:
            raise RefusedError(401, "the token is too long")
        if not token.isascii():
            # A header's bytes that are no UTF-8 arrive as halves of surrogate pairs, which the library cannot encode.
            raise RefusedError(401, "the token is not ASCII")
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            key = self._keys.get(algorithm) if isinstance(algorithm, str) else None
            if key is None or not isinstance(algorithm, str):
                raise RefusedError(401, "no key is configured for the algorithm of the token")
            claims = self._decode(jwt.decode, token, key, algorithm)
        except jwt.PyJWTError as error:
            raise RefusedError(401, f"the token is refused: {type(error).__name__}") from error
        _check_times(claims, now)
        subject = claims["sub"]
        # A user whom no database can hold would be an error of the server with every request.
        if not subject or len(subject) > SUBJECT_MAX or not is_storable(subject):
            raise RefusedError(401, "the token names no user")
        return User(subject, claims)

    def issue(self, user_id: str, now: datetime, *, life_s: int = TOKEN_LIFE_S) -> str:
        """A token for development. Raises UsageError where tokens come from someone else (no ``HUB_JWT_SECRET``)."""
        import jwt  # noqa: PLC0415 - see ``verify``

        secret = self._keys.get("HS256")
        if not secret:
            raise UsageError("HUB_JWT_SECRET is not set, and HUB_HOME holds none: is HUB_HOME the running hub's?")
        claims: dict[str, object] = {"sub": user_id, "iat": now, "exp": now + timedelta(seconds=life_s)}
        if self._audience:
            claims["aud"] = self._audience
        if self._issuer:
            claims["iss"] = self._issuer
        return jwt.encode(claims, secret, algorithm="HS256")

    def _decode(self, decode: Callable[..., dict[str, Any]], token: str, key: bytes, algorithm: str) -> dict[str, Any]:
        required = ["exp", "sub", *(["aud"] if self._audience else []), *(["iss"] if self._issuer else [])]
        return decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            # Times are judged by the hub's clock, which tests can set; a token for someone else's audience is refused
            # also where no audience is configured.
            options={"require": required, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )


class Doorman:
    """Reads ``Authorization: Bearer …`` and says who is asking."""

    def __init__(self, keys: ApiKeys, tokens: Tokens) -> None:
        self._keys = keys
        self._tokens = tokens

    @classmethod
    def of(cls, settings: Settings) -> Doorman:
        """Built from the settings. Raises ConfigError for keys that cannot be used."""
        return cls(
            ApiKeys.read(revealed(settings.api_key), revealed(settings.api_keys)),
            Tokens(
                secret=revealed(settings.jwt_secret),
                public_key=revealed(settings.jwt_public_key),
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
            ),
        )

    @property
    def keys(self) -> ApiKeys:
        """The API keys."""
        return self._keys

    @property
    def tokens(self) -> Tokens:
        """The verifier of users' tokens; it also issues them for development."""
        return self._tokens

    def require(self, request: web.BaseRequest, role: Role) -> Client:
        """The holder of the API key, if it includes ``role``. Raises RefusedError (401 or 403)."""
        holder = self._keys.holder(bearer(request))
        if holder is None:
            raise RefusedError(401, "the API key is not known")
        if not holder.may(role):
            raise RefusedError(403, f"{holder.name} is {holder.role} and lacks the role {role}")
        return holder

    def user(self, request: web.BaseRequest, now: datetime) -> User:
        """The end user whom the token names. Raises RefusedError (401)."""
        return self._tokens.verify(bearer(request), now)


def bearer(request: web.BaseRequest) -> str:
    """What follows ``Bearer``. Raises RefusedError when there is nothing."""
    values = request.headers.getall("Authorization", [])
    word, _, value = (values[0] if len(values) == 1 else "").strip().partition(" ")
    if word.lower() != "bearer" or not value.strip():
        raise RefusedError(401, "expected one header Authorization: Bearer …")
    return value.strip()


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    now_s = now.timestamp()
    times = {name: claims[name] for name in ("exp", "nbf", "iat") if name in claims}
    for name, value in times.items():
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        # An integer may be larger than any float, and NaN is not near anything.
        if not is_number or not -EPOCH_S_MAX <= value <= EPOCH_S_MAX:
            raise RefusedError(401, f"the token's {name} is not a number")
    if times["exp"] <= now_s - LEEWAY_S:
        raise RefusedError(401, "the token has expired")
    if any(times.get(name, 0) > now_s + LEEWAY_S for name in ("nbf", "iat")):
        raise RefusedError(401, "the token is not valid yet")


def _public_pem(text: str) -> bytes:
    import jwt  # noqa: PLC0415 - see ``Tokens.verify``
    from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415

    # Environment files often carry a PEM on one line.
    pem = text.replace("\\n", "\n").strip().encode()
    try:
        key = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(pem)
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise ConfigError("HUB_JWT_PUBLIC_KEY: expected an RSA public key in PEM") from error
    if hasattr(key, "private_numbers"):
        raise ConfigError("HUB_JWT_PUBLIC_KEY: expected the public half only, found a private key")
    return pem


def digest_of(key: str) -> bytes:
    """What is kept of a key, to know it by."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
