"""What is wrong with a configuration: every mistake at once, each with file, line and what was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from loadproof._errors import LoadproofError


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake. `line` counts from 1; 0 where it is about the file as a whole."""

    file: str
    line: int
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        hint = f" (did you mean {self.suggestion}?)" if self.suggestion else ""
        return f"{place}: {self.message}{hint}"


class ConfigErrors(LoadproofError):
    """A configuration with mistakes. `problems` is never empty; the text has one a line."""

    def __init__(self, problems: Iterable[ConfigProblem]) -> None:
        unique = dict.fromkeys(problems)
        self.problems = tuple(sorted(unique, key=lambda problem: (problem.file, problem.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def closest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that `word` most likely stands for, quoted, or None."""
    listed = list(choices)
    by_folded = {choice.casefold(): choice for choice in listed}
    found = difflib.get_close_matches(word.casefold(), list(by_folded), n=1, cutoff=0.6)
    return f'"{by_folded[found[0]]}"' if found else None


def listing(names: Iterable[str]) -> str:
    """Return names for a sentence: '"a", "b"', or 'none'."""
    return ", ".join(f'"{name}"' for name in names) or "none"
