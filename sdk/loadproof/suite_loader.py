"""Imports a suite's module from its folder, apart from other suites imported before in the same process."""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from loadproof._errors import LoadproofError
from loadproof._suite import Suite, SuiteError

_imported_from: list[str] = []
"""Folders this module put on `sys.path`; a new import takes the earlier ones off."""


class SuiteImportError(LoadproofError):
    """The suite's module does not import. `file`, `line` say where, `detail` is a short traceback of the suite's
    code, `missing` the module that there is none of.
    """

    def __init__(
        self,
        message: str,
        file: str,
        line: int,
        detail: str = "",
        suggestion: str | None = None,
        missing: str | None = None,
    ) -> None:
        super().__init__(f"{file}:{line}: {message}" if line else f"{file}: {message}")
        self.message = message
        self.file = file
        self.line = line
        self.detail = detail
        self.suggestion = suggestion
        self.missing = missing


def import_suite(folder: Path, module: str, packages: Path | None = None) -> Suite:
    """Import `module` (a file relative to `folder`) and return the suite in it.

    That is its attribute `suite`, or else its only `Suite`. `packages` holds what was installed for the suite; it comes
    behind everything this Python has, and the suite's folder last on `sys.path`: a suite can import its packages and
    its own modules but never replace an installed one. Raises SuiteImportError.
    """
    folder = folder.resolve()
    file = (folder / module).resolve()
    if file.suffix != ".py" or not file.is_relative_to(folder):
        raise SuiteImportError("a suite's module is a .py file inside its folder", module, 0)
    if not file.is_file():
        names = [path.name for path in sorted(folder.glob("*.py"))]
        close = difflib.get_close_matches(module, names, n=1) or names[:1]
        raise SuiteImportError("does not exist", module, 0, suggestion=close[0] if close else None)
    _forget_earlier()
    behind = () if packages is None else (str(packages.resolve()),)
    for entry in dict.fromkeys((*behind, str(folder), str(file.parent))):
        if entry not in sys.path:
            sys.path.append(entry)
            _imported_from.append(entry)
    importlib.invalidate_caches()
    return _find_suite(_execute(folder, file), folder, file)


def _forget_earlier() -> None:
    """Take earlier suites' folders off the path and their modules out of the cache: theirs may be called the same."""
    folders = [Path(entry) for entry in _imported_from]
    for name, module in list(sys.modules.items()):
        origin = getattr(module, "__file__", None)
        if not origin or "site-packages" in Path(origin).parts:
            continue
        if any(Path(origin).is_relative_to(folder) for folder in folders):
            del sys.modules[name]
    for entry in _imported_from:
        while entry in sys.path:
            sys.path.remove(entry)
    _imported_from.clear()


def _execute(folder: Path, file: Path) -> ModuleType:
    name = _module_name(folder, file)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise SuiteImportError("is no Python module", file.name, 0)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # user code: whatever it raises, SystemExit too, is a configuration error
        sys.modules.pop(name, None)
        raise _explained(error, folder, file) from error
    return module


def _module_name(folder: Path, file: Path) -> str:
    """Return the plain name where that means this file, so that the suite's other modules can import it, else a new
    one.
    """
    relative = file.relative_to(folder).with_suffix("")
    name = ".".join(relative.parts)
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        found = None
    if found is not None and found.origin is not None and Path(found.origin).resolve() == file:
        return name
    return f"loadproof_suite_{file.stem}"


def _find_suite(module: ModuleType, folder: Path, file: Path) -> Suite:
    shown = file.relative_to(folder).as_posix()
    named = getattr(module, "suite", None)
    if isinstance(named, Suite):
        return named
    found = {id(value): value for value in vars(module).values() if isinstance(value, Suite)}
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise SuiteImportError('holds no suite; write suite = Suite("Name", base_url="...")', shown, 0)
    raise SuiteImportError("holds several suites; call the one to run `suite`", shown, 0)


def _explained(error: BaseException, folder: Path, file: Path) -> SuiteImportError:
    detail = "".join(traceback.format_exception(error, limit=-6)).strip()[-4000:]
    if isinstance(error, SyntaxError) and error.filename:
        where = _shown(error.filename, folder)
        return SuiteImportError(f"{type(error).__name__}: {error.msg}", where, error.lineno or 0, detail)
    if isinstance(error, SuiteError):
        where = _shown(error.file, folder) if error.file else file.name
        return SuiteImportError(error.message, where, error.line, detail, error.suggestion)
    line, where = 0, file.relative_to(folder).as_posix()
    for frame in traceback.extract_tb(error.__traceback__):
        if Path(frame.filename).is_relative_to(folder):
            line, where = frame.lineno or 0, _shown(frame.filename, folder)
    text = str(error).splitlines()[0][:300] if str(error) else ""
    message = f"{type(error).__name__}: {text}" if text else type(error).__name__
    suggestion = missing = None
    if isinstance(error, ModuleNotFoundError) and error.name:
        missing = error.name
        names = [path.stem for path in folder.glob("*.py")]
        close = difflib.get_close_matches(missing, names, n=1)
        suggestion = close[0] if close else None
    return SuiteImportError(message, where, line, detail, suggestion, missing)


def _shown(filename: str, folder: Path) -> str:
    path = Path(filename)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else filename
