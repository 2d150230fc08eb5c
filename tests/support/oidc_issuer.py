"""A small OpenID Connect issuer: one client, codes for one time, PKCE, and tokens that a test may spoil."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

CLIENT, SECRET = "hub", "a-secret-of-the-client"
Claims = dict[str, Any]


class Issuer:
    """Signs everybody in as ``who``. What it says and signs can be spoilt before it is said."""

    def __init__(self) -> None:
        self.url = ""
        self.who: Claims = {"sub": "1", "email": "ana@example.org", "email_verified": True, "groups": ["staff", "ops"]}
        self.spoil: Callable[[Claims], None] = lambda _: None
        self.describe: Callable[[Claims], None] = lambda _: None
        self.sign: Callable[[Claims], str] = self.signed
        self.now: Callable[[], float] = time.time
        self.asked: list[str] = []
        self._codes: dict[str, Claims] = {}
        self.rotate("first")

    def rotate(self, name: str) -> None:
        """Sign by another key from now on, and name no other."""
        self.key, self.key_name = ec.generate_private_key(ec.SECP256R1()), name

    @property
    def public(self) -> Claims:
        jwk = json.loads(ECAlgorithm.to_jwk(self.key.public_key()))
        return {**jwk, "kid": self.key_name, "use": "sig", "alg": "ES256"}

    def signed(self, claims: Claims) -> str:
        return jwt.encode(claims, self.key, algorithm="ES256", headers={"kid": self.key_name})

    def authorize(self, address: str) -> dict[str, str]:
        """What a person's browser does there: answers with what it brings back."""
        assert address.startswith(f"{self.url}/authorize?"), address
        asked = dict(parse_qsl(urlsplit(address).query))
        assert (asked["response_type"], asked["client_id"], asked["code_challenge_method"]) == ("code", CLIENT, "S256")
        code = f"code-{len(self._codes) + 1}"
        self._codes[code] = asked
        return {"code": code, "state": asked["state"], "iss": self.url}

    async def _token(self, request: web.Request) -> web.Response:
        form = dict(await request.post())
        asked = self._codes.pop(str(form.get("code")), None)
        proof = base64.urlsafe_b64encode(hashlib.sha256(str(form.get("code_verifier")).encode()).digest())
        if (
            asked is None
            or (form.get("client_id"), form.get("client_secret")) != (CLIENT, SECRET)
            or proof.rstrip(b"=").decode() != asked["code_challenge"]
            or form.get("redirect_uri") != asked["redirect_uri"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(self.now())
        claims = {"iss": self.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"], **self.who}
        self.spoil(claims)
        return web.json_response({"token_type": "Bearer", "id_token": self.sign(claims)})

    async def _described(self, _request: web.Request) -> web.Response:
        said = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }
        self.describe(said)
        return web.json_response(said)

    async def _keys(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": [self.public, {"kty": "oct", "k": "c2VjcmV0", "kid": self.key_name}]})

    @web.middleware
    async def _noted(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path.rpartition("/")[2])
        response: web.StreamResponse = await handler(request)
        return response

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._noted])
        app.router.add_get("/.well-known/openid-configuration", self._described)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        return app


@asynccontextmanager
async def issuing() -> AsyncIterator[Issuer]:
    """An issuer that answers on this machine."""
    issuer = Issuer()
    server = TestServer(issuer.application(), host="127.0.0.1")
    await server.start_server()
    issuer.url = str(server.make_url("")).rstrip("/")
    try:
        yield issuer
    finally:
        await server.close()
