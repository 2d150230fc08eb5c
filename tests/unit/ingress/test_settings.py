"""The hub's settings, secrets in files, and secrets made up for development."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from hub.environment import Environment
from hub.errors import ConfigError
from hub.settings import GENERATED, EnvironmentSettings, load_settings, read_settings, revealed


def test_without_a_variable_everything_has_its_default() -> None:
    settings = load_settings({})

    assert (settings.host, settings.port, settings.sandbox) == ("127.0.0.1", 8080, False)
    assert settings.home == Path("var").absolute()
    assert settings.routing == Path("routing.yaml").absolute()
    assert settings.database == f"sqlite+aiosqlite:///{Path('var').absolute()}/hub.db"
    assert settings.broker is None
    assert settings.api_key is None


def test_the_process_environment_is_not_read_behind_the_callers_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_PORT", "9")

    assert load_settings({}).port == 8080


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("sqlite:////tmp/x.db", "sqlite+aiosqlite:////tmp/x.db"),
        ("sqlite+aiosqlite:///x.db", "sqlite+aiosqlite:///x.db"),
        ("postgresql://u:p%40ss@db:5433/hub", "postgresql+asyncpg://u:p%40ss@db:5433/hub"),
        ("postgres://u@db/hub?sslmode=require", "postgresql+asyncpg://u@db/hub?ssl=require"),
        ("postgresql+psycopg2://db/hub", "postgresql+asyncpg://db/hub"),
    ],
)
def test_a_database_address_gets_the_driver_that_the_hub_uses(given: str, expected: str) -> None:
    assert load_settings({"HUB_DATABASE_URL": given}).database == expected


def test_every_wrong_variable_is_told_with_what_was_expected() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(
            {
                "HUB_PORT": "80800",
                "HUB_SANDBOX": "perhaps",
                "HUB_TRUSTED_PROXIES": "10.0.0.0/8,proxy",
                "HUB_DATABASE_URL": "mysql://root:hunter2@db/hub",
                "HUB_BROKER_URL": "kafka://root:hunter2@broker",
                "HUB_BATCH_SIZE": "0",
                "HUB_STOP_DEADLINE_S": "soon",
            }
        )

    text = str(caught.value)
    for name in ("PORT", "SANDBOX", "TRUSTED_PROXIES", "DATABASE_URL", "BROKER_URL", "BATCH_SIZE", "STOP_DEADLINE_S"):
        assert text.count(f"HUB_{name}: ") == 1
    assert "found '80800'" in text
    assert "expected amqp://" in text
    assert "hunter2" not in text


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("from-the-file\n")

    settings = load_settings({"HUB_API_KEY_FILE": str(file)})

    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "from-the-file"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"x" * 70_000])
def test_a_secret_file_that_cannot_be_read_is_told_by_name(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(ConfigError, match="HUB_API_KEY_FILE: expected"):
        load_settings({"HUB_API_KEY_FILE": str(file)})


def test_a_secret_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found both"):
        load_settings({"HUB_API_KEY": "a", "HUB_API_KEY_FILE": str(tmp_path / "key")})


def test_secrets_are_never_shown() -> None:
    settings = load_settings({"HUB_API_KEY": "hunter2", "HUB_DATABASE_URL": "postgresql://u:hunter2@db/hub"})

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


class TestSandbox:
    def test_missing_secrets_are_made_once_and_only_their_owner_may_read_them(self, tmp_path: Path) -> None:
        environ = {"HUB_HOME": str(tmp_path / "home"), "HUB_SANDBOX": "1", "HUB_API_KEY": ""}

        first, second = load_settings(environ), load_settings(environ)

        assert first.api_key is not None
        assert first.jwt_secret is not None
        assert first.jwt_public_key is None
        assert len(first.api_key.get_secret_value()) >= 32
        assert first.api_key != first.jwt_secret
        assert first == second
        folder = tmp_path / "home" / "secrets"
        assert sorted(path.name for path in folder.iterdir()) == [
            "HUB_API_KEY",
            "HUB_CONSOLE_PASSWORD",
            "HUB_JWT_SECRET",
        ]
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700

    def test_what_is_set_stays_as_it_is(self, tmp_path: Path) -> None:
        settings = load_settings({"HUB_HOME": str(tmp_path), "HUB_SANDBOX": "true", "HUB_API_KEY": "mine"})

        assert settings.api_key is not None
        assert settings.api_key.get_secret_value() == "mine"

    def test_a_capabilitys_secret_is_made_when_routing_asks_for_it(self, tmp_path: Path) -> None:
        environment = Environment({"HUB_HOME": str(tmp_path), "HUB_SANDBOX": "1"})

        assert environment["SEPAY_WEBHOOK_API_KEY"] == environment.generated("SEPAY_WEBHOOK_API_KEY")
        assert "SEPAY_ACCOUNT_NUMBER" not in environment
        assert environment.given("SEPAY_API_TOKEN") is None

    def test_a_variable_of_two_names_has_one_value(self, tmp_path: Path) -> None:
        names = [["SEPAY_WEBHOOK_API_KEY", "SEPAY_API_KEY"]]
        sandbox = {"HUB_HOME": str(tmp_path), "HUB_SANDBOX": "1"}

        by_the_old_name = Environment({**sandbox, "SEPAY_API_KEY": "theirs"}).with_synonyms(names)
        by_none = Environment(sandbox).with_synonyms(names)

        assert by_the_old_name["SEPAY_WEBHOOK_API_KEY"] == by_the_old_name["SEPAY_API_KEY"] == "theirs"
        assert by_none["SEPAY_API_KEY"] == by_none.generated("SEPAY_WEBHOOK_API_KEY")
        assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["SEPAY_WEBHOOK_API_KEY"]

    def test_outside_the_sandbox_nothing_is_made(self, tmp_path: Path) -> None:
        environ = {"HUB_HOME": str(tmp_path / "home")}

        assert load_settings(environ).api_key is None
        assert "SEPAY_WEBHOOK_API_KEY" not in Environment(environ)
        assert not (tmp_path / "home").exists()

    def test_a_home_that_cannot_be_written_is_told(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(ConfigError, match="HUB_HOME: expected a folder to write to"):
            load_settings({"HUB_HOME": str(tmp_path / "file"), "HUB_SANDBOX": "1"})


@pytest.mark.parametrize("password", ["short", "x" * 11, "x" * 201])
def test_the_consoles_password_has_the_length_of_every_other(password: str) -> None:
    with pytest.raises(ConfigError, match="HUB_CONSOLE_PASSWORD: expected a password of 12 to 200") as caught:
        load_settings({"HUB_CONSOLE_PASSWORD": password})

    assert password not in str(caught.value)
    assert revealed(load_settings({"HUB_CONSOLE_PASSWORD": "x" * 12}).console_password) == "x" * 12
    assert not revealed(load_settings({"HUB_CONSOLE_PASSWORD": ""}).console_password)


class Shop(EnvironmentSettings):
    """Settings of a capability."""

    model_config = SettingsConfigDict(env_prefix="SHOP_")

    account: str
    minimum: int = 2_000
    token: SecretStr | None = None
    webhook_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("SHOP_WEBHOOK_KEY", "SHOP_API_KEY"), json_schema_extra=GENERATED
    )


def test_a_capabilitys_settings_are_read_the_same_way(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-the-file")

    shop = read_settings(Shop, {"SHOP_ACCOUNT": "1", "SHOP_API_KEY": "old-name", "SHOP_TOKEN_FILE": str(file)})

    assert (shop.account, shop.minimum) == ("1", 2_000)
    assert shop.webhook_key is not None
    assert shop.webhook_key.get_secret_value() == "old-name"
    assert shop.token is not None
    assert shop.token.get_secret_value() == "from-the-file"
    with pytest.raises(ConfigError, match="SHOP_ACCOUNT: expected a value, found none"):
        read_settings(Shop, {})


def test_a_capabilitys_marked_secret_is_made_in_the_sandbox(tmp_path: Path) -> None:
    shop = read_settings(Shop, {"SHOP_ACCOUNT": "1", "HUB_HOME": str(tmp_path), "HUB_SANDBOX": "yes"})

    assert shop.webhook_key is not None
    assert shop.token is None
