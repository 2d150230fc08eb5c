"""Signing in by an OpenID Connect issuer: authorization code with PKCE, and an id token that is verified here.

The browser keeps one random token for the way there and back; state, nonce and the proof of the code are made of it,
so that the server keeps nothing, and an answer that was begun elsewhere fits nowhere.
Source: OpenID Connect Core 1.0, 3.1; RFC 7636; RFC 9207; RFC 8725 (which algorithms, and whose key).
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import aiohttp.client
import structlog
from yarl import URL

from hub.clock import Clock
from hub.console.oidc_settings import PREFIX, OidcSettings, is_safe
from hub.console.people import NAME, Person
from hub.errors import HubError, RetryableError
from hub.settings import revealed

ASK_S_MAX: Final = 10.0
ANSWER_BYTES_MAX: Final = 512 * 1024
TOKEN_CHARS_MAX: Final = 32 * 1024
KEPT_S: Final = 3_600.0
"""How long what the issuer says of itself is believed; its keys are asked for again when one is missing."""
KEYS_AGAIN_S: Final = 30.0
AWAY_S: Final = 5.0
"""So long nobody asks an issuer again that did not describe itself."""
NAME_CHARS_MAX: Final = 90
"""What a session's row has room for, behind the prefix."""
LEEWAY_S: Final = 60.0
"""How far the issuer's clock may be off."""
ALGORITHMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    "EdDSA": "OKP",
}
"""Signatures that are believed, and the kind of key that makes them: never a shared secret, never none."""

log = structlog.get_logger("hub.console")


class OidcRefusedError(HubError):
    """Nobody is signed in by this. The text is for the log; ``hint`` is for the person."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class IssuerAwayError(RetryableError):
    """The issuer does not answer as one does; to be tried again."""


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """The way to the issuer and back: what the browser keeps meanwhile, and what is made of it."""

    token: str

    @classmethod
    def begin(cls) -> AuthorizationRequest:
        return cls(secrets.token_urlsafe(32))

    @property
    def state(self) -> str:
        return self._made("state")

    @property
    def nonce(self) -> str:
        return self._made("nonce")

    @property
    def verifier(self) -> str:
        return self._made("verifier")

    @property
    def challenge(self) -> str:
        return _text(hashlib.sha256(self.verifier.encode()).digest())

    def _made(self, of: str) -> str:
        return _text(hmac.digest(self.token.encode("utf-8", "replace"), f"oidc {of}".encode(), "sha256"))


@dataclass(frozen=True, slots=True)
class _Issuer:
    """What the issuer says of itself."""

    authorization: str
    token: str
    keys: str
    until_s: float


class Oidc:
    """One issuer, as one hub sees it."""

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        self.settings = settings
        self._clock = clock
        self._issuer: _Issuer | None = None
        self._keys: tuple[Mapping[str, Any], ...] = ()
        self._keys_at_s = -KEPT_S
        self._away_until_s = -math.inf
        self._turn = asyncio.Lock()

    async def address(self, authorization: AuthorizationRequest) -> str:
        """Where the browser signs in. Raises IssuerAwayError."""
        issuer, settings = await self._known(), self.settings
        return str(
            URL(issuer.authorization).update_query(
                response_type="code",
                client_id=settings.client_id,
                redirect_uri=settings.redirect_uri,
                scope=settings.scopes,
                state=authorization.state,
                nonce=authorization.nonce,
                code_challenge=authorization.challenge,
                code_challenge_method="S256",
            )
        )

    async def person(self, authorization: AuthorizationRequest, answer: Mapping[str, str]) -> Person:
        """Who has come back with this. Raises OidcRefusedError, IssuerAwayError."""
        # First of all: only who was sent there by this browser is listened to.
        if not hmac.compare_digest(answer.get("state", "").encode("utf-8", "replace"), authorization.state.encode()):
            raise OidcRefusedError("the answer is not to what this browser asked", hint="Begin again.")
        if answer.get("iss", self.settings.issuer) != self.settings.issuer:
            raise OidcRefusedError("the answer is another issuer's")
        if "error" in answer:
            # Its words come over the address of the page: anybody can write them.
            raise OidcRefusedError("the issuer has refused", hint="The issuer did not sign you in.")
        claims = await self._claims(await self._exchanged(authorization, answer.get("code", "")), self._clock.now())
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode("utf-8", "replace"), authorization.nonce.encode()
        ):
            raise OidcRefusedError("the token was made for another sign-in")
        return self._person(claims)

    def _person(self, claims: Mapping[str, Any]) -> Person:
        name = self.settings.name_of(claims)
        if not NAME.fullmatch(name) or len(name) > NAME_CHARS_MAX or not _is_verified(claims):
            hint = f"Your account has no verified name here (claim {self.settings.name_claim})."
            raise OidcRefusedError("the token names nobody by the claim of the name", hint=hint)
        role = self.settings.role_of(claims)
        if role is None:
            raise OidcRefusedError("the token gives no role", hint="You are known there, and have no role here.")
        return Person(f"{PREFIX}{name}", role, self.settings.credential_of(f"{PREFIX}{name}", role))

    async def _exchanged(self, authorization: AuthorizationRequest, code: str) -> str:
        """The id token for a code. Raises OidcRefusedError, IssuerAwayError."""
        settings, issuer = self.settings, await self._known()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": settings.redirect_uri,
            "client_id": settings.client_id,
            "code_verifier": authorization.verifier,
        }
        secret = revealed(settings.client_secret)
        if secret:
            form["client_secret"] = secret
        said = await self._asked("POST", issuer.token, form)
        token = said.get("id_token")
        if not isinstance(token, str) or not token.isascii() or len(token) > TOKEN_CHARS_MAX:
            raise OidcRefusedError("the issuer gave no id token for the code")
        return token

    async def _claims(self, token: str, now: datetime) -> Mapping[str, Any]:
        """What the token says, once its signature, issuer, audience and times hold. Raises OidcRefusedError."""
        import jwt  # noqa: PLC0415 - with the first sign-in: many a hub never sees one

        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = header.get("alg"), header.get("kid")
            if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
                raise OidcRefusedError("the token is signed by an algorithm that is not believed")
            jwk = await self._key(key_id, ALGORITHMS[algorithm])
            claims: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK.from_dict(dict(jwk), algorithm=algorithm).key,
                algorithms=[algorithm],
                audience=self.settings.client_id,
                issuer=self.settings.issuer,
                # Times are judged by the hub's clock.
                options={
                    "require": ["exp", "iat", "sub", "aud", "iss"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.PyJWTError as error:
            raise OidcRefusedError(f"the token is refused: {type(error).__name__}") from error
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != self.settings.client_id:
            raise OidcRefusedError("the token was made for another client")
        expires, issued, at = claims["exp"], claims["iat"], now.timestamp()
        if not all(isinstance(one, int | float) for one in (expires, issued)):
            raise OidcRefusedError("the times of the token are no numbers")
        if expires + LEEWAY_S <= at or issued - LEEWAY_S > at:
            raise OidcRefusedError("the token is over, or not valid yet")
        return claims

    async def _key(self, key_id: object, kind: str) -> Mapping[str, Any]:
        """The issuer's key of this name. Raises OidcRefusedError, IssuerAwayError."""
        async with self._turn:
            age_s = self._clock.monotonic() - self._keys_at_s
            found = _suitable(self._keys, key_id, kind)
            if age_s >= KEPT_S or (not found and age_s >= KEYS_AGAIN_S):
                said = (await self._asked("GET", (await self._read_issuer()).keys)).get("keys")
                self._keys = tuple(one for one in said if isinstance(one, dict)) if isinstance(said, list) else ()
                self._keys_at_s = self._clock.monotonic()
                found = _suitable(self._keys, key_id, kind)
        if len(found) != 1:
            raise OidcRefusedError("the issuer has no key of this name")
        return found[0]

    async def _known(self) -> _Issuer:
        async with self._turn:
            return await self._read_issuer()

    async def _read_issuer(self) -> _Issuer:
        if self._issuer is None or self._issuer.until_s <= self._clock.monotonic():
            if self._clock.monotonic() < self._away_until_s:
                # Everybody who signs in would wait for the same silence, one after the other.
                raise IssuerAwayError("the issuer did not answer a moment ago")
            try:
                self._issuer = await self._described()
            except IssuerAwayError:
                self._away_until_s = self._clock.monotonic() + AWAY_S
                raise
        return self._issuer

    async def _described(self) -> _Issuer:
        issuer = self.settings.issuer
        said = await self._asked("GET", f"{issuer.rstrip('/')}/.well-known/openid-configuration")
        if said.get("issuer") != issuer:
            raise IssuerAwayError("the issuer calls itself otherwise")
        return _Issuer(
            authorization=_place(said, "authorization_endpoint"),
            token=_place(said, "token_endpoint"),
            keys=_place(said, "jwks_uri"),
            until_s=self._clock.monotonic() + KEPT_S,
        )

    async def _asked(self, method: str, url: str, form: Mapping[str, str] | None = None) -> Mapping[str, Any]:
        """The issuer's answer, an object. Raises OidcRefusedError where it refuses, IssuerAwayError."""
        content = bytearray()
        try:
            timeout = aiohttp.ClientTimeout(total=ASK_S_MAX)
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
                http.request(
                    method, url, data=form, allow_redirects=False, headers={"Accept": "application/json"}
                ) as response,
            ):
                async for chunk in response.content.iter_chunked(64 * 1024):
                    content += chunk
                    if len(content) > ANSWER_BYTES_MAX:
                        raise IssuerAwayError("the issuer's answer is too long")
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise IssuerAwayError(f"the issuer does not answer: {type(error).__name__}") from error
        if 400 <= status < 500 and form is not None:
            raise OidcRefusedError(f"the issuer refused the code: {status}", hint="Begin again.")
        try:
            said = json.loads(content) if status == 200 else None
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise IssuerAwayError(f"the issuer's answer cannot be read: {status}")
        return said


def _is_verified(claims: Mapping[str, Any]) -> bool:
    """Whether the address may stand for somebody: what the issuer says of it is yes, or it says nothing.

    Some issuers write the truth value as text, so the text "false" must not pass for a yes.
    """
    said = claims.get("email_verified", True)
    return said is True or said == "true"


def _suitable(keys: tuple[Mapping[str, Any], ...], key_id: object, kind: str) -> list[Mapping[str, Any]]:
    """Keys that may have signed; a token that names none is believed where there is only one."""
    fit = [one for one in keys if one.get("kty") == kind and one.get("use", "sig") == "sig"]
    return fit if key_id is None else [one for one in fit if one.get("kid") == key_id]


def _place(said: Mapping[str, Any], name: str) -> str:
    place = said.get(name)
    if not isinstance(place, str) or not is_safe(place):
        raise IssuerAwayError(f"the issuer names no safe {name}")
    return place


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
