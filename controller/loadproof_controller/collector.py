"""How often Python looks for cycles in a controller's process."""

from __future__ import annotations

import gc

THRESHOLDS = (20_000, 50, 50)


def settle() -> None:
    """Leave out of every collection what is there now, and collect rarely: messages and deltas make few cycles.

    Measured with 200 agents, a seventh of the controller's processor time went into looking for them.
    """
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
