"""The workflow files of examples/ci: well-formed, and their shell steps do what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadproof_report.history import read_archive
from shop_cli import counted_suite, environment, run_json
from shop_process import running_shop
from tree import ROOT

KIT = ROOT / "examples" / "ci"
GITHUB = KIT / "github" / "load-test.yml"
GITLAB = KIT / "gitlab" / "load-test.gitlab-ci.yml"
JENKINS = KIT / "jenkins" / "Jenkinsfile"

STUB = """#!/bin/sh
# Pretends to be loadproof: notes how it was called, leaves a report, ends with $STUB_CODE.
echo "$@" >> calls
case "$1" in
  run)
    while [ "$#" -gt 0 ]; do [ "$1" = --out ] && mkdir -p "$2" && echo '{}' > "$2/run.json"; shift; done
    exit "${STUB_CODE:-0}" ;;
  baseline) exit "${STUB_STABLE:-0}" ;;
  history) echo baseline > "$4" ;;
esac
"""


def shell(script: str, folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run one step as a runner does: its own shell, stopping at the first failure."""
    return subprocess.run(
        ["/bin/sh", "-e", "-c", script], cwd=folder, env=environment(extra), capture_output=True, text=True,
        stdin=subprocess.DEVNULL, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a project that has copied the kit's script, with a pretended loadproof."""
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "load-test.sh").write_text((KIT / "load-test.sh").read_text())
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "loadproof").write_text(STUB)
    (tmp_path / "bin" / "loadproof").chmod(0o755)
    return tmp_path


def stubbed(script: str, project: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return shell(script, project, PATH=f"{project / 'bin'}:{os.environ['PATH']}", **extra)


def calls(project: Path) -> list[str]:
    file = project / "calls"
    return file.read_text().splitlines() if file.exists() else []


# --- GitHub Actions ---


def github() -> dict[str, Any]:
    workflow: dict[str, Any] = yaml.safe_load(GITHUB.read_text())
    workflow["on"] = workflow.pop(True)  # YAML 1.1 takes the word for a truth
    return workflow


def test_the_github_workflow_is_one() -> None:
    """The keys GitHub requires, each step one thing, actions pinned to a version, permissions of a reader."""
    workflow = github()
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "env", "jobs"}
    assert set(workflow["on"]) == {"pull_request", "push", "workflow_dispatch"}
    assert set(workflow["permissions"].values()) == {"read"}
    for job in workflow["jobs"].values():
        assert {"runs-on", "timeout-minutes", "steps"} <= set(job)
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@v\d+", step.get("uses", "a/b@v1")), step
            assert set(step) <= {"name", "uses", "run", "with", "env", "if", "continue-on-error"}, step
    known = {"github", "vars", "always", "success", "startsWith"}
    for expression in re.findall(r"\$\{\{(.*?)\}\}", GITHUB.read_text()):
        assert set(re.findall(r"\b([a-zA-Z]\w*)(?:\.|\()", expression)) <= known | {"ref_name"}, expression


def test_publishing_never_fails_a_github_job() -> None:
    """What uploads or fetches may fail; only the run decides. Untrusted text never reaches a shell."""
    for job in github()["jobs"].values():
        for step in job["steps"]:
            if "artifact" in step.get("uses", "") or step.get("name") == "Fetch the baseline":
                assert step["continue-on-error"] is True
            assert "${{" not in step.get("run", "")
        names = [step.get("name") for step in job["steps"]]
        assert names.index("Publish") > names.index("Run")
        assert next(step for step in job["steps"] if step.get("name") == "Publish")["if"] == "always()"


def github_step(job: str, name: str) -> dict[str, Any]:
    step: dict[str, Any] = next(s for s in github()["jobs"][job]["steps"] if s.get("name") == name)
    return step


def test_the_baseline_is_fetched_from_the_newest_run_that_has_one(project: Path) -> None:
    """Asked of a pretended `gh`: forks, branches, expired ones are passed over; after a missing one comes the next."""
    if shutil.which("jq") is None:
        pytest.skip("no jq, whose language gh understands")
    artifacts = [
        artifact(11, "v1.0.0-rc.1", "01"), artifact(12, "main", "02"), artifact(13, "v1.1.0-rc.1", "03"),
        artifact(14, "feature", "04"), artifact(15, "v9-rc", "05", fork=True),
        artifact(16, "v1.2.0-rc.1", "06", expired=True), artifact(17, "mainline", "07"),
    ]  # fmt: skip
    (project / "artifacts.json").write_text(json.dumps({"artifacts": artifacts}))
    gh = project / "bin" / "gh"
    gh.write_text(
        '#!/bin/sh\nif [ "$1" = api ]; then\n'
        '  case "$2" in repos/me/shop/actions/artifacts\\?*name=loadproof-baseline*) ;; *) exit 9 ;; esac\n'
        '  exec jq -r "$4" artifacts.json\nfi\necho "$3" >> asked\n'
        '[ "$3" = 12 ] && mkdir -p loadproof-baseline && echo "of $3" > loadproof-baseline/release.lprun\n'
    )
    gh.chmod(0o755)
    script = github_step("release", "Fetch the baseline")["run"]
    done = stubbed(script, project, GITHUB_REPOSITORY="me/shop")
    assert (done.returncode, done.stdout.strip()) == (0, "baseline of run 12"), done.stderr
    assert (project / "asked").read_text().split() == ["13", "12"]
    assert (project / "loadproof-baseline" / "release.lprun").read_text() == "of 12\n"
    gh.write_text("#!/bin/sh\nexit 1\n")
    assert stubbed(script, project, GITHUB_REPOSITORY="me/shop").returncode == 0


def artifact(run: int, branch: str, day: str, *, fork: bool = False, expired: bool = False) -> dict[str, Any]:
    """Return one artefact as GitHub's API lists it."""
    run_of = {"id": run, "repository_id": 1, "head_repository_id": 2 if fork else 1, "head_branch": branch}
    return {"id": run + 1_000, "name": "loadproof-baseline", "expired": expired,
            "created_at": f"2026-11-{day}T10:00:00Z", "workflow_run": run_of}  # fmt: skip


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("load")
def test_the_github_steps_run_for_real(tmp_path: Path) -> None:
    """A release candidate without a baseline, then one with: the report, the summary, the next baseline."""
    counted_suite(
        tmp_path / "load-tests",
        '[profiles.release]\nusers = [{ users = 2, for = "3s" }]',  # who waits for nobody's timetable is never late
    )
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "load-test.sh").write_text((KIT / "load-test.sh").read_text())
    with running_shop() as shop:
        common = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "SHOP_URL": shop.url,
            "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"), "CI": "true",
            "LOADPROOF_SUITE": "load-tests", "LOADPROOF_OUT": "load-report", "LOADPROOF_BUILD": "build42",
        }  # fmt: skip
        step = github_step("release", "Run")
        first = shell(step["run"], tmp_path, **common, **step["env"])
        assert (first.returncode, "no baseline at" in first.stderr) == (0, True), first.stderr
        kept = read_archive(tmp_path / "loadproof-baseline" / "release.lprun").parse().result
        second = shell(step["run"], tmp_path, **common, **step["env"])
    assert second.returncode == 0, second.stderr
    report = run_json(tmp_path / "load-report")
    assert report["comparison"]["baseline_run_id"] == kept.run_id
    after = read_archive(tmp_path / "loadproof-baseline" / "release.lprun").parse().result
    assert after.run_id == report["run_id"]
    assert (tmp_path / "summary.md").read_text().count("build42") >= 2
    assert "::notice title=GO" in second.stdout


# --- the script all three share ---


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5])
def test_the_script_ends_as_the_run_did(project: Path, code: int) -> None:
    """The verdict's exit code reaches the pipeline, whatever comes after."""
    done = stubbed("sh ci/load-test.sh smoke no-go", project, STUB_CODE=str(code))
    assert done.returncode == code
    assert "--profile smoke" in calls(project)[0]
    assert "--fail-on no-go" in calls(project)[0]


def test_only_a_stable_run_becomes_the_baseline(project: Path) -> None:
    """Promotion asks for the verdict; a run that is refused leaves the baseline as it was."""
    release = "sh ci/load-test.sh release"
    stubbed(release, project)
    assert not (project / "loadproof-baseline").exists()
    done = stubbed(release, project, LOADPROOF_PROMOTE="yes", STUB_STABLE="2", STUB_CODE="1")
    assert (done.returncode, "stays as it is" in done.stderr) == (1, True)
    assert not (project / "loadproof-baseline").exists()
    assert stubbed(release, project, LOADPROOF_PROMOTE="yes").returncode == 0
    assert (project / "loadproof-baseline" / "release.lprun").is_file()
    stubbed(release, project)
    assert calls(project)[-1].endswith("--baseline loadproof-baseline/release.lprun")


def test_a_failed_promotion_fails_nothing(project: Path) -> None:
    """Publication is no reason to stop a release."""
    (project / "loadproof-baseline").write_text("a file where the folder should be")
    done = stubbed("sh ci/load-test.sh release", project, LOADPROOF_PROMOTE="yes")
    assert done.returncode == 0, done.stderr


def test_the_script_is_plain_shell() -> None:
    """It parses as POSIX shell and can be run as it is."""
    assert (KIT / "load-test.sh").read_text().startswith("#!/bin/sh\n")
    assert os.access(KIT / "load-test.sh", os.X_OK)
    subprocess.run(["/bin/sh", "-n", str(KIT / "load-test.sh")], check=True)


# --- GitLab ---


def test_the_gitlab_file_is_a_pipeline(project: Path) -> None:
    """Jobs name a stage and scripts, inherit what exists, publish always; their scripts run."""
    pipeline: dict[str, Any] = yaml.safe_load(GITLAB.read_text())
    stages = pipeline["stages"]
    base = pipeline[".load-test"]
    assert base["stage"] in stages
    assert base["artifacts"]["when"] == "always"
    assert base["artifacts"]["reports"]["junit"] == "load-report/junit.xml"
    jobs = {name: job for name, job in pipeline.items() if isinstance(job, dict) and "script" in job}
    assert set(jobs) == {"load smoke", "load release"}
    for name, job in jobs.items():
        assert job["extends"] in pipeline
        assert job["rules"]
        assert set(job) <= {"extends", "timeout", "variables", "rules", "script", "cache"}
        variables = {key: value for key, value in job.get("variables", {}).items() if "$" not in value}
        assert all(isinstance(line, str) for line in job["script"])
        done = stubbed("\n".join(job["script"]), project, **variables)
        assert done.returncode == 0, (name, done.stderr)
    assert jobs["load release"]["cache"]["when"] == "on_success"
    assert "--profile smoke" in calls(project)[0]
    assert (project / "loadproof-baseline" / "release.lprun").is_file()


CURL = """#!/bin/sh
# Pretends to be curl and the registry: the folder $REGISTRY, which may be away.
[ -d "$REGISTRY" ] || exit 7
while [ "$#" -gt 1 ]; do
  case "$1" in --output) out="$2" ;; --upload-file) cp "$2" "$REGISTRY/kept"; exit ;; esac; shift
done
[ -f "$REGISTRY/kept" ] || exit 22
mkdir -p "$(dirname "$out")" && cp "$REGISTRY/kept" "$out"
"""


def test_gitlab_keeps_the_baseline_as_a_package(project: Path) -> None:
    """Fetched before the run and kept after one that passed; neither a lost cache nor a registry away fails it."""
    (project / "bin" / "curl").write_text(CURL)
    (project / "bin" / "curl").chmod(0o755)
    registry = project / "registry"
    kept = project / "loadproof-baseline"
    script = "\n".join(yaml.safe_load(GITLAB.read_text())["load release"]["script"])
    told = {"LOADPROOF_PROMOTE": "yes", "REGISTRY": str(registry), "CI_JOB_TOKEN": "x", "LOADPROOF_BASELINE_URL": "u"}
    assert stubbed(script, project, **told).returncode == 0
    registry.mkdir()
    shutil.rmtree(kept)
    assert stubbed(script, project, **told).returncode == 0
    (registry / "kept").write_text("the last stable run")
    shutil.rmtree(kept)
    failed = stubbed(script, project, **told, STUB_CODE="1", STUB_STABLE="2")
    assert failed.returncode == 1
    assert (kept / "release.lprun").read_text() == "the last stable run"
    assert calls(project)[-2].endswith("--baseline loadproof-baseline/release.lprun")
    assert (registry / "kept").read_text() == "the last stable run"
    assert stubbed(script, project, **told).returncode == 0
    assert (registry / "kept").read_text() == "baseline\n"


# --- Jenkins ---


def test_the_jenkinsfile_is_declarative(project: Path) -> None:
    """Braces balance, the sections stand where Jenkins wants them, and its shell steps run."""
    code, without = groovy(JENKINS)
    top = re.findall(r"^    (\w+)\b", without, re.MULTILINE)
    assert [name for name in top if name != "pipeline"] == ["agent", "options", "environment", "stages", "post"]
    stages = re.findall(r"stage\('([^']+)'\)", code)
    assert stages == ["Install", "Smoke load", "Release load"]
    steps = re.findall(r"\bsh '([^']+)'", code)
    assert steps[0].startswith("python -m venv .venv && .venv/bin/python -m pip install")
    (project / ".venv").mkdir()
    (project / "bin").rename(project / ".venv" / "bin")
    for step in steps[1:]:
        assert shell(step, project, LOADPROOF_PROMOTE="yes").returncode == 0
    assert [call.split()[3] for call in calls(project) if call.startswith("run ")] == ["smoke", "release"]
    assert code.index("catchError") < code.index("junit testResults") < code.index("success {")


def groovy(path: Path) -> tuple[str, str]:
    """Return a file without comments, and that with empty texts; its brackets balance."""
    code = re.sub(r"//.*", "", path.read_text())
    without = re.sub(r"'[^'\n]*'|\"[^\"\n]*\"", "''", code)
    depth = 0
    for char in without:
        depth += (char in "{([") - (char in "})]")
        assert depth >= 0
    assert depth == 0
    return code, without


def within(word: str, code: str) -> list[list[str]]:
    """Return, for each place with `word`, the blocks that it stands in."""
    found: list[list[str]] = []
    blocks: list[str] = []
    for line in code.splitlines():
        if re.search(rf"\b{word}\b", line):
            found.append(list(blocks))
        blocks += [line.strip()] * max(0, line.count("{") - line.count("}"))
        del blocks[len(blocks) - max(0, line.count("}") - line.count("{")) :]
    return found


def test_jenkins_keeps_the_baseline_in_a_job_that_all_tags_share() -> None:
    """Tags start one job with their artefact and copy from it, each allowed to; none of it can fail a build."""
    code, _ = groovy(JENKINS)
    keeper, without = groovy(JENKINS.with_name("baseline.Jenkinsfile"))
    for word in ("copyArtifacts", "archiveArtifacts", "junit", "build job"):
        places = within(word, code)
        assert places, word
        assert all(any("catchError" in block for block in blocks) for blocks in places), word
    assert "copyArtifactPermission('loadproof-baseline')" in code
    assert "projectName: 'loadproof-baseline'" in code
    assert "build job: 'loadproof-baseline'" in code
    top = re.findall(r"^    (\w+)\b", without, re.MULTILINE)
    assert top == ["agent", "options", "parameters", "stages"]
    assert set(re.findall(r"string\(name: '(\w+)'", keeper)) == set(re.findall(r"string\(name: '(\w+)'", code))
    assert "copyArtifactPermission('*')" in keeper
