"""The base of every model of routing.yaml."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Frozen, without unknown fields; the text under a field is its description in the editor's schema."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        # An input may hold a secret from the environment: errors name the place, never the value.
        hide_input_in_errors=True,
    )
