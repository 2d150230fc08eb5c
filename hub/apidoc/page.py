"""The API's description as one page of HTML: no script, no style sheet, no picture from anywhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_STYLE: Final = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#1b1b1b;background:#fff}
h2{border-bottom:1px solid #ccc;margin-top:2.5rem}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:#f6f6f4;padding:.75rem;overflow:auto}details{border:1px solid #ddd;border-radius:4px;margin:.5rem 0}
summary{padding:.5rem .75rem;cursor:pointer}details>div{padding:0 .75rem .75rem}
.method{display:inline-block;min-width:4rem;font-weight:600}table{border-collapse:collapse}
td,th{border:1px solid #ddd;padding:.25rem .5rem;text-align:left;vertical-align:top}
@media(prefers-color-scheme:dark){body{background:#161616;color:#eee}pre{background:#222}td,th,details{border-color:#444}
a{color:#8ab4ff}}
"""


def render_page(document: Mapping[str, Any], *, document_path: str) -> str:
    """The whole page, for an OpenAPI document that is served at ``document_path``."""
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])}</h1><p>Version {escape(info['version'])}. For programs: "
        f'<a href="{escape(document_path)}">OpenAPI document</a>; messages: '
        '<a href="/api/asyncapi.json">AsyncAPI document</a> and <a href="/api/schemas">their JSON Schemas</a>. '
        "Send <code>Authorization: Bearer &lt;token&gt;</code>; "
        "every path is answered with and without a slash at its end.</p>"
        f"{_operations(document)}<h2>Schemas</h2>{_schemas(document)}</body></html>"
    )


def _operations(document: Mapping[str, Any]) -> str:
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(path, method, operation))
    return "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in by_tag.items())


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = []
    if operation.get("description"):
        parts.append(f"<p>{escape(operation['description'])}</p>")
    if operation["parameters"]:
        parts.append(_table(("Parameter", "In", "Schema"), [_parameter_row(one) for one in operation["parameters"]]))
    if "requestBody" in operation:
        parts.append(f"<p>Body: {_shape(operation['requestBody'])}</p>")
    rows = [
        (f"<code>{status}</code>", escape(answer["description"]), _shape(answer))
        for status, answer in operation["responses"].items()
    ]
    parts.append(_table(("Status", "Meaning", "Body"), rows))
    title = f'<span class="method">{method.upper()}</span> <code>{escape(path)}</code> {escape(operation["summary"])}'
    name = escape(operation["operationId"])
    return f'<details id="{name}"><summary>{title}</summary><div>{"".join(parts)}</div></details>'


def _parameter_row(parameter: Mapping[str, Any]) -> tuple[str, str, str]:
    required = " (required)" if parameter["required"] else ""
    schema = f"<code>{escape(json.dumps(parameter['schema']))}</code>"
    return (f"<code>{escape(parameter['name'])}</code>{required}", escape(parameter["in"]), schema)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    titles = "".join(f"<th>{title}</th>" for title in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{lines}</table>"


def _shape(holder: Mapping[str, Any]) -> str:
    shapes = []
    for media_type, content in holder.get("content", {}).items():
        schema = content.get("schema", {})
        is_list = schema.get("type") == "array"
        name = (schema.get("items", {}) if is_list else schema).get("$ref", "").rpartition("/")[2]
        link = f'<a href="#schema-{escape(name)}">{escape(name)}</a>' if name else escape(media_type)
        shapes.append(f"list of {link}" if is_list else link)
    return ", ".join(shapes)


def _schemas(document: Mapping[str, Any]) -> str:
    return "".join(
        f'<details id="schema-{escape(name)}" open><summary><code>{escape(name)}</code></summary><div>'
        f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre></div></details>"
        for name, schema in document.get("components", {}).get("schemas", {}).items()
    )
