"""Documentation that cannot rot unseen: links resolve, pages are reachable, the command line reference is complete."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import typer

import loadproof
import loadproof.testing
import tree
from loadproof.checks import check_response
from loadproof.http import HttpClient
from loadproof.http.call import RequestOptions
from loadproof_cli.app import app

LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    return [path for path in tree.files() if path.suffix == ".md"]


def prose(page: Path) -> str:
    return FENCED.sub("", tree.source(page))


def links(page: Path) -> list[str]:
    return [link for link in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """Return the anchors that headings get where Markdown is shown."""
    found = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(page)))
    return {heading.strip().replace(" ", "-") for heading in found}


def resolved(page: Path, link: str) -> Path:
    target = link.partition("#")[0]
    return page if not target else Path(*(page.parent / target).parts)


def normal(path: Path) -> Path:
    return (tree.ROOT / path).resolve().relative_to(tree.ROOT)


def test_links_lead_somewhere() -> None:
    """Every relative link names a file, and every anchor a heading in it."""
    broken = []
    for page in pages():
        for link in links(page):
            target = normal(resolved(page, link))
            if not (tree.ROOT / target).exists():
                broken.append(f"{page}: {link}")
                continue
            anchor = link.partition("#")[2]
            if anchor and target.suffix == ".md" and anchor not in anchors(target):
                broken.append(f"{page}: {link}")
    assert not broken


def test_every_page_is_reachable_from_the_index() -> None:
    """Following links from docs/README.md one comes to every page of docs/."""
    reached: set[Path] = set()
    waiting = [Path("docs/README.md")]
    while waiting:
        page = waiting.pop()
        if page in reached or not (tree.ROOT / page).is_file() or page.suffix != ".md":
            continue
        reached.add(page)
        waiting += [normal(resolved(page, link)) for link in links(page)]
    assert {page for page in pages() if page.parts[0] == "docs"} - reached == set()


def test_decisions_are_listed_by_number_under_their_titles() -> None:
    """docs/README.md lists every decision once, in the order of their numbers, each under the heading it has."""
    files = sorted(path for path in pages() if path.parent == Path("docs/decisions"))
    index = tree.source(Path("docs/README.md"))
    listed = re.findall(r"^- \[(.+)\]\(decisions/(.+)\)$", index, re.MULTILINE)
    assert listed == [(tree.source(path).partition("\n")[0].removeprefix("# "), path.name) for path in files]
    assert all(title.startswith(f"{int(name[:4])}. ") for title, name in listed)
    assert len({name[:4] for _, name in listed}) == len(files)


def test_the_command_line_reference_names_every_command_and_option() -> None:
    """docs/reference/cli.md has a section for each command, with each of its options."""
    text = (tree.ROOT / "docs/reference/cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### `loadproof ([^\s`]+)[^\n]*\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL))
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]  # a group has them
    assert set(sections) == {*commands, "--version"}
    for name, command in commands.items():
        for part in (command, *getattr(command, "commands", {}).values()):
            for option in (option for parameter in part.params for option in parameter.opts):
                if option.startswith("-") and option not in {"--help", "-h"}:
                    assert f"`{option}`" in sections[name], f"{name} {option}"


def test_the_sdk_reference_names_everything_public() -> None:
    """docs/reference/sdk.md names every export, and each public member of what suites hold in their hands."""
    text = (tree.ROOT / "docs/reference/sdk.md").read_text(encoding="utf-8")
    names = {*loadproof.__all__, *loadproof.testing.__all__} - {"__version__", "Dataset"}
    methods = {name for name in vars(HttpClient) if not name.startswith("_")}
    names |= {"get", "post", "put", "patch", "delete", "head", "options", "request", "reset"} & methods
    names |= {name for name in dir(loadproof.VirtualUser) if not name.startswith("_")} - {"started", "waited"}
    names |= {name for name in dir(loadproof.Run) if not name.startswith("_")}
    names |= set(RequestOptions.__annotations__)
    names |= set(inspect.signature(check_response).parameters) - {"response"}
    names |= {"transaction", "dataset", "setup", "teardown", "on_user_start"}
    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_the_make_targets_that_texts_name_exist() -> None:
    """`make x` in README, CONTRIBUTING and docs names a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (tree.ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in pages():
        named = set(re.findall(r"(?:`|\$ )make ([a-z-]+)", tree.source(page)))
        assert named <= targets, page


def test_the_vocabulary_covers_the_verdicts() -> None:
    """The four verdicts are spelled the same wherever they are listed."""
    for page in ("README.md", "docs/reference/vocabulary.md"):
        text = (tree.ROOT / page).read_text(encoding="utf-8")
        assert all(word in text for word in ("GO WITH RISK", "NO-GO", "NOT PROVEN")), page
