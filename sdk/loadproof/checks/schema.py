"""`check(schema=...)`: a dataclass, pydantic model, TypedDict or any other type pydantic can validate."""

from __future__ import annotations

import sys
import typing
from typing import Any, NotRequired

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUndefinedAnnotation, PydanticUserError
from typing_extensions import TypedDict as PortableTypedDict

from loadproof._errors import UsageError

_ADAPTERS_MAX = 1_000
_adapters: dict[Any, TypeAdapter[Any]] = {}


def schema_mismatch(schema: Any, body: bytes) -> str | None:
    """Return where the JSON text `body` differs from `schema`, or None when it fits.

    Types are strict: the string "5" is not an int. Further keys are fine unless the schema forbids them. Raises
    UsageError when `schema` is not a type, as with a JSON Schema dictionary.
    """
    adapter = schema if isinstance(schema, TypeAdapter) else _adapter(schema)
    try:
        adapter.validate_json(body, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        more = error.error_count() - 1
        return f"${path}: {first['msg']}" + (f" (and {more} more)" if more else "")
    return None


def _adapter(schema: Any) -> TypeAdapter[Any]:
    if isinstance(schema, dict):
        raise UsageError("schema= takes a type (dataclass, pydantic model, TypedDict), not a JSON Schema dictionary")
    try:
        found = _adapters.get(schema)
    except TypeError as error:
        raise UsageError(f"schema= takes a type, not {schema!r}") from error
    if found is None:
        try:
            found = TypeAdapter(_portable(schema))
        except (PydanticUserError, PydanticUndefinedAnnotation) as error:
            raise UsageError(f"schema={schema!r} cannot be validated: {error}") from error
        if len(_adapters) >= _ADAPTERS_MAX:
            _adapters.clear()
        _adapters[schema] = found
    return found


def _portable(schema: Any) -> Any:
    """Return a `typing.TypedDict` as one of typing_extensions: before Python 3.12 pydantic can only read those."""
    if sys.version_info >= (3, 12) or not typing.is_typeddict(schema):
        return schema
    required = schema.__required_keys__
    hints = typing.get_type_hints(schema, include_extras=True)
    fields = {name: hint if name in required else NotRequired[hint] for name, hint in hints.items()}
    return PortableTypedDict(schema.__name__, fields)  # type: ignore[operator]
