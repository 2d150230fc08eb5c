"""The JSON Schema of routing.yaml, made from the models: editors complete and check the file with it.

``python -m hub.routing.schema`` writes it beside this module; a test compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from hub.routing.config import RoutingConfig

SCHEMA_FILE: Final = Path(__file__).with_name("routing.schema.json")


def routing_schema() -> dict[str, Any]:
    """The schema, as JSON Schema 2020-12."""
    schema = RoutingConfig.model_json_schema(by_alias=True, mode="validation")
    schema["properties"]["version"].pop("default", None)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "routing.yaml of the hub"}


def schema_text() -> str:
    """The schema as it stands in the file."""
    return json.dumps(routing_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
