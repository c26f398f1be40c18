"""The HTTP engine of a suite: one place where its own settings of the client are put to use."""

from __future__ import annotations

from loadproof._suite import Suite
from loadproof.http import HttpEngine, TargetPolicy, TlsOptions
from loadproof.runtime.redact import Redactor


def engine_of(
    suite: Suite, tls: TlsOptions, redactor: Redactor, *, policy: TargetPolicy | None = None, timeout_ns: int
) -> HttpEngine:
    """Return an engine, not yet started, for requests of `suite`; `tls` is the suite's, resolved.

    Headers that hold one of `redactor`'s secrets stay with the suite's own origin.
    """
    return HttpEngine(
        policy=policy, timeout_ns=timeout_ns, tls=tls, stages=suite.stages, limits=suite.limits,
        holds_secret=redactor.holds_secret,
    )  # fmt: skip
