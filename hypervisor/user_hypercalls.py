"""Hypercalls that the user adds: a Python file declares rows of the hypercall table.

    from hypervisor.user_hypercalls import hypercall

    @hypercall(56, "greet", args=2)
    def greet(hv, call, buffer, size):
        hv.log(call.domid, call.memory.read(buffer, size).decode())
        return size

The handler may read and write the caller's memory (`call.memory`), look at everything of the host (`hv`), raise
XenError, and return an integer: a value, or a negative error number.  Any other exception crashes the guest that calls,
with the line of the file in its report.  docs/hypercall-recipe.md tells the whole story.
"""

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, NamedTuple, TypeVar

from hypervisor.hypercalls import LAST_XEN_NUMBER, NR_HYPERCALLS, ROWS, Handler, Row
from hypervisor.trace import MAX_ARGUMENTS

_MARK = "__domus_hypercalls__"
F = TypeVar("F", bound=Callable[..., Any])


class UserHypercallError(Exception):
    """A file of the user's cannot be used.  One line: `file:line: what is wrong`."""


class _Declaration(NamedTuple):
    number: int
    name: str
    args: int
    pv: bool
    hvm: bool
    override: bool


class UserRows(NamedTuple):
    """What a file declares."""

    rows: tuple[Row, ...]
    overrides: frozenset[int]
    """Numbers whose row replaces one of the host's own."""


def hypercall(number: int, name: str = "", *, args: int, pv: bool = True, hvm: bool = True,
              override: bool = False) -> Callable[[F], F]:
    """Declare a hypercall; the function below it, `handler(hv, call, a1, ...)`, serves it.

    `number` is from 56 to 63 (or any of Xen's own, with `override=True`), `args` the registers it takes, 0 to 6.  `pv`
    and `hvm` say which kinds of guests have it; PVH guests are HVM here.  Without `name` it is called as the function.
    """

    def declare(handler: F) -> F:
        declared: list[_Declaration] = handler.__dict__.setdefault(_MARK, [])
        declared.insert(0, _Declaration(number, name or handler.__name__, args, pv, hvm, override))
        return handler

    return declare


def load(path: str | Path, text: str | None = None) -> UserRows:
    """The rows that the file at `path` declares; with `text`, what stands in the file is given instead.

    Raises UserHypercallError where it cannot be read or run, declares nothing, or declares what cannot be.
    """
    path = str(path)
    if text is None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
            raise UserHypercallError(f"{path}: {reason}") from None
    module = _run(path, text)
    declared = [(declaration, handler) for handler in dict.fromkeys(
                    value for value in vars(module).values() if inspect.isfunction(value))
                for declaration in handler.__dict__.get(_MARK, ())]
    if not declared:
        raise UserHypercallError(f"{path}: no hypercall: expected a function under @hypercall(number, name, args=...)")
    for declaration, handler in declared:
        _check(path, declaration, handler)
    rows = tuple(_row(path, declaration, handler) for declaration, handler in declared)
    return UserRows(rows, frozenset(declaration.number for declaration, _ in declared if declaration.override))


def with_user_rows(files: Iterable[UserRows], own: Iterable[Row] = ROWS) -> tuple[Row, ...]:
    """The host's table with those of the user's files.  Raises UserHypercallError where two of them take one number."""
    table = {row.number: row for row in own}
    taken: dict[int, Row] = {}
    for file in files:
        for row in file.rows:
            other = taken.get(row.number)
            if other is not None:
                raise UserHypercallError(f"{row.source}: hypercall {row.number} ({row.name}) is declared in "
                                         f"{other.source} already ({other.name})")
            taken[row.number] = table[row.number] = row
    return tuple(table[number] for number in sorted(table))


def _run(path: str, text: str) -> ModuleType:
    module = ModuleType(Path(path).stem)
    module.__file__ = path
    try:
        code = compile(text, path, "exec")
    except SyntaxError as error:
        raise UserHypercallError(f"{path}:{error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise UserHypercallError(f"{path}: {error}") from None
    try:
        exec(code, module.__dict__)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise UserHypercallError(f"{path}:{_line(error, code)}: {type(error).__name__}: {error}") from None
    return module


def _line(error: BaseException, code: CodeType) -> int:
    """The line of the user's file that was being run when `error` arose."""
    line, step = 1, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == code.co_filename:
            line = step.tb_lineno
        step = step.tb_next
    return line


def _check(path: str, declaration: _Declaration, handler: Callable[..., Any]) -> None:
    number, _, args, pv, hvm, override = declaration
    where = f"{path}:{handler.__code__.co_firstlineno}: hypercall {number} ({declaration.name})"
    if not isinstance(number, int) or not 0 <= number < NR_HYPERCALLS:
        raise UserHypercallError(f"{where}: the number must be from 0 to {NR_HYPERCALLS - 1}")
    if number <= LAST_XEN_NUMBER and not override:
        raise UserHypercallError(f"{where}: numbers up to {LAST_XEN_NUMBER} are Xen's; take one from "
                                 f"{LAST_XEN_NUMBER + 1} to {NR_HYPERCALLS - 1}, or say override=True")
    if not isinstance(args, int) or not 0 <= args <= MAX_ARGUMENTS:
        raise UserHypercallError(f"{where}: args must be from 0 to {MAX_ARGUMENTS}")
    if not pv and not hvm:
        raise UserHypercallError(f"{where}: no kind of guest could call it; set pv or hvm")
    try:
        inspect.signature(handler).bind(*range(args + 2))
    except TypeError:
        raise UserHypercallError(f"{where}: {handler.__name__}() must take hv, call and {args} more") from None


def _row(path: str, declaration: _Declaration, handler: Callable[..., Any]) -> Row:
    number, name, args, pv, hvm, _ = declaration
    code = handler.__code__

    def checked(hv: Any, call: Any, *arguments: int) -> int:
        result = handler(hv, call, *arguments)
        if not isinstance(result, int):
            raise UserResultError(f"{code.co_name}() returned {result!r}, not an integer",
                                  f"{path}:{code.co_firstlineno}")
        return result

    served: Handler = checked
    return Row(number, name, args, served if pv else None, served if hvm else None, source=path)


class UserResultError(TypeError):
    """A handler of the user's returned something that fits in no register.  `where` is the handler's `file:line`."""

    def __init__(self, message: str, where: str) -> None:
        super().__init__(message)
        self.where = where
