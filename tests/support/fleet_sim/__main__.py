"""`python -m fleet_sim [SEEDS [FIRST]]`: run many seeds on all cores; a failing one is printed and replays exactly."""

from __future__ import annotations

import sys
import time

from fleet_sim.sweep import sweep


def main(arguments: list[str]) -> int:
    """Run the seeds; 1 when any failed."""
    seeds = int(arguments[0]) if arguments else 1_000
    first = int(arguments[1]) if len(arguments) > 1 else 0
    began, failures = time.monotonic(), 0
    for text in sweep(first, seeds):
        if text:
            failures += 1
            print(text, flush=True)
    took_s = time.monotonic() - began
    print(f"{seeds} seeds from {first}: {failures} failed, {took_s:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
