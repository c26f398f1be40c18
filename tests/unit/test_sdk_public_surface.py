"""What users import is a promise."""

from __future__ import annotations

import loadproof
import loadproof.checks
import loadproof.testing


def test_the_names_of_loadproof_are_pinned() -> None:
    """A name that comes or goes is a decision, not an accident."""
    assert sorted(loadproof.__all__) == [
        "CheckFailed", "Dataset", "DatasetError", "LoadproofError", "Run", "StepFailed", "Suite", "SuiteError",
        "UsageError", "VirtualUser", "__version__",
    ]  # fmt: skip


def test_the_names_of_testing_are_pinned() -> None:
    """What test suites import from `loadproof.testing` stays."""
    assert sorted(loadproof.testing.__all__) == [
        "FakeTarget", "ReceivedRequest", "RecordedCheck", "RecordedError", "RecordedRequest", "RecordedStep",
        "Recording", "run_transaction",
    ]  # fmt: skip


def test_every_public_name_is_there_and_documented() -> None:
    """Each exported name resolves and has a docstring."""
    for module in (loadproof, loadproof.testing, loadproof.checks):
        for name in module.__all__:
            found = getattr(module, name)
            assert isinstance(found, str) or found.__doc__, f"{module.__name__}.{name} has no docstring"


def test_a_virtual_user_has_the_documented_attributes() -> None:
    """The attributes that transactions use are there under the documented names."""
    documented = {"id", "http", "aiohttp", "state", "shared", "random", "step", "check", "think", "log"}
    assert documented <= set(dir(loadproof.VirtualUser))
