"""Makes a submission of an uploaded suite, in a process of its own: importing a suite runs its code.

Run as `python -I -m loadproof_controller.web.prepare` in a folder with `suite.zip`, settings as JSON on stdin. Leaves
`submission.json` and `bundle.zip`, or `problems.txt`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import orjson

from loadproof.bundle import BundleError, build_bundle, extract_bundle
from loadproof.config import ConfigErrors, build_plan, load_project, rule_warnings, rules_for, run_spec, secret_values
from loadproof.config.project import CONFIG_NAME, Project
from loadproof_controller.submission import Submission, encode_submission
from loadproof_controller.web.sandbox import confine
from loadproof_report.rundata import BundleInfo, EnvironmentInfo

PROFILES_SHOWN = 20
CPU_S_MAX = 60
MEMORY_BYTES_MAX = 2 << 30
FILE_BYTES_MAX = 128 << 20


class NotASuiteError(Exception):
    """The upload is no suite, or not all of one; the text says what is missing."""


def main() -> int:
    """Prepare; exit code 0 also where problems were found and told."""
    settings: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    here = Path.cwd()
    _limit()
    confine(here)
    try:
        submission, bundle = prepare(here, settings)
    except (NotASuiteError, BundleError, ConfigErrors) as error:
        (here / "problems.txt").write_text(_as_uploaded(str(error), here), encoding="utf-8")
        return 0
    (here / "bundle.zip").write_bytes(bundle)
    (here / "submission.json").write_bytes(encode_submission(submission))
    return 0


def _as_uploaded(text: str, here: Path) -> str:
    """Return text about the suite's files, named as in the zip: where they lie on this machine is nobody's business."""
    return text.replace(f"{here / 'suite'}/", "").replace(f"{here / 'inner'}/", "")


def _limit() -> None:
    """Bound what importing a suite may take. In here, not in the parent's fork: that has threads of gRPC."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, FILE_BYTES_MAX))
    with contextlib.suppress(ValueError, OSError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))


def prepare(here: Path, settings: dict[str, Any]) -> tuple[Submission, bytes]:
    """Return submission and bundle of the zip in `here`. Raises NotASuiteError, BundleError and ConfigErrors."""
    folder = _unpack(here)
    environ = {**settings["variables"], **settings["secrets"]}
    project = load_project(folder, environ=environ)
    profile = _profile(project, settings["profile"])
    plan = build_plan(project, profile)
    bundle = build_bundle(project.folder, project.required_files)
    environment = project.environment
    hidden = dict.fromkeys(environment.secrets, "[redacted]")
    submission = Submission(
        run_id=settings["run_id"],
        plan=plan.to_dict(),
        spec=run_spec(project).to_dict(),
        bundle=BundleInfo(bundle.sha256, requirements_sha256=lock.sha256 if (lock := project.requirements) else None),
        bundle_bytes=len(bundle.data),
        secrets=secret_values(project, environ),
        rules=rules_for(project, plan),
        agents_wanted=settings["agents"],
        labels=settings["labels"],
        wait_for_agents_s=settings["wait_for_agents_s"],
        environment=EnvironmentInfo(
            name=environment.name,
            base_url=project.suite.resolved_base_url(project.variables, hidden),
            targets=environment.targets,
            max_rate=environment.max_rate_text,
            secrets=environment.secrets,
        ),
        build=settings["build"] or environment.build,
        warnings=tuple(_as_uploaded(text, here) for text in (*project.warnings, *rule_warnings(project, plan))),
    )
    return submission, bundle.data


def _unpack(here: Path) -> Path:
    """Unpack the zip and return the folder with loadproof.toml: the top, or the only folder in it."""
    raw = here / "suite.zip"
    data = _without_folders(raw)
    into = here / "suite"
    extract_bundle(data, hashlib.sha256(data).hexdigest(), into)
    raw.unlink()
    if (into / CONFIG_NAME).is_file():
        return into
    inside = [path for path in into.iterdir() if (path / CONFIG_NAME).is_file()]
    if len(inside) != 1:
        raise NotASuiteError(f"this is no suite: the zip has no {CONFIG_NAME} at its top, or in its only folder")
    inner = here / "inner"
    shutil.move(inside[0], inner)
    return inner


def _without_folders(path: Path) -> bytes:
    """Return the zip without entries of folders, which tools put in and bundles do not have."""
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > 20_000 or not any(entry.is_dir() for entry in entries):
                return data
            if sum(entry.file_size for entry in entries) > 256 << 20:
                return data
            thinned = path.with_name("thinned.zip")
            with zipfile.ZipFile(thinned, "w", zipfile.ZIP_STORED) as out:
                for entry in entries:
                    if not entry.is_dir():
                        out.writestr(zipfile.ZipInfo(entry.filename), archive.read(entry))
            return thinned.read_bytes()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise NotASuiteError(f"this is no suite: it cannot be read as a zip ({error})") from None


def _profile(project: Project, wanted: str) -> str:
    names = list(project.profiles)
    if not wanted and len(names) == 1:
        return names[0]
    if wanted not in names:
        there = ", ".join(names[:PROFILES_SHOWN])
        raise NotASuiteError(f"profile: there is no {wanted!r}" if wanted else f"profile: choose one of {there}")
    return wanted


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads that a suite started at import are not waited for
