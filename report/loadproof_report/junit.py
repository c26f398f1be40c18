"""`junit.xml`: transactions are suites, rules are cases. Whatever a name holds, the file is well-formed XML 1.0."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter

from loadproof_report.result import RuleResult, RunResult
from loadproof_report.text import clean, xml_clean


def render_junit(result: RunResult) -> str:
    """Return the JUnit XML. A broken blocking rule is a failure, one without data an error, a warning is only skipped.

    A suite `evidence` has a case that errs when the evidence is unsound, and one that fails when a rule stopped the
    run, which may hold again by the end of it: so a CI reading only this sees both.
    """
    root = ET.Element("testsuites", {"name": _text(f"Loadproof {result.suite} {result.profile}")})
    groups: dict[str, list[RuleResult]] = {}
    for rule in result.rules:
        groups.setdefault(rule.transaction, []).append(rule)
    for name, rules in groups.items():
        suite = _suite(root, name, result)
        for rule in rules:
            _case(suite, rule)
        _tell_apart(suite)
        _totals(suite)
    suite = _suite(root, "evidence", result)
    case = ET.SubElement(
        suite, "testcase", {"name": "the run can prove something", "classname": "evidence", "time": "0"}
    )
    if not result.evidence.sound:
        unsound = [finding.text for finding in result.evidence.findings if finding.severity == "unsound"]
        ET.SubElement(case, "error", {"type": "unsound", "message": _text(unsound[0])}).text = _text("\n".join(unsound))
    if result.aborted_by == "rule":
        case = ET.SubElement(suite, "testcase", {"name": "no rule stops the run", "classname": "evidence", "time": "0"})
        why = _text(result.abort_reason or "a rule stopped the run")
        ET.SubElement(case, "failure", {"type": "stopped", "message": why}).text = why
    _totals(suite)
    for total in ("tests", "failures", "errors"):  # Jenkins' xUnit plugin refuses a file with `skipped` here
        root.set(total, str(sum(int(suite.get(total, "0")) for suite in root)))
    root.set("time", f"{result.duration_s:.3f}")
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, name: str, result: RunResult) -> ET.Element:
    suite = ET.SubElement(root, "testsuite", {"name": _text(name), "timestamp": _text(result.started_at[:19])})
    suite.set("time", f"{result.duration_s:.3f}")
    suite.set("hostname", "loadproof")
    return suite


def _case(suite: ET.Element, rule: RuleResult) -> None:
    scope = "".join(
        f" ({part})" for part in (rule.step and f"step {rule.step}", rule.phase and f"phase {rule.phase}") if part
    )
    attributes = {"name": _text(f"{rule.require}{scope}"), "classname": _text(rule.transaction), "time": "0"}
    case = ET.SubElement(suite, "testcase", attributes)
    said = f"observed {rule.observed_text}, required {rule.limit_text or rule.require}"
    said += f": {rule.detail}" if rule.detail else ""
    waived = rule.waiver is not None and rule.waiver.active
    if rule.status == "passed":
        ET.SubElement(case, "system-out").text = _text(said)
    elif rule.severity == "warn" or (rule.status == "failed" and waived):
        why = "waived" if waived and rule.severity == "block" else "warning only"
        ET.SubElement(case, "skipped", {"message": _text(f"{why}: {rule.status.replace('_', ' ')}, {said}")})
    elif rule.status == "no_data":
        ET.SubElement(case, "error", {"type": "no_data", "message": _text(rule.detail)}).text = _text(said)
    else:
        kind = "generator_explains" if rule.generator_explains else "broken"
        ET.SubElement(case, "failure", {"type": kind, "message": _text(said)}).text = _text(said)


def _tell_apart(suite: ET.Element) -> None:
    """Number the cases of one name: GitLab shows only the first, and a warning could hide a broken rule."""
    seen: Counter[str] = Counter()
    for case in suite:
        name = case.get("name", "")
        seen[name] += 1
        if seen[name] > 1:
            case.set("name", f"{name} ({seen[name]})")


def _totals(suite: ET.Element) -> None:
    suite.set("tests", str(len(suite.findall("testcase"))))
    for total, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(total, str(len(suite.findall(f"testcase/{tag}"))))


def _text(text: str) -> str:
    return xml_clean(clean(text, 2_000, keep_lines=True))
