"""Who comes back from an issuer is signed in, and nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from hub.console.oidc import AWAY_S, KEPT_S, KEYS_AGAIN_S, AuthorizationRequest, IssuerAwayError, Oidc, OidcRefusedError
from hub.console.oidc_settings import OidcSettings
from hub.console.people import Person
from hub.errors import ConfigError
from hub.ingress.tokens import Role
from hub.settings import read_settings
from tests.support.clock import SettableClock
from tests.support.oidc_issuer import CLIENT, SECRET, Claims, Issuer, issuing

ROLES = "ops=operator chiefs=admin all=viewer"


def settings_of(address: str, /, **more: str) -> OidcSettings:
    given = {"issuer": address, "client_id": CLIENT, "client_secret": SECRET, "url": "https://hub.example.org/"}
    named = {f"HUB_CONSOLE_OIDC_{name.upper()}": value for name, value in ({**given, "roles": ROLES} | more).items()}
    return read_settings(OidcSettings, named)


@pytest.fixture
async def issuer(clock: SettableClock) -> AsyncIterator[Issuer]:
    async with issuing() as one:
        one.now = lambda: clock.now().timestamp()
        yield one


@pytest.fixture
def oidc(issuer: Issuer, clock: SettableClock) -> Oidc:
    return Oidc(settings_of(issuer.url), clock)


async def sign_in(oidc: Oidc, issuer: Issuer, **answer: str) -> Person:
    authorization = AuthorizationRequest.begin()
    return await oidc.person(authorization, {**issuer.authorize(await oidc.address(authorization)), **answer})


async def test_who_comes_back_is_known_by_the_claims(oidc: Oidc, issuer: Issuer) -> None:
    first, second = await sign_in(oidc, issuer), await sign_in(oidc, issuer)

    assert (first.name, first.role) == ("oidc:ana@example.org", Role.OPERATOR)
    assert first == second
    # What the issuer says of itself is asked once.
    assert issuer.asked == ["openid-configuration", "token", "keys", "token"]


async def test_nothing_of_a_sign_in_fits_another(oidc: Oidc, issuer: Issuer) -> None:
    one, other = AuthorizationRequest.begin(), AuthorizationRequest.begin()
    assert len({one.state, one.nonce, one.verifier, one.challenge, one.token, other.state, other.nonce}) == 7
    mine, others = [issuer.authorize(await oidc.address(authorization)) for authorization in (one, other)]

    with pytest.raises(OidcRefusedError, match="not to what this browser asked"):
        await oidc.person(one, others)
    # A code that was stolen and slipped to somebody else: the proof is not theirs.
    with pytest.raises(OidcRefusedError, match="refused the code: 400"):
        await oidc.person(one, {**mine, "code": others["code"]})


BAD_ANSWERS: dict[str, dict[str, str]] = {
    "no state": {"state": ""},
    "another's state": {"state": "x" * 43},
    "no code": {"code": ""},
    "a code of nobody": {"code": "code-99"},
    "another issuer": {"iss": "https://evil.example"},
    "a refusal": {"error": "access_denied"},
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_an_answer_that_is_none_signs_nobody_in(oidc: Oidc, issuer: Issuer, answer: dict[str, str]) -> None:
    with pytest.raises(OidcRefusedError):
        await sign_in(oidc, issuer, **answer)


async def test_a_code_is_for_one_time(oidc: Oidc, issuer: Issuer) -> None:
    authorization = AuthorizationRequest.begin()
    answer = issuer.authorize(await oidc.address(authorization))
    assert await oidc.person(authorization, answer)

    with pytest.raises(OidcRefusedError, match="refused the code"):
        await oidc.person(authorization, answer)


def _without(name: str) -> Callable[[Claims], Any]:
    return lambda claims: claims.pop(name)


def _with(**more: Any) -> Callable[[Claims], Any]:
    return lambda claims: claims.update(more)


SPOILT: dict[str, tuple[Callable[[Claims], Any], str]] = {
    "another nonce": (_with(nonce="n"), "for another sign-in"),
    "a nonce that is no text": (_with(nonce=7), "for another sign-in"),
    "no nonce": (_without("nonce"), "for another sign-in"),
    "another audience": (_with(aud="shop"), "InvalidAudience"),
    "no audience": (_without("aud"), "MissingRequired"),
    "another issuer": (_with(iss="https://evil.example"), "InvalidIssuer"),
    "no subject": (_without("sub"), "MissingRequired"),
    "for another client": (_with(azp="shop"), "another client"),
    "for several, and nobody says whose": (_with(aud=[CLIENT, "shop"]), "another client"),
    "over": (_with(exp=1_000_000_000), "is over"),
    "from tomorrow": (_with(iat=4_000_000_000, exp=4_000_000_300), "not valid yet"),
    "no role": (_with(groups=["staff"]), "no role"),
    "groups that are none": (_with(groups={"ops": True}), "no role"),
    "no groups": (_without("groups"), "no role"),
    "no name": (_without("email"), "names nobody"),
    "a name that is none": (_with(email="ana\nadmin"), "names nobody"),
    "a name of somebody here": (_with(email="oidc:ana@example.org"), "names nobody"),
    "a name that fits nowhere": (_with(email="a" * 100), "names nobody"),
    "a name that is not proven": (_with(email_verified=False), "names nobody"),
    **{
        f"a name that is proven by {said!r}": (_with(email_verified=said), "names nobody")
        for said in ("false", "False", "", "yes", "TRUE", 0, 1, None, [True], {"true": True})
    },
}


@pytest.mark.parametrize("say", [_with(email_verified="true"), _without("email_verified")], ids=["text", "nothing"])
async def test_a_name_is_believed_that_is_proven_in_text_or_of_which_nothing_is_said(
    oidc: Oidc, issuer: Issuer, say: Callable[[Claims], Any]
) -> None:
    issuer.spoil = say

    assert (await sign_in(oidc, issuer)).name == "oidc:ana@example.org"


@pytest.mark.parametrize(("spoil", "why"), SPOILT.values(), ids=SPOILT)
async def test_a_token_with_a_flaw_signs_nobody_in(
    oidc: Oidc, issuer: Issuer, spoil: Callable[[Claims], Any], why: str
) -> None:
    issuer.spoil = spoil

    with pytest.raises(OidcRefusedError, match=why):
        await sign_in(oidc, issuer)


async def test_only_a_signature_by_a_key_of_the_issuer_is_believed(oidc: Oidc, issuer: Issuer) -> None:
    stranger = Issuer()
    for sign in (
        stranger.signed,
        lambda claims: jwt.encode(claims, "", algorithm="none"),
        lambda claims: jwt.encode(claims, b"secret".ljust(32, b"\0"), algorithm="HS256", headers={"kid": "first"}),
        lambda claims: jwt.encode(claims, stranger.key, algorithm="ES256", headers={"kid": "unknown"}),
        lambda claims: f"{issuer.signed(claims)[:-4]}AAAA",
        lambda claims: "no token",
        lambda claims: "",
    ):
        issuer.sign = sign
        with pytest.raises(OidcRefusedError):
            await sign_in(oidc, issuer)

    issuer.sign = lambda claims: jwt.encode(claims, issuer.key, algorithm="ES256")
    assert await sign_in(oidc, issuer), "it has one key of this kind, which need not be named"


async def test_a_new_key_is_asked_for_when_it_is_first_met_and_not_with_every_forgery(
    oidc: Oidc, issuer: Issuer, clock: SettableClock
) -> None:
    await sign_in(oidc, issuer)
    issuer.rotate("second")
    with pytest.raises(OidcRefusedError, match="no key of this name"):
        await sign_in(oidc, issuer)
    asked = issuer.asked.count("keys")
    assert asked == 1

    clock.advance(KEYS_AGAIN_S)
    assert await sign_in(oidc, issuer)
    assert issuer.asked.count("keys") == 2
    clock.advance(KEPT_S)
    assert await sign_in(oidc, issuer)
    assert (issuer.asked.count("keys"), issuer.asked.count("openid-configuration")) == (3, 2)


@pytest.mark.parametrize(
    "said",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
    ids=str,
)
async def test_an_issuer_that_describes_itself_oddly_is_not_followed(
    oidc: Oidc, issuer: Issuer, said: dict[str, Any]
) -> None:
    issuer.describe = lambda described: described.update(said)

    with pytest.raises(IssuerAwayError):
        await oidc.address(AuthorizationRequest.begin())


@pytest.mark.parametrize("answer", ["nothing", "a list", "too much", "elsewhere", "broken"])
async def test_an_issuer_that_does_not_answer_as_one_is_away(answer: str, clock: SettableClock) -> None:
    async def answered(_request: web.Request) -> web.Response:
        match answer:
            case "a list":
                return web.json_response([1])
            case "too much":
                return web.Response(body=b" " * 2**20)
            case "elsewhere":
                raise web.HTTPFound("https://evil.example")
        return web.Response(text="{" if answer == "broken" else "")

    app = web.Application()
    app.router.add_get("/{path:.*}", answered)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    oidc = Oidc(settings_of(str(server.make_url("")).rstrip("/")), clock)

    with pytest.raises(IssuerAwayError):
        await oidc.address(AuthorizationRequest.begin())
    await server.close()
    with pytest.raises(IssuerAwayError, match="a moment ago"):
        await oidc.address(AuthorizationRequest.begin())
    clock.advance(AWAY_S)
    with pytest.raises(IssuerAwayError, match="does not answer"):
        await oidc.address(AuthorizationRequest.begin())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]"])
def test_an_issuer_on_this_machine_may_speak_without_encryption(host: str) -> None:
    assert settings_of(f"http://{host}:8080").issuer == f"http://{host}:8080"


def test_the_highest_role_that_is_given_counts() -> None:
    settings = settings_of("https://id.example.org")
    for groups, role in (("ops", "operator"), (["all", "chiefs", 7], "admin"), (["all"], "viewer"), ([], None)):
        assert settings.role_of({"groups": groups}) == role
    within = settings_of("https://id.example.org", role_claim="realm_access.roles")
    assert within.role_of({"realm_access": {"roles": ["ops"]}}) == Role.OPERATOR
    assert within.role_of({"realm_access": ["ops"]}) is None
    named = settings_of("https://id.example.org", role_claim="https://example.org/roles")
    assert named.role_of({"https://example.org/roles": "chiefs"}) == Role.ADMIN
    assert settings.redirect_uri == "https://hub.example.org/console/oidc/callback"


def test_a_session_stands_on_the_issuer_the_client_and_the_roles() -> None:
    one = settings_of("https://id.example.org")
    others = [
        settings_of("https://id.example.com"),
        settings_of("https://id.example.org", client_id="other"),
        settings_of("https://id.example.org", roles="ops=viewer"),
    ]

    made = {each.credential_of("oidc:ana@example.org", "operator") for each in (one, *others)}

    assert len(made) == 4
    assert one.credential_of("oidc:ana@example.org", "admin") not in made


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "http://id.example.org"},
        {"issuer": "id.example.org"},
        {"issuer": "https://user:word@id.example.org"},
        {"url": "http://hub.example.org"},
        {"client_id": ""},
        {"url": ""},
        {"roles": ""},
        {"roles": "ops"},
        {"roles": "ops=client"},
        {"scopes": "email"},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_told_at_the_start(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="HUB_CONSOLE_OIDC"):
        settings_of("https://id.example.org", **wrong)


def test_without_an_issuer_there_is_nothing_to_set() -> None:
    assert read_settings(OidcSettings, {}).issuer == ""
