"""What one version of the wiring publishes about its messages, made when it is first asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from hub.apidoc.asyncapi import asyncapi_document
from hub.apidoc.traffic import Traffic
from hub.apidoc.version import hub_version
from hub.capability import Capability
from hub.routing.config import RoutingConfig


class Published:
    """The AsyncAPI document, and the JSON Schema of each message by name."""

    def __init__(self, config: RoutingConfig, capabilities: Iterable[Capability]) -> None:
        self.traffic = Traffic(config, capabilities)

    @cached_property
    def asyncapi(self) -> Mapping[str, Any]:
        """The AsyncAPI document."""
        return asyncapi_document(self.traffic, version=hub_version())

    @cached_property
    def schemas(self) -> Mapping[str, Mapping[str, Any]]:
        """Every JSON Schema, by its name."""
        return {name: one.document() for name, one in self.traffic.schemas.by_name.items()}


def as_json(document: object) -> str:
    """A document as it is shown and exported: indented, and every letter as it is."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
