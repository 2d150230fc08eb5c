"""What this hub was started with; of a secret only whether it is set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic_settings import BaseSettings
from sqlalchemy.engine import make_url

from hub.apidoc.version import hub_version
from hub.console.visit import Group, Place, Shown, Visit
from hub.ingress.tokens import Role
from hub.settings import variable_names

SECRET_WORDS = ("secret", "password", "token", "api_key", "private")


async def show(visit: Visit) -> Shown:
    """The hub's settings, then those of each capability."""
    hub = visit.hub
    groups: list[tuple[str, list[dict[str, Any]]]] = [("hub", list(_rows(hub.settings)))]
    if hub.plan.oidc.issuer:
        groups.append(("issuer", list(_rows(hub.plan.oidc))))
    for one in hub.wiring.capabilities.members:
        found = hub.settings_of(one.name)
        if isinstance(found, BaseSettings):
            groups.append((one.name, list(_rows(found))))
    checks = await hub.ready()
    values: dict[str, Any] = {
        "setting_groups": groups,
        "checks": checks,
        "version": hub_version(),
        "database": make_url(hub.settings.database).render_as_string(hide_password=True),
        "warnings": [str(one) for one in hub.wiring.loaded.warnings],
        "sources": sorted(hub.wiring.config.sources.items()),
    }
    return Shown("settings.html", "Settings", values)


def _rows(settings: BaseSettings) -> Iterator[dict[str, Any]]:
    for name, info in type(settings).model_fields.items():
        value = getattr(settings, name)
        is_secret = "SecretStr" in str(info.annotation) or any(word in name for word in SECRET_WORDS)
        is_default = value == info.get_default(call_default_factory=True, validated_data={})
        text = ("set" if value else "not set") if is_secret else _written(value)
        yield {
            "variable": variable_names(type(settings), name)[0],
            "text": text,
            "is_secret": is_secret,
            "is_default": is_default,
        }


def _written(value: object) -> str:
    if value is None or value == "":
        return "not set"
    if isinstance(value, tuple | list | set | frozenset):
        return ", ".join(str(one) for one in value) or "none"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


GROUP = Group("settings", (Place("GET", "/settings", show, Role.OPERATOR),), label="Settings", path="/settings")
