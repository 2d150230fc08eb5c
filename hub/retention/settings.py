"""Settings of retention and of the archive, read once at start."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from cronsim import CronSim, CronSimError
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from hub.environment import HOME_DEFAULT
from hub.settings import EnvironmentSettings
from hub.storage import StoragePlace

CRON_FIELDS = 5


class RetentionSettings(EnvironmentSettings):
    """How long events stay in the tables, and where they go."""

    model_config = SettingsConfigDict(env_prefix="HUB_")

    home: Path = Path(HOME_DEFAULT)
    retention_days: int | None = Field(default=None, ge=1, le=36_500)
    """Days after which finished events go into the archive; None = never by themselves."""
    prune_schedule: str = "17 * * * *"
    """When the hub looks for them, as five fields of cron in UTC."""
    archive_store: str = Field(default="", pattern=r"^(|s3://[a-z0-9][a-z0-9.-]{1,62}(/.*)?|/.*)$")
    """A folder, or ``s3://BUCKET/PREFIX``; empty = ``archive`` in HUB_HOME."""
    archive_endpoint: str = ""
    archive_region: str = ""
    archive_access_key_id: str = ""
    archive_secret_access_key: SecretStr = SecretStr("")

    @field_validator("prune_schedule")
    @classmethod
    def _cron(cls, value: str) -> str:
        try:
            if len(value.split()) != CRON_FIELDS:
                raise CronSimError
            CronSim(value, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError:
            raise ValueError("expected five fields of cron, such as 17 * * * *") from None
        return value

    @property
    def archive(self) -> StoragePlace:
        """Where the archive is. Holds a secret."""
        return StoragePlace(
            place=self.archive_store or str(self.home.expanduser().absolute() / "archive"),
            endpoint=self.archive_endpoint,
            region=self.archive_region,
            access_key_id=self.archive_access_key_id,
            secret_access_key=self.archive_secret_access_key.get_secret_value(),
        )
