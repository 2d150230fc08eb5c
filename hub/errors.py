"""The hub's errors. The class says what to do; the fields say what happened.

Those of a part are defined there and stand here with its name, so that this is the whole tree
(``tests/unit/test_errors.py`` compares). What a delivery makes of each is in ``hub/deliver/batch.py``, ``ending_of``.

HubError
├── ConfigError                    a person must correct a file or a setting; nothing was started or changed
├── UsageError                     the call cannot be carried out as asked (unknown id, wrong state)
│   ├── RepeatedCommandError            deliver: this command was given before under the same id
│   ├── NotFoundError                   operate: nothing has this id, or an id that begins so
│   ├── ThrottledError                  console: too many wrong passwords of late: nobody looks at one more
│   └── ArchivedError                   operate: the event is in the archive: it can be shown and proven, nothing else
├── UnreadableError                an authenticated message that cannot be read: keep it, park it, say where
│   └── UnsupportedFormatError          ingress: the content type is not one that the hub reads
├── RetryableError                 nothing is decided; try the delivery again after ``delay_s``
│   ├── BusyError                       the other side cannot be asked now (429, a pause); no attempt is used up
│   │   └── UnreachableError                no connection to it came about: nothing was sent
│   ├── StoreUnavailableError           the database refused or did not answer; nothing was committed; no attempt
│   ├── OverloadedError                 inbox: as much in hand as it may have; the sender must come again
│   │   └── TooManyUnprovenError            ingress: a source of unproven senders has used up its allowance
│   ├── TransportUnavailableError       transports: the broker cannot be reached; no message is at fault
│   ├── HandlerLateError                deliver: the handler did not end in time; told to stop, it did
│   ├── HandlerStuckError               deliver: it went on all the same and was left behind
│   ├── IssuerAwayError                 console: who signs people in does not answer, or not as an issuer does
│   └── StorageError                    storage: the object storage does not answer, or refuses
├── NotYet                         the delivery must wait for something else, without holding up its chain
├── PermanentError                 trying again cannot help: park at once
│   ├── ConditionError                  routing: a rule's condition cannot be compiled or evaluated
│   ├── OversizeError                   transports: larger than the broker's protocol can ever carry
│   ├── ObjectLostError                 storage: an object is gone, or another than was put there
│   └── MoneyError                      money: this is no amount of that currency
│       └── MixedCurrenciesError             amounts of two currencies were added or compared
├── RefusedCommand                 a command is answered with a reason; nothing is stored
├── RefusedRequestError            a request over HTTP is answered with ``status``; nothing is stored
│   ├── RefusedError                    ingress: the caller is not known (401) or may not do this (403)
│   └── BodyRefusedError                ingress: the body is too large, too slow or broken off, and is not read
├── FencedError                    store: another worker took over; leave the delivery to it, commit nothing
├── OidcRefusedError               console: nobody is signed in by what an issuer, or a browser, has sent
├── MalformedError                 seal: a row has a value that the hub would never have written
├── DamagedError                   seal: what was sealed cannot be read back
├── PooledError                    ownership: a pooler stands before the database; do without notifications
├── FlushError                     deliver: a batch could not be written; run it again without its culprit
└── LedgerError                    the books refuse it (see ``hub/ledger/errors.py``)
"""

from __future__ import annotations

from dataclasses import dataclass

BUSY_S_MAX = 3 * 86_400.0
"""How long a delivery waits for somebody who is busy, unless its handler says otherwise: over a weekend."""


class HubError(Exception):
    """Base of every error that the hub raises on purpose."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file: where it is, what was found and what was expected."""

    message: str
    file: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part not in ("", None))
        return f"{place}: {self.message}" if place else self.message


class ConfigError(HubError):
    """A file or a setting is wrong; ``problems`` lists every mistake that was found, each with its place."""

    def __init__(self, problems: list[Problem] | str) -> None:
        self.problems = [Problem(problems)] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class UsageError(HubError):
    """The call cannot be carried out as asked: an unknown id, a wrong state, a missing argument."""


class UnreadableError(HubError):
    """An authenticated message that cannot be read; ``line`` and ``column`` or ``field`` say where."""

    def __init__(
        self, message: str, *, line: int | None = None, column: int | None = None, field: str | None = None
    ) -> None:
        self.line, self.column, self.field = line, column, field
        if line is not None:
            message = f"line {line}, column {column}: {message}"
        elif field is not None:
            message = f"{field}: {message}"
        super().__init__(message)


class RetryableError(HubError):
    """Nothing is decided: try the delivery again, after ``delay_s`` seconds where given, else by its route's rule.

    ``is_alone``: it is the matter of who called (his credentials, his allowance). The other side is there for others,
    who neither wait for it nor count it as a failure.
    """

    def __init__(self, message: str, *, delay_s: float | None = None, is_alone: bool = False) -> None:
        super().__init__(message)
        self.delay_s = delay_s
        self.is_alone = is_alone


class BusyError(RetryableError):
    """The other side cannot be asked now: it answered 429, its circuit is open, it is paused. Nothing was tried.

    No attempt is used up; the delivery parks when ``within_s`` seconds have passed since the event was received.
    """

    def __init__(
        self, message: str, *, delay_s: float | None = None, within_s: float = BUSY_S_MAX, is_alone: bool = False
    ) -> None:
        super().__init__(message, delay_s=delay_s, is_alone=is_alone)
        self.within_s = within_s


class UnreachableError(BusyError):
    """No connection to the other side came about, so nothing was sent; for its circuit this is a failure."""


class StoreUnavailableError(RetryableError):
    """The database refused or did not answer (locked, read-only, disk full, gone): nothing was committed."""


class NotYet(HubError):
    """The delivery must wait for something else; its chain goes on without it.

    It is tried again after a quarter of the time that has passed since the event was received, after a second at least
    and the ``longest`` of its route's retry rule at most, whose ``attempts`` and ``first`` do not count here. It parks
    when ``within_s`` seconds have passed since the event was received, after one last try; with ``on_deadline`` set, it
    ends with that outcome instead: done, or *refused* where ``refuses`` says that its sender is then not believed.
    """

    def __init__(
        self, reason: str, *, within_s: float = 86_400.0, on_deadline: str = "park", refuses: bool = False
    ) -> None:
        super().__init__(reason)
        if refuses and on_deadline == "park":
            raise ValueError("expected on_deadline to name the outcome of the refusal")
        self.reason = reason
        self.within_s = within_s
        self.on_deadline = on_deadline
        self.refuses = refuses


class PermanentError(HubError):
    """Trying again cannot help: the delivery is parked at once, with this text as its reason."""


class RefusedCommand(HubError):
    """A command cannot be carried out, for a reason that its sender understands: nothing is stored.

    ``code`` is a word for programs, ``detail`` a sentence for people, ``extra`` further members of the answer.
    """

    def __init__(self, code: str, detail: str, **extra: object) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.extra = extra


class RefusedRequestError(HubError):
    """A request over HTTP is refused with this ``status``: nothing of it is stored. The text is for the log."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
