"""The environment that the hub was started in: variables, secrets from files and, for development, generated ones."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hub.errors import ConfigError

SECRET_FILE_BYTES_MAX = 64 * 1024
SECRET_BYTES = 32
HOME_DEFAULT = "var"
_SECRET_ENDINGS = ("_KEY", "_SECRET", "_TOKEN", "_PASSWORD")


class Environment(Mapping[str, str]):
    """Variables by name. An empty one counts as missing; ``NAME_FILE`` names a file that holds the value of ``NAME``.

    Under ``HUB_SANDBOX`` a missing variable whose name ends in _KEY, _SECRET, _TOKEN or _PASSWORD is generated when it
    is asked for with ``[]``, and kept in ``HUB_HOME/secrets``, so that every process of this home sees the same value.

    ``synonyms`` are groups of names for one and the same variable, the preferred one first: where one of them is set,
    each of them has its value.
    """

    def __init__(self, environ: Mapping[str, str], synonyms: Iterable[Sequence[str]] = ()) -> None:
        self._names_of = {name: tuple(group) for group in synonyms for name in group}
        self._environ = {name: value for name, value in environ.items() if value.strip()}
        self.home = Path(self._environ.get("HUB_HOME", HOME_DEFAULT)).expanduser().absolute()
        self.is_sandbox = is_yes(self._environ.get("HUB_SANDBOX", ""))

    def __getitem__(self, name: str) -> str:
        value = self.given(name)
        preferred = self._names_of.get(name, (name,))[0]
        if value is None and self.is_sandbox and preferred.endswith(_SECRET_ENDINGS):
            value = self.generated(preferred)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)

    def __repr__(self) -> str:
        return f"Environment({len(self)} variables)"

    def with_synonyms(self, synonyms: Iterable[Sequence[str]]) -> Environment:
        """The same variables, some of them under several names."""
        return Environment(self._environ, synonyms)

    def plain(self, name: str) -> str | None:
        """The value of a variable that is no secret; None when it was not set."""
        return self._environ.get(name)

    def given(self, name: str) -> str | None:
        """The value that was set, directly or by file; None when it was not. Raises ConfigError."""
        names = self._names_of.get(name, (name,))
        return next((value for one in names if (value := self._given(one)) is not None), None)

    def _given(self, name: str) -> str | None:
        value, file = self._environ.get(name), self._environ.get(f"{name}_FILE")
        if value is not None and file is not None:
            raise ConfigError(f"{name}: expected either {name} or {name}_FILE, found both")
        return value if file is None else _read(Path(file), f"{name}_FILE")

    def generated(self, name: str) -> str:
        """The secret of this name in ``HUB_HOME/secrets``, made on first use, readable by its owner alone."""
        path = self.home / "secrets" / name
        try:
            if not path.exists():
                _write_once(path, secrets.token_hex(SECRET_BYTES))
        except OSError as error:
            raise ConfigError(f"HUB_HOME: expected a folder to write to, {path}: {error.strerror}") from error
        return _read(path, name)


def as_started(environ: Mapping[str, str]) -> Mapping[str, str]:
    """For commands beside a running hub: a home that holds generated secrets was started as a sandbox.

    The daemon itself does not ask this: it is a sandbox only where HUB_SANDBOX says so.
    """
    home = Path(environ.get("HUB_HOME") or HOME_DEFAULT).expanduser().absolute()
    if environ.get("HUB_SANDBOX", "").strip() or not (home / "secrets").is_dir():
        return environ
    return {**environ, "HUB_SANDBOX": "1"}


def is_yes(value: str) -> bool:
    """Whether a variable says yes."""
    return value.strip().lower() in ("1", "true", "yes", "on")


def _read(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_FILE_BYTES_MAX + 1)
        text = data.decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{name}: expected a readable text file, {path}: {error}") from error
    if not text or len(data) > SECRET_FILE_BYTES_MAX:
        raise ConfigError(f"{name}: expected from 1 to {SECRET_FILE_BYTES_MAX} bytes in {path}")
    return text


def _write_once(path: Path, text: str) -> None:
    # Linked into place whole: another process that starts at the same moment sees nothing or everything.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        Path(temporary).unlink()
