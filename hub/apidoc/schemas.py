"""The JSON Schema of every message that a capability names, each as a document that stands alone.

A model that handlers emit or publish is described as it is written, every other one as it is read.
Source: JSON Schema 2020-12; docs/messages.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel

from hub.capability import Capability

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
ID_PREFIX: Final = "urn:hub:schema:"
Direction = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class PublishedSchema:
    """One message model under its full name, ``<capability>.<name>``.

    ``direction`` is ``out`` when the hub writes such messages (it may read them, too), else ``in``.
    """

    name: str
    model: type[BaseModel]
    direction: Direction

    @property
    def summary(self) -> str:
        """The first sentence of what the model says about itself."""
        text = _plain(" ".join((self.model.__doc__ or "").split("\n\n", 1)[0].split()))
        return text.partition(". ")[0].rstrip(".") + "." if text else ""

    def document(self) -> dict[str, Any]:
        """The schema, with everything it refers to inside it."""
        mode: Literal["validation", "serialization"] = "serialization" if self.direction == "out" else "validation"
        schema = self.model.model_json_schema(mode=mode)
        if self.direction == "out":
            for one in (schema, *schema.get("$defs", {}).values()):
                _absent_instead_of_null(one)
        _describe_plainly(schema)
        return {"$schema": DIALECT, "$id": ID_PREFIX + self.name, **schema}


class Schemas:
    """All schemas of the loaded capabilities, by name; ``name_of`` finds a model's own."""

    def __init__(self, published: Iterable[PublishedSchema]) -> None:
        self.by_name: Mapping[str, PublishedSchema] = {one.name: one for one in sorted(published, key=_name)}
        self._names = {one.model: one.name for one in reversed(self.by_name.values())}

    @classmethod
    def of(cls, capabilities: Iterable[Capability]) -> Schemas:
        """Those that capabilities list, that their handlers read, and that they emit or publish."""
        members = tuple(capabilities)
        written = {model for one in members for model in _written_by(one)}
        found: dict[str, PublishedSchema] = {}
        known: set[type[BaseModel]] = set()
        for name, model in (pair for one in members for pair in _listed(one)):
            found[name] = PublishedSchema(name, model, "out" if model in written else "in")
            known.add(model)
        for name, model in (pair for one in members for pair in _used(one)):
            # A model of another capability is published there, under that one's name.
            if model not in known:
                known.add(model)
                found.setdefault(name, PublishedSchema(name, model, "out" if model in written else "in"))
        return cls(found.values())

    def name_of(self, model: type[BaseModel]) -> str:
        """The name under which this model is published."""
        return self._names[model]


def _name(schema: PublishedSchema) -> str:
    return schema.name


def _listed(capability: Capability) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, model in capability.schemas.items():
        yield f"{capability.name}.{name}", model


def _used(capability: Capability) -> Iterator[tuple[str, type[BaseModel]]]:
    handled = (spec.model for spec in capability.handlers.values() if spec.model is not None)
    read = (model for models in capability.reads.values() for model in models.values())
    for model in (*_written_by(capability), *handled, *read):
        yield f"{capability.name}.{model.__name__}", model


def _written_by(capability: Capability) -> Iterator[type[BaseModel]]:
    yield from capability.emits.values()
    for messages in capability.publishes.values():
        yield from messages.values()


def _plain(text: str) -> str:
    """A docstring without the marks that only Python's tools know."""
    return text.replace("``", "`")


def _describe_plainly(schema: dict[str, Any]) -> None:
    for one in (schema, *schema.get("$defs", {}).values()):
        if "description" in one:
            one["description"] = _plain(one["description"])


def _absent_instead_of_null(schema: dict[str, Any]) -> None:
    """Messages are written without the members that have no value, so none of these is required."""
    required = [name for name in schema.get("required", ()) if not _may_be_null(schema["properties"][name])]
    if "required" in schema:
        schema["required"] = required


def _may_be_null(schema: Mapping[str, Any]) -> bool:
    kinds = schema.get("type", ())
    is_listed = "null" in (kinds if isinstance(kinds, list) else (kinds,))
    return is_listed or any(_may_be_null(one) for one in schema.get("anyOf", ()))
