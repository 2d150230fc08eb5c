"""Calls every operation of an OpenAPI document with what fits it and with what does not, and counts what is answered.

A few examples of each run with the other tests; ``HUB_TEST_FUZZ_EXAMPLES`` is how many there are to be over all, and
then what is wrong is collected and told in the end, instead of ending the run.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import AcceptedNegativeData, Failure, FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.hostile.http.bodies import BODIES

EXAMPLES: Final = int(os.environ.get("HUB_TEST_FUZZ_EXAMPLES", "0"))
IS_LONG: Final = EXAMPLES > 0
FEW: Final = 3
"""How often each operation is called in each mode with the other tests."""
FEW_KNOWN: Final = 2
FEW_BODIES: Final = 2
ROUNDS_MAX: Final = 20
USER_CALLS: Final = 8
"""Calls of one user: an operation that has a rate would answer nothing else for long."""
ANSWER_S_MAX: Final = 60.0
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE")
AWAY: Final = (502, 503)
"""What may be said of a provider that does not answer; status_code_conformance wants it described."""
MODES: Final = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
BY_THE_SERVER: Final = (400, 503)
"""Refusals of a body before any operation sees it."""

Bearer = Callable[[Any, int], str]
"""Operation, number of the call → whom it is made by."""


def no_server_error(context: Any, response: Any, case: Any) -> bool | None:
    """No 5xx but that a provider, which a program's key lets one ask, does not answer."""
    if response.status_code in AWAY and needs_key(case.operation):
        return None
    return not_a_server_error(context, response, case)


def what_does_not_fit_is_refused(context: Any, response: Any, case: Any) -> bool | None:
    """As negative_data_rejection says, where what does not fit was sent as such.

    The proof is always ours, so that a head without one is none. In the query what is not described counts for nothing,
    of what comes twice the first counts, and what is empty is not given; an empty list of values is not even sent.
    """
    try:
        return negative_data_rejection(context, response, case)
    except AcceptedNegativeData:
        query = parse_qsl(urlsplit(response.request.url).query, keep_blank_values=True)
        names = [name for name, _ in query]
        is_query = case.meta.is_negative_at(ParameterLocation.QUERY)
        described = {one["name"] for one in case.operation.definition.raw["parameters"] if one["in"] == "query"}
        is_sent = set(case.query or ()) == set(names)
        is_plain = (
            is_sent and described.issuperset(names) and len(set(names)) == len(names) and all(v for _, v in query)
        )
        places = (ParameterLocation.PATH, ParameterLocation.BODY)
        if any(case.meta.is_negative_at(place) for place in places) or (is_query and is_plain):
            raise
        return None


CHECKS: Final = [
    no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    what_does_not_fit_is_refused,
    ignored_auth,
]


def needs_key(operation: Any) -> bool:
    """Whether the operation is for programs, not for users."""
    return {"apiKey": []} in operation.definition.raw.get("security", ())


@dataclass
class Fuzz:
    """One API: where it is, who calls it, what came of it."""

    name: str
    url: str
    bearer: Bearer
    known: Mapping[str, object] = field(default_factory=dict)
    examples: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    away: Counter[str] = field(default_factory=Counter)
    """Operation and status → how often the provider was said not to answer."""
    violations: list[str] = field(default_factory=list)

    def run(self, document: Mapping[str, Any], wanted: Callable[[str], bool], share: float = 1.0) -> int:
        """Call the operations below the wanted paths; says how many there are. ``share`` is of all the examples."""
        started_s = time.monotonic()
        every: list[Any] = [
            found.ok()
            for found in schemathesis.openapi.from_dict(dict(document)).get_all_operations()
            if isinstance(found, Ok)
        ]
        operations = [one for one in every if wanted(one.path)]
        with requests.Session() as session:
            self._rounds(operations, session, math.ceil(EXAMPLES * share))
            self._methods(operations, session)
            self._bodies(operations, session)
        if IS_LONG:
            print(f"\n{self.report(time.monotonic() - started_s)}", flush=True)
        assert self.violations == []
        return len(operations)

    def report(self, took_s: float) -> str:
        """What was called and how it was answered."""
        total = sum(self.examples.values())
        classes = Counter[str]()
        for status, number in self.answers.items():
            classes[f"{status // 100}xx"] += number
        lines = [
            f"{self.name}: {total} examples in {took_s:.0f} s ({total / max(took_s, 0.001):.0f}/s),"
            f" {len(self.violations)} violations",
            "  " + ", ".join(f"{name}: {number}" for name, number in sorted(classes.items())),
            "  " + ", ".join(f"{status}: {number}" for status, number in sorted(self.answers.items())),
            *(f"  {number:6d}  {label}" for label, number in sorted(self.examples.items())),
            *(f"  {number:6d}  {label}: the provider did not answer" for label, number in sorted(self.away.items())),
            *(f"\nVIOLATION {text}" for text in self.violations),
        ]
        return "\n".join(lines)

    def _rounds(self, operations: Sequence[Any], session: requests.Session, most: int) -> None:
        """Until there are as many examples as are wanted; who has few to give is asked once."""
        giving = list(operations)
        for number in range(ROUNDS_MAX if IS_LONG else 1):
            left = most - sum(self.examples.values())
            if number and (left <= 0 or not giving):
                break
            each = max(FEW, math.ceil(left / (2 * len(giving))))
            for operation in list(giving):
                if self._operation(operation, session, each, number) < each and number:
                    giving.remove(operation)
                if IS_LONG:
                    done = sum(self.examples.values())
                    print(f"{self.name} round {number}: {done} of {most}, {operation.label}", flush=True)

    def _operation(self, operation: Any, session: requests.Session, each: int, number: int) -> int:
        before = self.examples[operation.label]
        for mode in MODES:
            self._call(operation, mode, session, each, number, None)
        names = {one["name"] for one in operation.definition.raw.get("parameters", ()) if one["in"] == "path"}
        if names and names <= self.known.keys():
            path = {name: self.known[name] for name in names}
            self._call(operation, GenerationMode.POSITIVE, session, max(FEW_KNOWN, each // 3), number, path)
        return self.examples[operation.label] - before

    def _call(
        self,
        operation: Any,
        mode: GenerationMode,
        session: requests.Session,
        each: int,
        number: int,
        path: Mapping[str, object] | None,
    ) -> None:
        calls = count()

        @seed(number)
        @given(case=operation.as_strategy(generation_mode=mode, path_parameters=path))
        @settings(
            max_examples=each,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def example(case: Any) -> None:
            # Of the known ids one user is the owner.
            bearer = self.bearer(operation, -1 if path else next(calls) // USER_CALLS)
            headers = {"Authorization": f"Bearer {bearer}"}
            sent = {"session": session, "headers": headers, "timeout": ANSWER_S_MAX}
            response = case.call(base_url=self.url, **sent)
            self._count(operation.label, response.status_code)
            try:
                case.validate_response(
                    response, checks=CHECKS, headers=headers, transport_kwargs={"base_url": self.url, **sent}
                )
            except (Failure, FailureGroup) as failure:
                if not IS_LONG:
                    raise
                self._note(f"{operation.label} ({mode.value}): {describe(failure)}\n{case.as_curl_command()[:1_500]}")

        # Of an operation that takes nothing there is nothing that does not fit.
        with suppress(Unsatisfiable):
            example()

    def _methods(self, operations: Sequence[Any], session: requests.Session) -> None:
        """A path says which methods it has, and no other is heard."""
        paths: dict[str, set[str]] = {}
        for operation in operations:
            paths.setdefault(operation.path, set()).add(operation.method.upper())
        for number, (path, known) in enumerate(paths.items()):
            others = [method for method in METHODS if method not in known]
            for method in others if IS_LONG else others[number % len(others) :][:1]:
                address = self.url + path.replace("{", "").replace("}", "")
                response = session.request(method, address, timeout=ANSWER_S_MAX)
                self._count(f"{method} where there is none", response.status_code)
                allowed = set(response.headers.get("Allow", "").split(",")) - {"HEAD"}
                if response.status_code != 405 or allowed != known:
                    self._note(f"{method} {path}: {response.status_code}, Allow: {allowed}, known: {known}")

    def _bodies(self, operations: Sequence[Any], session: requests.Session) -> None:
        """Bodies that no client makes by mistake."""
        every = list(BODIES.items())
        for number, operation in enumerate(one for one in operations if "requestBody" in one.definition.raw):
            described = {int(status) for status in operation.definition.raw["responses"]}
            for turn in range(len(every) if IS_LONG else FEW_BODIES):
                name, (content_type, body) = every[(number * FEW_BODIES + turn) % len(every)]
                headers = {
                    "Authorization": f"Bearer {self.bearer(operation, 1_000 + turn)}",
                    "Content-Type": content_type,
                }
                address = self.url + operation.path.replace("{", "").replace("}", "")
                response = session.request(
                    operation.method.upper(), address, data=body, headers=headers, timeout=ANSWER_S_MAX
                )
                self._count(f"{operation.label}, hostile bodies", response.status_code)
                is_known = response.status_code in {*described, *BY_THE_SERVER} and response.status_code != 500
                if not is_known or "json" not in response.headers.get("Content-Type", ""):
                    self._note(f"{operation.label}, {name}: {response.status_code} {response.text[:300]}")

    def _count(self, label: str, status: int) -> None:
        self.examples[label] += 1
        self.answers[status] += 1
        if status in AWAY:
            self.away[f"{label}, {status}"] += 1

    def _note(self, text: str) -> None:
        self.violations.append(text)
        if IS_LONG:
            print(f"VIOLATION {text}", flush=True)


def describe(failure: Failure | FailureGroup) -> str:
    """What a check has found."""
    found = failure.exceptions if isinstance(failure, FailureGroup) else (failure,)
    return "; ".join(f"{type(one).__name__}: {str(one)[:800]}" for one in found)
