"""Baselines by name, and the runs they are made of, in the controller's run history."""

from __future__ import annotations

from loadproof_controller.fleet_service import FleetService
from loadproof_controller.run_history import RunHistory
from loadproof_report.history import Baseline, RunFiles

STABLE_DECISIONS = frozenset({"GO", "GO_WITH_RISK"})


class NotStable(Exception):
    """A run that is no baseline; the text says why and what to send."""

    def __init__(self, run_id: str, decision: str) -> None:
        said = decision.replace("_", " ") if decision != "NO_GO" else "NO-GO"
        super().__init__(f'{run_id} ended in {said}: no stable run; "force": true takes it all the same')


class Baselines:
    """All methods read and write a database: call them in a thread. They raise `StoreError` and `ReportError`."""

    def __init__(self, history: RunHistory, service: FleetService) -> None:
        self._history = history
        self._service = service

    def all(self) -> list[Baseline]:
        """Return the baselines by suite, profile and name."""
        with self._history.opened() as store:
            return store.baselines()

    def set(self, run_ids: list[str], name: str, *, force: bool) -> Baseline:
        """Keep runs and name them as a baseline; those of other controllers that share the history, too.

        Raises `NotStable` for a run that ended in NO-GO or NOT PROVEN, unless `force`.
        """
        with self._history.opened() as store:
            for run_id in dict.fromkeys(run_ids):
                files = self._service.files(run_id) if self._service.entry(run_id) is not None else []
                place = next((path.parent for path in files if path.name == "run.json"), None)
                if place is not None:
                    store.record(RunFiles.from_place(place))
                decision = store.entry(run_id).decision
                if decision not in STABLE_DECISIONS and not force:
                    raise NotStable(run_id, decision)
            return store.set_baseline(run_ids, name)

    def unset(self, suite: str, profile: str, name: str) -> bool:
        """Forget a baseline's name; False when there was none."""
        with self._history.opened() as store:
            return store.unset_baseline(suite, profile, name)

    def of_run(self, suite: str, profile: str) -> list[dict[str, bytes]]:
        """Return the files of the stable baseline's runs of a suite's profile, the last stable one first."""
        with self._history.opened() as store:
            found = store.baseline(suite, profile)
            runs = [store.files(run_id) for run_id in (found.run_ids if found is not None else ())]
        return [
            {"run.json": run.result} | ({"intervals.bin": run.intervals} if run.intervals is not None else {})
            for run in runs
        ]
