"""`Suite`: where a user's transactions, data and hooks are declared. Declaring starts nothing and reads no file."""

from __future__ import annotations

import difflib
import dis
import inspect
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, overload

from loadproof._dataset import Dataset
from loadproof._errors import LoadproofError
from loadproof._interpolate import fill
from loadproof.http.limits import HttpLimits, StageTimeouts
from loadproof.http.tls import TlsOptions
from loadproof.plan.model import NS_PER_S, Criticality, OnExhausted, Order
from loadproof.plan.units import UnitError, parse_duration

if TYPE_CHECKING:
    from loadproof import VirtualUser

RowT = TypeVar("RowT")
TransactionT = TypeVar("TransactionT", bound="Callable[[VirtualUser], Awaitable[None]]")
HookT = TypeVar("HookT", bound=Callable[..., Awaitable[Any]])

WEIGHT_MAX = 1_000_000
NAME_LENGTH_MAX = 200

_AWAITING = frozenset({"GET_AWAITABLE", "GET_ANEXT", "SEND"})


class SuiteError(LoadproofError):
    """The suite is declared wrongly. `file` and `line` say where, `suggestion` what was probably meant."""

    def __init__(self, message: str, file: str = "", line: int = 0, suggestion: str | None = None) -> None:
        place = f"{file}:{line}: " if file else ""
        super().__init__(f"{place}{message}")
        self.message = message
        self.file = file
        self.line = line
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class TransactionDefinition:
    """A declared transaction. `takes_row`: the function's second parameter gets a row of `data`.

    `awaits` is False for a function without any `await`: whatever it does holds up every other user of its worker.
    """

    name: str
    function: Callable[..., Awaitable[Any]]
    tags: tuple[str, ...] = ()
    criticality: Criticality = "normal"
    owner: str = ""
    weight: int = 1
    data: Dataset[Any] | None = None
    takes_row: bool = False
    file: str = ""
    line: int = 0
    awaits: bool = True


@dataclass(slots=True)
class Hooks:
    """The suite's hooks; None where there is none."""

    setup: Callable[..., Awaitable[Any]] | None = None
    teardown: Callable[..., Awaitable[Any]] | None = None
    user_start: Callable[..., Awaitable[Any]] | None = None


@dataclass(slots=True, eq=False)
class Suite:
    """A set of transactions against one system.

    `base_url`, `headers` and `timeout` apply to every request of `user.http`. Texts may hold `${VAR}` and
    `${VAR:-default}`, filled from the submitter's environment or secrets. `timeout` is in seconds, or a text such as
    "10s"; a profile's own `timeout` wins over it. `tls` says how servers are verified and who the client is (its texts
    may hold references too, its paths are relative to the suite's folder), `stages` bounds parts of a request, `limits`
    the size of responses. Raises SuiteError on what means nothing.
    """

    name: str
    base_url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float | str | None = None
    tls: TlsOptions = field(default_factory=TlsOptions)
    stages: StageTimeouts = field(default_factory=StageTimeouts)
    limits: HttpLimits = field(default_factory=HttpLimits)
    transactions: dict[str, TransactionDefinition] = field(default_factory=dict, init=False, repr=False)
    datasets: dict[str, Dataset[Any]] = field(default_factory=dict, init=False, repr=False)
    hooks: Hooks = field(default_factory=Hooks, init=False, repr=False)
    file: str = field(default="", init=False, repr=False)
    line: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        self.file, self.line = _caller(2)
        self._check_name("suite", self.name, self.file, self.line)
        _check_text("base_url", self.base_url, self.file, self.line)
        self.headers = dict(self.headers)
        for name, value in self.headers.items():
            _check_text("a header's name", name, self.file, self.line)
            _check_text(f"header {name}", value, self.file, self.line)
        for option, kind in (("tls", TlsOptions), ("stages", StageTimeouts), ("limits", HttpLimits)):
            if not isinstance(getattr(self, option), kind):
                message = f"{option} must be a {kind.__name__} of loadproof.http, not {getattr(self, option)!r}"
                raise SuiteError(message, self.file, self.line)
        _ = self.timeout_ns

    @property
    def timeout_ns(self) -> int | None:
        """Return the suite's time limit of a request in ns, None where the profile alone decides."""
        if self.timeout is None:
            return None
        try:
            value = parse_duration(self.timeout) if isinstance(self.timeout, str) else round(self.timeout * NS_PER_S)
        except (UnitError, TypeError) as error:
            suggestion = error.suggestion if isinstance(error, UnitError) else None
            raise SuiteError(f"timeout: {error}", self.file, self.line, suggestion) from None
        if value <= 0:
            raise SuiteError(f"timeout must be more than nothing, not {self.timeout!r}", self.file, self.line)
        return value

    def resolved_base_url(self, variables: Mapping[str, str], secrets: Mapping[str, str] | None = None) -> str:
        """Return `base_url` with its references filled. Raises VariableError where one has no value."""
        return fill(self.base_url, variables, secrets or {})

    def resolved_headers(
        self, variables: Mapping[str, str], secrets: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Return `headers` with their references filled. Raises VariableError where one has no value."""
        return {name: fill(value, variables, secrets or {}) for name, value in self.headers.items()}

    def resolved_tls(
        self, folder: Path, variables: Mapping[str, str], secrets: Mapping[str, str] | None = None
    ) -> TlsOptions:
        """Return `tls` with its references filled and its paths in `folder`. Raises VariableError, as above."""
        return self.tls.filled(lambda text: fill(text, variables, secrets or {}), folder)

    # --- transactions -----------------------------------------------------------------------------------------------

    @overload
    def transaction(
        self,
        name: str,
        *,
        tags: Sequence[str] = (),
        criticality: Criticality = "normal",
        owner: str = "",
        weight: int = 1,
        data: None = None,
    ) -> Callable[[TransactionT], TransactionT]: ...

    @overload
    def transaction(
        self,
        name: str,
        *,
        tags: Sequence[str] = (),
        criticality: Criticality = "normal",
        owner: str = "",
        weight: int = 1,
        data: Dataset[RowT],
    ) -> Callable[[Callable[[VirtualUser, RowT], Awaitable[None]]], Callable[[VirtualUser, RowT], Awaitable[None]]]: ...

    def transaction(
        self,
        name: str,
        *,
        tags: Sequence[str] = (),
        criticality: Criticality = "normal",
        owner: str = "",
        weight: int = 1,
        data: Dataset[Any] | None = None,
    ) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
        """Declare the decorated `async def` as the transaction `name`; it stays callable as it is.

        With `data` it takes a row as second parameter. `weight` is its share where a profile names no mix.
        Raises SuiteError for a plain `def`, a name used twice or parameters that do not fit.
        """
        file, line = _caller(1)

        def declare(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
            definition = TransactionDefinition(
                name=name,
                function=function,
                tags=_checked_tags(tags, file, line),
                criticality=_one_of("criticality", criticality, Criticality, file, line),
                owner=owner,
                weight=_checked_weight(weight, file, line),
                data=data,
                takes_row=data is not None,
                file=file,
                line=line,
                awaits=_awaits(function),
            )
            self._add_transaction(definition)
            return function

        self._check_name("transaction", name, file, line)
        _check_data(data, file, line)
        return declare

    def _add_transaction(self, definition: TransactionDefinition) -> None:
        what = f"transaction {definition.name!r}"
        file, line = definition.file, definition.line
        _check_async(what, definition.function, file, line)
        wanted = ("user", "row") if definition.takes_row else ("user",)
        if not _accepts(definition.function, len(wanted)):
            reason = "it draws data" if definition.takes_row else "it draws no data (data=None)"
            raise SuiteError(f"{what} must take {_parameters(wanted)}, because {reason}", file, line)
        other = self.transactions.get(definition.name)
        if other is not None:
            raise SuiteError(f"{what} is declared twice; first at {other.file}:{other.line}", file, line)
        if definition.data is not None and self.datasets.get(definition.data.name) is not definition.data:
            raise SuiteError(f"{what} draws from a dataset of another suite", file, line)
        self.transactions[definition.name] = definition

    # --- data -------------------------------------------------------------------------------------------------------

    @overload
    def dataset(
        self,
        name: str,
        path: str,
        row: type[RowT],
        order: Order = "circular",
        on_exhausted: OnExhausted = "stop",
    ) -> Dataset[RowT]: ...

    @overload
    def dataset(
        self,
        name: str,
        path: str,
        row: None = None,
        order: Order = "circular",
        on_exhausted: OnExhausted = "stop",
    ) -> Dataset[dict[str, Any]]: ...

    def dataset(
        self,
        name: str,
        path: str,
        row: type[Any] | None = None,
        order: Order = "circular",
        on_exhausted: OnExhausted = "stop",
    ) -> Dataset[Any]:
        """Declare a file of rows: CSV, JSON or JSON Lines by the ending of `path`, relative to the suite's folder.

        `order`: "circular" starts over, "shuffle" takes each pass in a new seeded order, "unique" gives no row twice in
        the whole fleet; `on_exhausted` says what a user does who finds no unique row left. Raises SuiteError.
        """
        file, line = _caller(1)
        self._check_name("dataset", name, file, line)
        other = self.datasets.get(name)
        if other is not None:
            raise SuiteError(f"dataset {name!r} is declared twice; first at {other.file}:{other.line}", file, line)
        _check_text("path", path, file, line)
        dataset: Dataset[Any] = Dataset(
            name=name,
            path=path,
            row=row,
            order=_one_of("order", order, Order, file, line),
            on_exhausted=_one_of("on_exhausted", on_exhausted, OnExhausted, file, line),
            file=file,
            line=line,
        )
        self.datasets[name] = dataset
        return dataset

    # --- hooks ------------------------------------------------------------------------------------------------------

    def setup(self, function: HookT) -> HookT:
        """Declare `async def f(run)`: once per run, before any load. What it returns (JSON) is every `user.shared`."""
        self._add_hook("setup", function, ("run",))
        return function

    def teardown(self, function: HookT) -> HookT:
        """Declare `async def f(run, shared)`: after the run, also after failure. May run more than once."""
        self._add_hook("teardown", function, ("run", "shared"))
        return function

    def on_user_start(self, function: HookT) -> HookT:
        """Declare `async def f(user)`: once for every virtual user, before its first transaction."""
        self._add_hook("user_start", function, ("user",))
        return function

    def _add_hook(self, name: str, function: Callable[..., Awaitable[Any]], wanted: tuple[str, ...]) -> None:
        file, line = _caller(2)
        shown = "on_user_start" if name == "user_start" else name
        _check_async(f"@suite.{shown}", function, file, line)
        if not _accepts(function, len(wanted)):
            raise SuiteError(f"@suite.{shown} must take {_parameters(wanted)}", file, line)
        other = getattr(self.hooks, name)
        if other is not None:
            code = other.__code__
            first = f"{code.co_filename}:{code.co_firstlineno}"
            raise SuiteError(f"@suite.{shown} is declared twice; first at {first}", file, line)
        setattr(self.hooks, name, function)

    @staticmethod
    def _check_name(kind: str, name: object, file: str, line: int) -> None:
        if not isinstance(name, str) or not name.strip() or name != name.strip():
            suggestion = ' Write @suite.transaction("Name").' if callable(name) else ""
            raise SuiteError(
                f"a {kind}'s name must be a text without space around it, not {name!r}.{suggestion}", file, line
            )
        if len(name) > NAME_LENGTH_MAX or not name.isprintable():
            raise SuiteError(f"a {kind}'s name has at most {NAME_LENGTH_MAX} printable characters", file, line)
        if kind == "transaction" and name == "*":
            raise SuiteError('no transaction can be called "*": rules mean all of them by it', file, line)


def _caller(depth: int) -> tuple[str, int]:
    """Return file and line of who called the function that asks, `depth` frames further up."""
    frame = sys._getframe(depth + 1)
    while frame.f_back is not None and frame.f_code.co_filename in {__file__, "<string>"}:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def _check_async(what: str, function: Any, file: str, line: int) -> None:
    if inspect.isasyncgenfunction(function):
        raise SuiteError(f"{what} must not `yield`", file, line)
    if not inspect.iscoroutinefunction(function):
        shown = getattr(function, "__name__", "f")
        raise SuiteError(f"{what} must be an `async def`, not a plain function", file, line, f"async def {shown}(...)")


def _accepts(function: Callable[..., Any], count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def _parameters(names: tuple[str, ...]) -> str:
    return f"({', '.join(names)})"


def _awaits(function: Callable[..., Any]) -> bool:
    """Return whether the function's own code holds an `await`, `async with` or `async for`; True where unknown."""
    code: CodeType | None = getattr(inspect.unwrap(function), "__code__", None)
    return code is None or any(step.opname in _AWAITING for step in dis.get_instructions(code))


def _check_text(what: str, value: object, file: str, line: int) -> None:
    if not isinstance(value, str):
        raise SuiteError(f"{what} must be a text, not {value!r}", file, line)


def _check_data(data: object, file: str, line: int) -> None:
    if data is not None and not isinstance(data, Dataset):
        raise SuiteError(f"data must be what suite.dataset(...) returned, not {data!r}", file, line)


def _checked_tags(tags: Sequence[str], file: str, line: int) -> tuple[str, ...]:
    if isinstance(tags, str):
        raise SuiteError("tags must be a list of texts", file, line, f'tags=["{tags}"]')
    for tag in tags:
        _check_text("a tag", tag, file, line)
    return tuple(tags)


def _checked_weight(weight: object, file: str, line: int) -> int:
    if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= WEIGHT_MAX:
        raise SuiteError(f"weight must be a whole number from 0 to {WEIGHT_MAX:,}, not {weight!r}", file, line)
    return weight


def _one_of(what: str, value: object, choices: Any, file: str, line: int) -> Any:
    allowed = get_args(choices)
    if value in allowed:
        return value
    listed = ", ".join(f'"{choice}"' for choice in allowed)
    close = difflib.get_close_matches(str(value), allowed, n=1)
    raise SuiteError(f"{what} must be one of {listed}, not {value!r}", file, line, close[0] if close else None)
