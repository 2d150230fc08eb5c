"""The OpenAPI document of all routes that describe themselves.

Source: OpenAPI Specification 3.1.0, whose schemas are JSON Schema 2020-12.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiohttp import web
from apispec import APISpec
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from hub.apidoc.operation import Operation, Parameter, operation_of
from hub.ingress.problems import CONTENT_TYPE

OPENAPI: Final = "3.1.0"
TITLE: Final = "Hub business API"
SECURITY_SCHEME: Final = "userToken"
KEY_SCHEME: Final = "apiKey"
_SECURITY: Final[Mapping[str, list[dict[str, list[str]]]]] = {
    "user": [{SECURITY_SCHEME: []}],
    "key": [{KEY_SCHEME: []}],
    "none": [],
}
_OF_ANY_HEAD: Final[Mapping[int, str]] = {414: "the address is too long", 431: "the head is too large"}
_OF_ANY_BODY: Final[Mapping[int, str]] = {
    408: "the body took too long",
    413: "the body is too large",
    415: "the body is compressed",
}
"""What the server refuses before any operation sees it."""
_PLACEHOLDER: Final = re.compile(r"\{(\w+)(?::[^{}]*)?\}")


def openapi_document(routes: Iterable[web.AbstractRouteDef], *, version: str) -> dict[str, Any]:
    """Describe every route whose handler carries an ``Operation``; both spellings of a path share one entry."""
    described = [
        (route.path, route.method.lower(), operation)
        for route in routes
        if isinstance(route, web.RouteDef) and (operation := operation_of(route.handler)) is not None
    ]
    schemas = _Schemas([operation for _, _, operation in described])
    spec = APISpec(title=TITLE, version=version, openapi_version=OPENAPI)
    spec.components.security_scheme(SECURITY_SCHEME, {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    if any(operation.security == "key" for _, _, operation in described):
        spec.components.security_scheme(KEY_SCHEME, {"type": "http", "scheme": "bearer"})
    for name, schema in schemas.definitions.items():
        spec.components.schema(name, schema)
    for path, method, operation in described:
        shown = _PLACEHOLDER.sub(r"{\1}", path)
        spec.path(path=shown, operations={method: _operation(shown, method, operation, schemas)})
    return spec.to_dict()


class _Schemas:
    """The models of all operations under names that are unique in the document."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
        for operation in operations:
            if operation.body is not None:
                wanted[operation.body, "validation"] = None
            for model in (operation.reply, operation.problem):
                if isinstance(model, type):
                    wanted[model, "serialization"] = None
        self._places, found = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
        self.definitions: Mapping[str, Any] = found.get("$defs", {})

    def of(self, model: type[BaseModel], mode: JsonSchemaMode) -> Mapping[str, Any]:
        """Where the schema of a model stands."""
        return self._places[model, mode]


def _operation(path: str, method: str, operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{method}_{re.sub('[^a-z0-9]+', '_', path.lower()).strip('_')}",
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [_parameter(parameter) for parameter in operation.parameters],
        "responses": {
            **_refusals(operation, schemas),
            **{str(status): _success(operation, schemas) for status in operation.statuses},
            **_errors(operation, schemas),
        },
        "security": _SECURITY[operation.security],
    }
    if operation.description:
        described["description"] = operation.description
    if operation.body is not None:
        schema = schemas.of(operation.body, "validation")
        described["requestBody"] = {"required": True, "content": {operation.body_media: {"schema": schema}}}
    return described


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.is_required or parameter.place == "path",
        "schema": dict(parameter.schema),
        **({"description": parameter.description} if parameter.description else {}),
    }


def _success(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    response: dict[str, Any] = {"description": "Done."}
    if isinstance(operation.reply, str):
        response["content"] = {operation.reply: {}}
    elif operation.reply is not None:
        schema = schemas.of(operation.reply, "serialization")
        shape = {"type": "array", "items": schema} if operation.is_list else schema
        response["content"] = {"application/json": {"schema": shape}}
    if operation.reply_headers:
        response["headers"] = {
            name: {"description": text, "schema": {"type": "integer"}} for name, text in operation.reply_headers.items()
        }
    return response


def _refusals(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    refusals = {**_OF_ANY_HEAD, **(_OF_ANY_BODY if operation.body is not None else {})}
    # The server answers in its own way, also where the operation has another.
    schema: Mapping[str, Any] = {"type": "object"}
    if operation.problem is not None and operation.problem_media == CONTENT_TYPE:
        schema = schemas.of(operation.problem, "serialization")
    content = {CONTENT_TYPE: {"schema": schema}}
    return {str(status): {"description": text, "content": content} for status, text in refusals.items()}


def _errors(operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.problem is not None:
        content = {"content": {operation.problem_media: {"schema": schemas.of(operation.problem, "serialization")}}}
    return {str(status): {"description": text, **content} for status, text in sorted(operation.errors.items())}
