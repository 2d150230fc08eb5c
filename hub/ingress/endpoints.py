"""Where each source listens, read from routing.yaml. A reload swaps the whole table at once, or not at all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from hub.errors import ConfigError, Problem, UsageError
from hub.ingress.authentication import Decision, Request, refused
from hub.ingress.remote import is_within
from hub.ingress.schemes import NeedsHeaders, Scheme, SchemeRegistry, SecretHeaders
from hub.ingress.unproven import Allowance
from hub.routing.names import RESERVED_PATHS
from hub.routing.sources import BODY_BYTES_DEFAULT, ReplyConfig, SourceConfig, WebhookConfig
from hub.settings import Network


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One source's way in over HTTP."""

    source: str
    scheme: Scheme
    reply: ReplyConfig
    body_bytes_max: int
    allowance: Allowance | None = None
    """How much is taken from unproven senders; None where there is no bound."""
    allow_from: tuple[Network, ...] = ()
    """The networks that may send; empty means all."""
    keep_address: bool = False

    headers_kept: frozenset[str] = field(init=False)
    """Headers that stay with the event because a handler proves the sender with them."""
    headers_dropped: frozenset[str] = field(init=False)
    """Headers that hold a secret of this source."""

    def __post_init__(self) -> None:
        kept = self.scheme.headers_kept if isinstance(self.scheme, NeedsHeaders) else frozenset[str]()
        dropped = self.scheme.headers_secret if isinstance(self.scheme, SecretHeaders) else frozenset[str]()
        object.__setattr__(self, "headers_kept", kept)
        object.__setattr__(self, "headers_dropped", dropped)

    def decide(self, request: Request, now: datetime) -> Decision:
        """How the sender is proven: by where it sends from, where that is bounded, and by the scheme."""
        if self.allow_from and not is_within(request.remote, self.allow_from):
            return refused("the address is not among those that may send")
        return self.scheme.decide(request, now)


class EndpointTable:
    """Which source listens on which path, and which sources ``POST /events`` may name."""

    def __init__(self) -> None:
        self._endpoints: Mapping[str, Endpoint] = {}
        self._posted: Mapping[str, int] = {}

    def replace(self, sources: Mapping[str, SourceConfig], schemes: SchemeRegistry) -> None:
        """Take over the sources of a routing.yaml. Raises ConfigError, and then nothing has changed."""
        endpoints, posted = read_endpoints(sources, schemes), posted_sources(sources)
        self._endpoints, self._posted = endpoints, posted

    def find(self, path: str) -> Endpoint | None:
        """The endpoint on this path, with or without a slash at its end."""
        return self._endpoints.get(without_slash(path))

    def scheme_of(self, source: str) -> Scheme:
        """How the senders of this source's webhook are proven. Raises UsageError when it has none."""
        for endpoint in self._endpoints.values():
            if endpoint.source == source:
                return endpoint
        raise UsageError(f"the source {source!r} takes no webhooks")

    @property
    def posted(self) -> Mapping[str, int]:
        """Name of each source that accepts posted events → the most bytes one of its payloads may have."""
        return self._posted

    @property
    def paths(self) -> Collection[str]:
        """Every path that a source listens on, without a slash at its end."""
        return self._endpoints.keys()


def read_endpoints(sources: Mapping[str, SourceConfig], schemes: SchemeRegistry) -> dict[str, Endpoint]:
    """Path → endpoint. Raises ConfigError that lists every mistake of every source."""
    endpoints: dict[str, Endpoint] = {}
    problems: list[Problem] = []
    for name, source in sources.items():
        webhook = source.webhook
        if webhook is None:
            continue
        try:
            scheme = schemes.build(auth_values(webhook))
        except ConfigError as error:
            problems += [Problem(f"sources.{name}.webhook.auth: {problem.message}") for problem in error.problems]
            continue
        if isinstance(scheme, NeedsHeaders) and not source.is_unproven:
            message = (
                f"the scheme {webhook.auth.scheme} leaves the proof to a handler: the source needs verify: deferred"
            )
            problems.append(Problem(f"sources.{name}.webhook.auth: {message}"))
            continue
        allowance = Allowance(source.unproven) if source.has_allowance else None
        endpoint = Endpoint(
            name,
            scheme,
            source.reply,
            webhook.body_bytes_max,
            allowance,
            allow_from=webhook.allow_from,
            keep_address=webhook.keep_address,
        )
        for path in dict.fromkeys(without_slash(path) for path in (webhook.path, *webhook.aliases)):
            other = "the hub itself" if path in RESERVED_PATHS else None
            other = f"the source {endpoints[path].source}" if path in endpoints else other
            if other:
                problems.append(Problem(f"sources.{name}.webhook: the path {path} belongs to {other}"))
            endpoints.setdefault(path, endpoint)
    if problems:
        raise ConfigError(problems)
    return endpoints


def auth_values(webhook: WebhookConfig) -> dict[str, object]:
    """What stands under ``auth:``, in plain text, for the scheme and the doctor alone. Never log or show it."""
    return {**webhook.auth.revealed(), "scheme": webhook.auth.scheme}


def posted_sources(sources: Mapping[str, SourceConfig]) -> dict[str, int]:
    """Name of each source that accepts posted events → the most bytes one of its payloads may have."""
    return {
        name: source.webhook.body_bytes_max if source.webhook else BODY_BYTES_DEFAULT
        for name, source in sources.items()
        if source.post_events
    }


def without_slash(path: str) -> str:
    """The path without one slash at its end: senders write it both ways, and a redirect would lose the body."""
    return path[:-1] if len(path) > 1 and path.endswith("/") else path
