"""Lines of keys and values in TOML."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadproof.config.positions import index_positions, paths_of

DOCUMENT = '''\
# a comment with [brackets] and = signs
[suite]
module = "suite.py"  # "quoted # text"

[profiles.smoke]
arrivals = [{ rate = "5/s", for = "30s" }]

[profiles."with space".inner]
text = """
several = lines
[not.a.table] "" \\""" """
other = \'\'\'
raw = \'\'\'
a.b."c.d" = 1
dates = [2026-01-01, 2026-01-01T10:00:00Z]

[profiles.release]
arrivals = [
  # the way up
  { name = "ramp", from = "10/s", to = "400/s", for = "5m" },
  # then the top

  { name = "peak", rate = "400/s", for = "20m" },
]
nested = [[1, 2], [
  3]]
mix = { "Search, then } open" = 70, Checkout = 30 }

[[rules]]
transaction = "Checkout"
require = "p95 <= 800ms"

[[rules]]
transaction = "*"
waiver = { reason = "x", until = 2026-12-31 }

[rules.extra]
deep = true
'''


def test_every_key_and_element_has_a_line() -> None:
    """The walk finds exactly what tomllib finds."""
    for text in (DOCUMENT, DOCUMENT.replace("\n", "\r\n")):
        assert set(index_positions(text).lines) >= paths_of(tomllib.loads(text))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("suite",), 2),
        (("suite", "module"), 3),
        (("profiles", "smoke", "arrivals", 0, "for"), 6),
        (("profiles", "with space", "inner", "text"), 9),
        (("profiles", "with space", "inner", "other"), 12),
        (("profiles", "with space", "inner", "a", "b", "c.d"), 14),
        (("profiles", "release", "arrivals", 0), 20),
        (("profiles", "release", "arrivals", 0, "to"), 20),
        (("profiles", "release", "arrivals", 1, "rate"), 23),
        (("profiles", "release", "nested", 1, 0), 26),
        (("profiles", "release", "mix", "Search, then } open"), 27),
        (("rules", 0, "require"), 31),
        (("rules", 1, "waiver", "until"), 35),
        (("rules", 1, "extra", "deep"), 38),
        (("rules", 1, "missing"), 33),
        (("nothing",), 0),
    ],
)
def test_lines_are_where_an_editor_shows_them(path: tuple[str | int, ...], line: int) -> None:
    """Inline tables in arrays, tables in arrays, quoted and dotted keys; what is missing has its parent's line."""
    assert index_positions(DOCUMENT).line(path) == line


NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\\\x7f', exclude_categories=["C"]), min_size=1)
VALUES = st.recursive(
    st.one_of(
        st.integers(-9, 9).map(str), st.booleans().map(lambda value: str(value).lower()), NAMES.map(lambda t: f'"{t}"')
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[\n " + ", # x\n".join(items) + "\n]"),
        st.dictionaries(NAMES, inner, max_size=3).map(
            lambda items: "{" + ", ".join(f'"{key}" = {value}' for key, value in items.items()) + "}"
        ),
    ),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_any_document_is_walked_to_its_end(items: dict[str, str]) -> None:
    """Random nesting of arrays, inline tables and odd names."""
    text = "".join(f'"{key}" = {value} # end\n' for key, value in items.items())
    try:
        parsed = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(index_positions(text).lines) == paths_of(parsed)
