"""The JUnit report format as Jenkins and Maven Surefire describe it, as a grammar of our own to hold files against."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Element:
    """What an element may have: `children` as a regular expression over their names, each followed by a space."""

    children: str
    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    numbers: frozenset[str] = field(default=frozenset())


COUNTS = frozenset({"tests", "failures", "errors", "skipped"})
GRAMMAR = {
    "testsuites": Element(
        "(testsuite )*", frozenset(), frozenset({"name", "time"}) | COUNTS - {"skipped"}, COUNTS - {"skipped"}
    ),
    "testsuite": Element(
        "(properties )?(testcase )*(system-out )?(system-err )?", frozenset({"name", "tests", "failures", "errors"}),
        frozenset({"skipped", "time", "timestamp", "hostname", "id", "package"}), COUNTS,
    ),
    "properties": Element("(property )*"),
    "property": Element("", frozenset({"name", "value"})),
    "testcase": Element(
        "((skipped |error |failure )?)(system-out )?(system-err )?", frozenset({"name", "classname"}),
        frozenset({"time", "assertions", "file", "line"}),
    ),
    "skipped": Element("", frozenset(), frozenset({"message"})),
    "error": Element("", frozenset({"type"}), frozenset({"message"})),
    "failure": Element("", frozenset({"type"}), frozenset({"message"})),
    "system-out": Element(""),
    "system-err": Element(""),
}  # fmt: skip
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")


def problems(text: str) -> list[str]:
    """Return everything in which a file departs from the format."""
    root = ET.fromstring(text)
    found = [] if root.tag in ("testsuites", "testsuite") else [f"the root is {root.tag}"]
    for element in root.iter():
        found += _problems(element)
    names = [suite.get("name") for suite in root.iter("testsuite")]
    if len(set(names)) != len(names):
        found.append("two suites have one name")
    return found


def _problems(element: ET.Element) -> list[str]:
    rule = GRAMMAR.get(element.tag)
    if rule is None:
        return [f"unknown element {element.tag}"]
    found = [f"{element.tag} lacks {name}" for name in rule.required - set(element.attrib)]
    found += [f"{element.tag} has {name}" for name in set(element.attrib) - rule.required - rule.optional]
    children = "".join(f"{child.tag} " for child in element)
    if not re.fullmatch(rule.children, children):
        found.append(f"{element.tag} holds {children}")
    found += [
        f"{name} is no number" for name in rule.numbers & set(element.attrib) if not element.attrib[name].isdigit()
    ]
    if "time" in element.attrib and not re.fullmatch(r"\d+(\.\d+)?", element.attrib["time"]):
        found.append(f"time {element.attrib['time']}")
    if "timestamp" in element.attrib and not TIMESTAMP.fullmatch(element.attrib["timestamp"]):
        found.append(f"timestamp {element.attrib['timestamp']}")
    if element.tag == "testsuite":
        for name, tag in (("tests", ""), ("failures", "/failure"), ("errors", "/error"), ("skipped", "/skipped")):
            if int(element.get(name, "0")) != len(element.findall(f"testcase{tag}")):
                found.append(f"{name} is miscounted")
    return found
