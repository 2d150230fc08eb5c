"""Who is asking: tokens of end users and API keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hub.errors import ConfigError, UsageError
from hub.ingress.tokens import ApiKeys, Doorman, RefusedError, Role, Tokens
from hub.settings import load_settings

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SECRET = "a shared secret that is long enough for each algorithm"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE_PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC_PEM = (
    PRIVATE.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


def token(*, key: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"sub": "42", "exp": NOW + timedelta(minutes=5), **claims}, key, algorithm=algorithm)


def test_an_issued_token_names_its_user() -> None:
    tokens = Tokens(secret=SECRET, audience="hub", issuer="tests")

    user = tokens.verify(tokens.issue("42", NOW), NOW)

    assert user.id == "42"
    assert user.claims["aud"] == "hub"


def test_a_short_secret_works_without_a_warning() -> None:
    tokens = Tokens(secret="short")

    assert tokens.verify(token(key="short" + "\0" * 27), NOW).id == "42"
    assert tokens.verify(tokens.issue("7", NOW), NOW).id == "7"


def test_a_token_of_someone_else_is_verified_with_their_public_key() -> None:
    tokens = Tokens(public_key=PUBLIC_PEM.replace("\n", "\\n"))

    assert tokens.verify(token(key=PRIVATE_PEM, algorithm="RS256"), NOW).id == "42"
    with pytest.raises(UsageError, match="HUB_JWT_SECRET is not set"):
        tokens.issue("42", NOW)


def forged_with_public_key() -> str:
    # The classic confusion: the public key, which everyone knows, taken for a shared secret.
    def part(data: dict[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")

    head = part({"alg": "HS256", "typ": "JWT"}) + "." + part({"sub": "42", "exp": 4_000_000_000})
    digest = hmac.new(PUBLIC_PEM.strip().encode(), head.encode(), hashlib.sha256).digest()
    return head + "." + base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.mark.parametrize(
    "given",
    [
        "",
        "abc",
        "a.b.c",
        "x" * 9_000,
        token(key="another secret that is long enough for each algorithm"),
        token(algorithm="HS384"),
        jwt.encode({"sub": "42", "exp": 4_000_000_000}, "", algorithm="none"),
        forged_with_public_key(),
        token(exp=NOW - timedelta(seconds=31)),
        token(nbf=NOW + timedelta(seconds=31)),
        token(iat=NOW + timedelta(seconds=31)),
        token(sub=""),
        token(sub=42),
        token(sub="x" * 256),
        token(aud="someone else"),
        token(exp=float("nan")),
        jwt.encode({"sub": "42"}, SECRET),
        jwt.encode({"exp": 4_000_000_000}, SECRET),
    ],
)
@pytest.mark.parametrize("public_key", ["", PUBLIC_PEM])
def test_a_bad_token_is_refused(given: str, public_key: str) -> None:
    with pytest.raises(RefusedError) as caught:
        Tokens(secret="" if given == forged_with_public_key() else SECRET, public_key=public_key).verify(given, NOW)

    assert caught.value.status == 401
    assert not given or given not in str(caught.value)


def test_a_clock_that_is_a_little_off_is_forgiven() -> None:
    tokens = Tokens(secret=SECRET)

    assert tokens.verify(token(exp=NOW - timedelta(seconds=29)), NOW).id == "42"
    assert tokens.verify(token(iat=NOW + timedelta(seconds=29)), NOW).id == "42"


@pytest.mark.parametrize("claims", [{}, {"aud": "other", "iss": "tests"}, {"aud": "hub", "iss": "other"}])
def test_audience_and_issuer_are_required_where_they_are_configured(claims: dict[str, str]) -> None:
    with pytest.raises(RefusedError):
        Tokens(secret=SECRET, audience="hub", issuer="tests").verify(token(**claims), NOW)


@pytest.mark.parametrize("pem", ["nonsense", PRIVATE_PEM])
def test_a_public_key_that_is_none_is_told_at_start(pem: str) -> None:
    with pytest.raises(ConfigError, match="HUB_JWT_PUBLIC_KEY: expected") as caught:
        Tokens(public_key=pem)

    assert pem not in str(caught.value)


class TestApiKeys:
    keys = ApiKeys.read("admin-key", "shop:client:shop-key, desk:operator:desk:key ,eye:viewer:eye-key")

    @pytest.mark.parametrize(
        ("key", "name", "roles"),
        [
            ("admin-key", "admin", set(Role)),
            ("shop-key", "shop", {Role.CLIENT}),
            ("desk:key", "desk", {Role.OPERATOR, Role.CLIENT, Role.VIEWER}),
            ("eye-key", "eye", {Role.VIEWER}),
        ],
    )
    def test_each_key_has_a_holder_and_a_role(self, key: str, name: str, roles: set[Role]) -> None:
        holder = self.keys.holder(key)

        assert holder is not None
        assert holder.name == name
        assert {role for role in Role if holder.may(role)} == roles

    @pytest.mark.parametrize("key", ["", "admin-ke", "admin-key ", "kľúč\udcff"])
    def test_another_key_has_none(self, key: str) -> None:
        assert self.keys.holder(key) is None

    def test_without_keys_nobody_is_known(self) -> None:
        assert ApiKeys.read("", "").holder("") is None

    @pytest.mark.parametrize(
        "more", ["shop", "shop:client", "shop:client:", ":client:k", "shop:boss:k", "a:client:dup"]
    )
    def test_a_wrong_entry_is_told_by_its_number_without_the_key(self, more: str) -> None:
        with pytest.raises(ConfigError, match="HUB_API_KEYS: entry 2") as caught:
            ApiKeys.read("dup", f"one:client:one-key,{more}")

        assert "one-key" not in str(caught.value)

    @pytest.mark.parametrize(
        ("header", "role", "status"),
        [
            (None, Role.CLIENT, 401),
            ("Bearer", Role.CLIENT, 401),
            ("Basic shop-key", Role.CLIENT, 401),
            ("Bearer wrong", Role.CLIENT, 401),
            ("Bearer shop-key", Role.OPERATOR, 403),
        ],
    )
    def test_who_may_not_is_refused(self, header: str | None, role: Role, status: int) -> None:
        request = make_mocked_request("GET", "/", {} if header is None else {"Authorization": header})

        with pytest.raises(RefusedError) as caught:
            Doorman(self.keys, Tokens()).require(request, role)

        assert caught.value.status == status

    def test_who_may_is_let_in(self) -> None:
        request = make_mocked_request("GET", "/", {"Authorization": "bearer  shop-key "})

        assert Doorman(self.keys, Tokens()).require(request, Role.CLIENT).name == "shop"

    def test_a_user_is_read_from_the_same_header(self) -> None:
        tokens = Tokens(secret=SECRET)
        request = make_mocked_request("GET", "/", {"Authorization": f"Bearer {tokens.issue('42', NOW)}"})

        assert Doorman(self.keys, tokens).user(request, NOW).id == "42"


def test_a_doorman_is_built_from_the_settings() -> None:
    settings = load_settings({"HUB_API_KEY": "admin-key", "HUB_JWT_SECRET": SECRET, "HUB_JWT_AUDIENCE": "hub"})

    doorman = Doorman.of(settings)

    request = make_mocked_request("GET", "/", {"Authorization": "Bearer admin-key"})
    assert doorman.require(request, Role.ADMIN).name == "admin"
    assert doorman.tokens.verify(doorman.tokens.issue("42", NOW), NOW).claims["aud"] == "hub"
