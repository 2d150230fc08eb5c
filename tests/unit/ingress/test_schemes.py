"""How senders are proven, and what operators are told when they are not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub.errors import ConfigError
from hub.event import Verdict
from hub.ingress.schemes import Decision, Request, SchemeRegistry
from hub.ingress.signatures import STANDARD_WEBHOOKS

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "data" / "sepay" / "webhook_auth_vectors.json").read_text()
)
NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SEPAY_HMAC: dict[str, object] = {
    "scheme": "hmac",
    "signature_header": "X-SePay-Signature",
    "timestamp_header": "X-SePay-Timestamp",
    "prefix": "sha256=",
    "secret": VECTORS["hmac"]["secret"],
}
SEPAY_KEY: dict[str, object] = {"scheme": "api_key", "prefix": "Apikey", "secret": VECTORS["apikey"]["configured_key"]}


def request(headers: dict[str, str] | None = None, body: bytes = b"{}") -> Request:
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    return Request(method="POST", path="/webhooks/x", headers=lower, body=body)


def decide(auth: dict[str, object], given: Request, now: datetime = NOW) -> Decision:
    return SchemeRegistry().build(auth).decide(given, now)


@pytest.mark.parametrize("case", VECTORS["hmac"]["cases"], ids=lambda case: str(case["id"]))
def test_a_published_signature_case_is_judged_as_published(case: dict[str, Any]) -> None:
    now = datetime.fromtimestamp(case["now"], UTC)

    decision = decide(SEPAY_HMAC, request(case["headers"], case["raw_body"].encode()), now)

    assert (decision.verdict is Verdict.VALID) == case["accept"], decision.reason


@pytest.mark.parametrize("case", VECTORS["apikey"]["cases"], ids=lambda case: repr(case["header"]))
def test_a_published_key_case_is_judged_as_published(case: dict[str, Any]) -> None:
    headers = {} if case["header"] is None else {"Authorization": case["header"]}

    decision = decide(SEPAY_KEY, request(headers))

    assert (decision.verdict is Verdict.VALID) == case["accept"], decision.reason


@pytest.mark.parametrize("secret", ["", "  ", ",", []])
@pytest.mark.parametrize("auth", [SEPAY_KEY, SEPAY_HMAC, {"scheme": "hmac", "style": "standard-webhooks"}])
def test_without_a_secret_nobody_is_let_in(auth: dict[str, object], secret: object) -> None:
    given = request({"Authorization": "Apikey ", "X-SePay-Signature": "sha256=", "X-SePay-Timestamp": "1"})

    decision = decide({**auth, "secret": secret}, given)

    assert decision.verdict is None
    assert "no secret" in decision.reason


@pytest.mark.parametrize("secret", ["old-key,new-key", " old-key , new-key\n", ["old-key", "new-key"]])
@pytest.mark.parametrize("key", ["old-key", "new-key"])
def test_both_secrets_of_a_rotation_are_accepted(secret: object, key: str) -> None:
    decision = decide({"scheme": "api_key", "secret": secret, "header": "X-Key"}, request({"X-Key": key}))

    assert decision.verdict is Verdict.VALID


def test_a_key_of_other_letters_is_refused_without_an_error() -> None:
    decision = decide(SEPAY_KEY, request({"Authorization": "Apikey kľúč\udcff"}))

    assert decision.verdict is None


def test_none_must_be_asked_for_twice() -> None:
    with pytest.raises(ConfigError, match="allow_unauthenticated: true"):
        SchemeRegistry().build({"scheme": "none"})

    assert decide({"scheme": "none", "allow_unauthenticated": True}, request()).verdict is Verdict.NONE


class TestStandardWebhooks:
    SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

    def signed(self, *, secret: str = SECRET, at: datetime = NOW, prefix: str = "v1,") -> Request:
        stamp = str(int(at.timestamp()))
        key = base64.b64decode(secret.removeprefix("whsec_"))
        digest = hmac.new(key, f"msg_1.{stamp}.{{}}".encode(), hashlib.sha256).digest()
        return request(
            {
                "webhook-id": "msg_1",
                "webhook-timestamp": stamp,
                "webhook-signature": f"v1a,AAAA v1,AAAA {prefix}{base64.b64encode(digest).decode()}",
            }
        )

    def auth(self, secret: object = SECRET) -> dict[str, object]:
        return {"scheme": "hmac", "style": "standard-webhooks", "secret": secret}

    def test_the_published_example_is_accepted(self) -> None:
        # The example of the Standard Webhooks reference libraries.
        given = request(
            {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
            b'{"test": 2432232314}',
        )

        decision = decide(self.auth(), given, datetime.fromtimestamp(1614265330, UTC))

        assert decision.verdict is Verdict.VALID

    def test_one_good_signature_among_several_is_enough(self) -> None:
        assert decide(self.auth(), self.signed()).verdict is Verdict.VALID

    def test_either_secret_of_a_rotation_is_accepted(self) -> None:
        other = "whsec_" + base64.b64encode(b"another secret").decode()

        assert decide(self.auth([other, self.SECRET]), self.signed()).verdict is Verdict.VALID

    @pytest.mark.parametrize(("seconds", "accepted"), [(-301, False), (-300, True), (300, True), (301, False)])
    def test_the_timestamp_may_be_off_by_the_tolerance_in_both_directions(self, seconds: int, accepted: bool) -> None:
        decision = decide(self.auth(), self.signed(at=NOW + timedelta(seconds=seconds)))

        assert (decision.verdict is Verdict.VALID) == accepted

    def test_a_signature_of_another_version_is_not_looked_at(self) -> None:
        assert decide(self.auth(), self.signed(prefix="v2,")).verdict is None

    def test_many_signatures_are_not_all_tried(self) -> None:
        given = self.signed()
        flood = {**given.headers, "webhook-signature": "v1,AAAA " * 16 + given.headers["webhook-signature"]}

        assert decide(self.auth(), request(flood)).verdict is None

    def test_a_secret_that_is_not_base64_is_named_but_not_shown(self) -> None:
        with pytest.raises(ConfigError) as caught:
            SchemeRegistry().build(self.auth("whsec_not base64!"))

        assert "whsec_ and base64" in str(caught.value)
        assert "not base64!" not in str(caught.value)


def test_the_body_is_never_taken_for_a_template() -> None:
    auth: dict[str, object] = {
        "scheme": "hmac",
        "signature_header": "s",
        "timestamp_header": "t",
        "secret": "k",
        "template": "{timestamp}.{body}",
    }
    stamp = str(int(NOW.timestamp()))
    body = b'{"a": "{timestamp}{body}"}'
    digest = hmac.new(b"k", stamp.encode() + b"." + body, hashlib.sha256).hexdigest()

    assert decide(auth, request({"s": digest, "t": stamp}, body)).verdict is Verdict.VALID


def test_sha512_in_base64_over_method_path_and_body_can_be_configured() -> None:
    auth: dict[str, object] = {
        "scheme": "hmac",
        "signature_header": "s",
        "secret": base64.b64encode(b"key").decode(),
        "secret_encoding": "base64",
        "hash": "sha512",
        "encoding": "base64",
        "template": "{method} {path}\n{body}",
    }
    digest = hmac.new(b"key", b"POST /webhooks/x\n{}", hashlib.sha512).digest()

    assert decide(auth, request({"s": base64.b64encode(digest).decode()})).verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        ({"scheme": "hmca"}, "did you mean 'hmac'?"),
        ({}, "expected one of api_key, hmac, none"),
        ({"scheme": "hmac", "signature_heder": "x"}, "unknown parameter 'signature_heder'; did you mean 'signature_h"),
        ({"scheme": "hmac"}, "signature_header: expected the name of a header"),
        ({"scheme": "hmac", "signature_header": "s", "encoding": "hax"}, "did you mean 'hex'?"),
        ({"scheme": "hmac", "signature_header": "s", "template": "{timestamp}"}, "expected {body} in it"),
        ({"scheme": "hmac", "signature_header": "s", "template": "{body}{nonce}"}, "found {nonce}"),
        ({"scheme": "hmac", "signature_header": "s", "timestamp_header": "t", "template": "{body}"}, "go together"),
        ({"scheme": "hmac", "signature_header": "s", "tolerance_s": "soon"}, "expected a whole number from 1 to 86400"),
        ({"scheme": "hmac", "style": "standard-webhooks", "prefix": "v2,"}, "prefix: is fixed by style"),
        ({"scheme": "api_key", "header": " "}, "header: expected the name of a header"),
        ({"scheme": "api_key", "secret": 5}, "secret: expected a text or a list of texts"),
        ({"scheme": "none", "allow_unauthenticated": "perhaps"}, "expected true or false"),
    ],
)
def test_a_wrong_parameter_is_told_with_what_was_expected(auth: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SchemeRegistry().build(auth)

    assert expected in str(caught.value)


def test_a_capability_adds_a_scheme_by_name_but_cannot_replace_one() -> None:
    class Open:
        def decide(self, request: Request, now: datetime) -> Decision:
            return Decision(Verdict.UNDECIDED, "a handler decides")

    registry = SchemeRegistry({"later": lambda _: Open()})

    assert registry.build({"scheme": "later"}).decide(request(), NOW).verdict is Verdict.UNDECIDED
    with pytest.raises(ConfigError, match="registered twice"):
        SchemeRegistry({"hmac": lambda _: Open()})


def test_nothing_that_is_shown_holds_a_secret() -> None:
    given = request({"Authorization": "Apikey top-secret"}, b"top-secret")
    schemes = [SchemeRegistry().build({**auth, "secret": "top-secret"}) for auth in (SEPAY_HMAC, SEPAY_KEY)]

    shown = repr([given, *schemes, *(scheme.decide(given, NOW) for scheme in schemes)])

    assert "top-secret" not in shown


def test_the_standard_form_is_the_published_one() -> None:
    assert STANDARD_WEBHOOKS.template == "{id}.{timestamp}.{body}"
