"""A request or a pause without `await` looks right and does nothing: `check` names its line."""

from __future__ import annotations

from pathlib import Path

from loadproof.config.awaiting import never_awaited

SUITE = """\
async def buy(self, user):
    user.http.get("/a")
    await user.http.get("/b")
    async with user.step("x"):
        user.think(1)
        user.think.lognormal(1, 2)
        await user.think(1)
    later = user.http.post("/c")
    await later
    user.log.info("think")
    self.user.http.request("GET", "/d")
    settings.http.get("key")
    agent.think(1)
    user.think
    user.check("x", True)
"""


def test_statements_that_only_call_are_found(tmp_path: Path) -> None:
    """What is awaited, kept or something else is left alone."""
    (tmp_path / "suite.py").write_text(SUITE)
    found = never_awaited(tmp_path)
    assert [(file, line) for file, line, _ in found] == [("suite.py", n) for n in (2, 5, 6, 11)]
    assert found[0][2].startswith("user.http.get(...) is not awaited: ")
    assert found[2][2] == "user.think.lognormal(...) is not awaited: it does not wait"


def test_other_modules_of_the_suite_are_read_and_broken_ones_passed_over(tmp_path: Path) -> None:
    """A file that is no Python is told by whoever imports it."""
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "a.py").write_text("async def f(user):\n    user.think(2)\n")
    (tmp_path / "flows" / "b.py").write_text("def (:\n")
    (tmp_path / "flows" / "c.py").write_text("async def f(user):\n    user.http.get('/')\n")
    assert [(file, line) for file, line, _ in never_awaited(tmp_path)] == [("flows/a.py", 2), ("flows/c.py", 2)]


def test_a_chain_of_calls_too_long_to_be_followed_ends_nothing(tmp_path: Path) -> None:
    """Python runs it; what the other files hold is found all the same."""
    (tmp_path / "a.py").write_text("async def f(query):\n    query" + ".more()" * 1_000 + "\n")
    (tmp_path / "b.py").write_text("async def f(user):\n    user.think(2)\n")
    assert [(file, line) for file, line, _ in never_awaited(tmp_path)] == [("b.py", 2)]
