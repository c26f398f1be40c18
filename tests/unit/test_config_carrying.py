"""Rules that a profile can't give data, told before any load."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadproof.config import ConfigErrors, build_plan, load_project, rule_warnings
from suite_folders import SUITE, write_suite

STEPPED = SUITE.replace(
    "async def checkout(user):\n    await user.think(1)",
    'async def checkout(user):\n    async with user.step("Pay"):\n        await user.think(1)',
)
SHORT = '[profiles.short]\narrivals = [{ rate = "10/s", for = "15s" }]\n'
LONG = '[profiles.long]\narrivals = [{ name = "ramp", from = "0/s", to = "100/s", for = "10m" }]\n'


def warned(folder: Path, rules: str, *, profile: str = SHORT, suite: str = STEPPED, **files: str) -> list[str]:
    """Return the warnings of the profile, which stands first in the file; a rule begins in line 6."""
    toml = f'[suite]\nmodule = "suite.py"\n{profile}\n[[rules]]\n{rules}\n'
    project = load_project(write_suite(folder, toml=toml, suite=suite, **files), environ={})
    (name,) = project.profiles
    shown = f"{folder.as_posix()}/"
    return [text.replace(shown, "") for text in rule_warnings(project, build_plan(project, name))]


def rule(require: str, transaction: str = "*", more: str = "") -> str:
    return f'transaction = "{transaction}"\nrequire = "{require}"\n{more}'


NO_DATA = ": the rule has no data there"


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (
            rule("p99.9 <= 1s"),
            f'profile "short" runs "Checkout" 45 times, and p99.9 needs 5,000{NO_DATA} (did you mean "p75 <= 1s"?)',
        ),
        (
            rule("p97 <= baseline + 5%", "Search"),
            (
                f'profile "short" runs "Search" 105 times, and p97 needs 167{NO_DATA} '
                '(did you mean "p95 <= baseline + 5%"?)'
            ),
        ),
        (
            rule("success_rate >= 99% over 10m"),
            (
                f'profile "short" judges no phase as long as 10m, the longest has 15s{NO_DATA} '
                '(did you mean "success_rate >= 99%"?)'
            ),
        ),
        (
            rule("p75 <= 1s over 5s", "Search"),
            None,
        ),
        (
            rule("p90 <= 1s over 5s", "Search"),
            (
                f'profile "short" runs "Search" 35 times in 5s, and p90 needs 50{NO_DATA} '
                '(did you mean "p90 <= 1s over 8s"?)'
            ),
        ),
        (
            rule("p50 <= 1s", "Checkout", 'step = "Pya"'),
            f'no Python file of the suite opens a step "Pya"{NO_DATA} (did you mean "Pay"?)',
        ),
        (rule("p50 <= 1s", "Checkout", 'step = "Pay"'), None),
        (rule("p50 <= 1s", "Checkout", 'step = "(user start)"'), None),
        (rule("p99.9 <= 1s", "Checkout", 'step = "Pay"'), None),
        (rule("p75 <= 1s"), None),
        (rule("count >= 1000000"), None),
        (rule("errors.timeout <= baseline + 5"), None),
    ],
)
def test_a_rule_that_can_have_no_data_is_told_with_line_and_suggestion(
    tmp_path: Path, rules: str, said: str | None
) -> None:
    """What the arrivals, the phases and the steps carry is silent; what they can't is told, and what they would."""
    assert warned(tmp_path, rules) == ([] if said is None else [f"loadproof.toml:6: {said}"])


@pytest.mark.parametrize(
    ("require", "warns"),
    [
        ("p99 <= 1s over 20s", False),
        ("p99 <= 1s over 5s", True),
        ("p99.9 <= 1s over 5m", False),
        ("p99.9 <= 1s", False),
    ],
)
def test_a_window_is_held_against_the_busiest_stretch(tmp_path: Path, require: str, warns: bool) -> None:
    """The end of a ramp to 100/s gives Search 70 a second: 20 s carry a p99, 5 s do not."""
    assert bool(warned(tmp_path, rule(require, "Search"), profile=LONG)) == warns


def test_iterations_are_known_before_the_run_and_users_are_not(tmp_path: Path) -> None:
    """1,000 iterations of which three in ten check out carry no p99; what 10 users do in a minute is open."""
    count = "[profiles.count]\nusers = [{ users = 10, iterations = 1000 }]\n"
    (warning,) = warned(tmp_path / "a", rule("p99 <= 1s", "Checkout"), profile=count)
    assert 'runs "Checkout" 300 times, and p99 needs 500' in warning
    assert warned(tmp_path / "b", rule("p95 <= 1s over 5h", "Checkout"), profile=count) == []
    users = '[profiles.soak]\nusers = [{ users = 10, for = "1m" }]\n'
    assert warned(tmp_path / "c", rule("p99.9 <= 1s over 50s"), profile=users) == []
    (warning,) = warned(tmp_path / "d", rule("p50 <= 1s over 2m"), profile=users)
    assert "no phase as long as 2m" in warning


def test_only_judged_phases_count(tmp_path: Path) -> None:
    """A warm-up gives a rule nothing, unless the rule is about it."""
    warm = '[profiles.warm]\narrivals = [{ name = "up", rate = "10/s", for = "1m", warmup = true }]\n'
    (warning,) = warned(tmp_path / "a", rule("p50 <= 1s"), profile=warm)
    assert f'every phase of profile "warm" is a warm-up{NO_DATA}' in warning
    assert warned(tmp_path / "b", rule("p95 <= 1s", "Search", 'phase = "up"'), profile=warm) == []


def test_a_tag_and_a_phase_must_be_in_the_profile(tmp_path: Path) -> None:
    """A tag that only others of the suite carry, a phase that only another named profile has."""
    mixed = SHORT + 'mix = { "Search" = 1 }\n'
    rules = 'tag = "money"\nrequire = "count > 0"\n'
    (warning,) = warned(tmp_path / "a", rules, profile=mixed)
    assert f'loadproof.toml:7: profile "short" runs no transaction with the tag "money"{NO_DATA}' in warning
    toml = SHORT + LONG + "[[rules]]\n" + rule("count > 0", more='phase = "ramp"\nprofiles = ["short", "long"]\n')
    project = load_project(write_suite(tmp_path / "b", toml=toml), environ={})
    assert rule_warnings(project, build_plan(project, "long")) == ()
    (warning,) = rule_warnings(project, build_plan(project, "short"))
    assert f'profile "short" has no phase "ramp"{NO_DATA}' in warning


@pytest.mark.parametrize(
    "code",
    [
        'def helper(user, name):\n    return user.step("Pay " + name)\n',
        "def helper(user, name):\n    return user.step(name)\n",
        "def helper(user):\n    step = user.step\n    return step\n",
        'def helper(user):\n    return getattr(user, "step")\n',
        'def helper(user):\n    return user.step("Elsewhere")\n',
        "def broken(:\n",
    ],
)
def test_a_step_is_only_told_as_missing_when_the_suite_s_text_is_clear(tmp_path: Path, code: str) -> None:
    """A name put together, `step` passed on, a file that can't be read, a name in another module: nothing is said."""
    rules = rule("p50 <= 1s", "Checkout", 'step = "Elsewhere"')
    assert warned(tmp_path / "a", rules, helpers_DOT_py=code) == []
    assert len(warned(tmp_path / "b", rules)) == 1


def test_a_limit_from_the_baseline_has_no_window(tmp_path: Path) -> None:
    """It would never have data: a mistake, with what is meant."""
    with pytest.raises(ConfigErrors) as caught:
        warned(tmp_path, rule("p95 <= baseline + 10% over 30s"))
    (problem,) = caught.value.problems
    assert (problem.line, problem.suggestion) == (8, '"p95 <= baseline + 10%"')
    assert "not for windows" in problem.message
