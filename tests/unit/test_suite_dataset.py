"""Typed rows from CSV, JSON and JSON Lines, with file and line in every error."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pydantic
import pytest
from typing_extensions import TypedDict

from loadproof._dataset import PROBLEMS_MAX, Dataset, DatasetError


@dataclass(frozen=True, slots=True)
class Product:
    sku: str
    price: float
    stock: int | None = None
    sold: bool = False


class Model(pydantic.BaseModel):
    sku: str
    price: float


class Pair(NamedTuple):
    sku: str
    price: float = 1.0


class Mapping(TypedDict):
    sku: str
    price: float


def load(folder: Path, name: str, text: str | bytes, row: Any = Product) -> Any:
    data = text if isinstance(text, bytes) else text.encode()
    (folder / name).write_bytes(data)
    return Dataset("data", name, row).load(folder)


def mistakes(folder: Path, name: str, text: str | bytes, row: Any = Product) -> list[str]:
    with pytest.raises(DatasetError) as caught:
        load(folder, name, text, row)
    return [str(error) for error in (caught.value, *caught.value.others)]


def test_csv_cells_become_the_fields_types(tmp_path: Path) -> None:
    """An empty cell means the default, or None; more columns than fields are nobody's mistake."""
    text = "sku,price,stock,sold,colour\nA1,2.5,3,true,red\nB2, 4 ,,,\n"
    rows = load(tmp_path, "p.csv", text)
    assert rows.rows == [Product("A1", 2.5, 3, sold=True), Product("B2", 4.0)]
    assert rows.locations == [2, 3]
    assert rows.sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert len(rows) == 2


@pytest.mark.parametrize("row", [Model, Pair, Mapping])
def test_other_kinds_of_rows_work_too(tmp_path: Path, row: Any) -> None:
    """A pydantic model, a NamedTuple and a TypedDict."""
    (built,) = load(tmp_path, "p.csv", "sku,price\nA1,2.5\n", row).rows
    assert (built["sku"] if isinstance(built, dict) else built.sku) == "A1"
    (built,) = load(tmp_path, "p.json", '[{"sku": "A1", "price": 2.5}]', row).rows
    assert (built["price"] if isinstance(built, dict) else built.price) == 2.5


def test_without_a_type_rows_are_dicts(tmp_path: Path) -> None:
    """CSV gives texts, JSON what it holds."""
    assert load(tmp_path, "p.csv", "a,b\n1,\n", None).rows == [{"a": "1", "b": ""}]
    assert load(tmp_path, "p.jsonl", '{"a": [1]}\n\n{"a": null}\n', None).rows == [{"a": [1]}, {"a": None}]
    assert mistakes(tmp_path, "p.jsonl", "3\n", None) == ["p.jsonl:1: a row must be an object, not a number"]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    """Files from spreadsheets begin with one."""
    assert load(tmp_path, "p.csv", b"\xef\xbb\xbfsku,price\r\nA1,2\r\n").rows == [Product("A1", 2.0)]


def test_lines_are_counted_through_quoted_line_ends(tmp_path: Path) -> None:
    """A cell over two lines moves what follows; the error names the row's first line."""
    text = 'sku,price\n"A\n1",2\n\nB2,many\n"C\n3",lots\n'
    assert mistakes(tmp_path, "p.csv", text) == [
        "p.csv:5: 'price' should be a valid number, not 'many'",
        "p.csv:6: 'price' should be a valid number, not 'lots'",
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("p.csv", "sku,prize\nA,1\n", "p.csv:1: column 'price' is missing (is it 'prize'?); there are: sku, prize"),
        ("p.csv", "sku,price,sku\nA,1,B\n", "p.csv:1: column 'sku' comes twice"),
        ("p.csv", "sku,price\nA\n", "p.csv:2: has 1 cells, the header has 2"),
        ("p.csv", "sku,price\nA,1,2\n", "p.csv:2: has 3 cells, the header has 2"),
        ("p.csv", "sku,price\nA,\n", "p.csv:2: 'price' is empty"),
        ("p.csv", 'sku,price\n"A,1\n', "p.csv:2: is not CSV: unexpected end of data"),
        ("p.csv", "", "p.csv: has no rows"),
        ("p.csv", "sku,price\n", "p.csv: has no rows"),
        ("p.csv", b"sku,price\nA,1\n\xff,2\n", "p.csv:3: is not UTF-8 text"),
        ("p.json", "[]", "p.json: has no rows"),
        ("p.json", "", "p.json: has no rows"),
        ("p.json", '{"sku": 1}', "p.json:1: must be a list of objects: [ {...}, ... ]"),
        ("p.json", '[\n {"sku": "A", "price": "2"}]', "p.json:2: 'price' should be a valid number, not '2'"),
        ("p.json", '[\n\n {"sku": "A", "prices": 2}]', "p.json:3: 'price' is missing (is it 'prices'?)"),
        ("p.json", '[\n {"sku": "A" "price": 2}]', "p.json:2: is not JSON: Expecting ',' delimiter"),
        ("p.json", '[\n {"sku": "A", "price": 2}\n', "p.json:3: is not JSON: the list does not end"),
        ("p.json", '[{"sku": "A", "price": 2} 3]', "p.json:1: is not JSON: expected ',' or ']'"),
        ("p.json", '[{"sku": "A", "price": 2}]\n]', "p.json:2: is not JSON: text after the list's end"),
        ("p.jsonl", '{"sku": "A", "price": 2}\n{"sku"}\n', "p.jsonl:2: is not JSON: Expecting ':' delimiter"),
        ("p.xml", "<a/>", "p.xml: unknown format; the name must end in .csv, .json, .jsonl, .ndjson"),
    ],
)
def test_a_broken_file_is_told_with_its_line(tmp_path: Path, name: str, text: str | bytes, expected: str) -> None:
    """One sentence, the line an editor shows."""
    assert mistakes(tmp_path, name, text) == [expected]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("rows.json", '[\n{"sku": "a", "price": 1},\n]', "rows.json:3: is not JSON: a comma before the list's end"),
        ("rows.json", '[{"sku": "a", "price": 1},', "rows.json:1: is not JSON: Expecting value"),
        ("rows.json", "[" * 100_000, "rows.json:1: is not JSON that can be read: it is nested too deeply"),
        ("rows.jsonl", "\n" + "[" * 100_000, "rows.jsonl:2: is not JSON that can be read: it is nested too deeply"),
        ("rows.json", f'[\n{{"sku": "a", "price": {"9" * 5_000}}}]', "rows.json:2: is not JSON: Exceeds the limit"),
    ],
)  # fmt: skip
def test_json_that_is_nearly_right_or_hostile_is_told_with_its_line(
    tmp_path: Path, name: str, text: str, expected: str
) -> None:
    """A comma too many, and what Python's own reader gives up on."""
    with pytest.raises(DatasetError) as caught:
        load(tmp_path, name, text)
    assert str(caught.value).startswith(expected)


def test_a_class_that_no_row_can_become_is_told_in_words_of_suites(tmp_path: Path) -> None:
    """The usual slip is a class without its decorator; the advice is ours, not that of a library."""

    class Plain:
        sku: str

    with pytest.raises(DatasetError, match="make it a @dataclass") as caught:
        load(tmp_path, "rows.csv", "sku\na\n", Plain)
    assert "arbitrary_types_allowed" not in str(caught.value)


def test_many_mistakes_are_told_up_to_a_bound(tmp_path: Path) -> None:
    """The first twenty and how many more."""
    found = mistakes(tmp_path, "p.csv", "sku,price\n" + "A,x\n" * 100)
    assert len(found) == PROBLEMS_MAX + 1
    assert found[-1] == "p.csv: and 80 more mistakes"


@pytest.mark.parametrize("path", ["/etc/passwd.csv", "../p.csv", "a/../../p.csv"])
def test_data_outside_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    """Agents get the folder and nothing else."""
    with pytest.raises(DatasetError, match="must lie inside the suite's folder"):
        Dataset("data", path).load(tmp_path)


def test_a_type_that_no_row_can_have_is_told(tmp_path: Path) -> None:
    """Not as a traceback of the validation library."""
    assert "rows cannot be built as Strange" in mistakes(tmp_path, "p.csv", "a\n1\n", type("Strange", (), {}))[0]


def alike(folder: Path, name: str, text: str, row: Any) -> tuple[int, int]:
    (folder / name).write_text(text)
    rows = Dataset("data", name, row).load(folder, count_alike=True)
    return rows.different, rows.most_alike


def test_rows_that_are_alike_are_counted_by_what_their_type_reads(tmp_path: Path) -> None:
    """A column nobody reads makes no difference; where anything may be read, every column does."""
    text = "id,sku,price\n1,A,2\n2,A,2\n3,B,2\n4,A,2\n"
    assert alike(tmp_path, "p.csv", text, Product) == (2, 3)
    assert alike(tmp_path, "p.csv", text, Model) == (2, 3)
    assert alike(tmp_path, "p.csv", text, None) == (4, 1)

    class Aliased(pydantic.BaseModel):
        sku: str = pydantic.Field(validation_alias=pydantic.AliasChoices("sku", "id"))

    assert alike(tmp_path, "p.csv", text, Aliased) == (4, 1)


def test_the_order_of_keys_makes_no_row_different(tmp_path: Path) -> None:
    """JSON objects are alike when their fields are; a nested difference counts."""
    text = '{"a": 1, "b": {"c": 2, "d": 3}}\n{"b": {"d": 3, "c": 2}, "a": 1}\n{"a": 1, "b": {"c": 2, "d": 4}}\n'
    assert alike(tmp_path, "p.jsonl", text, None) == (2, 2)


def test_rows_are_only_compared_when_asked_for(tmp_path: Path) -> None:
    """Workers load the file again and need no count."""
    rows = load(tmp_path, "p.csv", "sku,price\nA,1\n")
    assert (rows.different, rows.most_alike) == (0, 0)
