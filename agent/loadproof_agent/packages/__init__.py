"""The packages that suites need: installed once for a lock, kept apart from our own, given to workers."""

from loadproof_agent.packages.provide import locked_requirements, packages_of
from loadproof_agent.packages.store import PackageStore, Provided

__all__ = ["PackageStore", "Provided", "locked_requirements", "packages_of"]
