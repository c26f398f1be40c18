"""The limit of open files: each connection is one, and shells give 1,024 where the system allows a million."""

from __future__ import annotations

import resource

STEPS = (1 << 20, 1 << 16, 10_240, 4_096)
"""Tried from the left: more is of no use, and without a hard limit the kernel may have one of its own (macOS)."""


def raise_open_files() -> int:
    """Raise this process's limit, and that of processes it starts, as far as is allowed without rights; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return STEPS[0]
    for step in STEPS:
        wanted = step if hard == resource.RLIM_INFINITY else min(step, hard)
        if wanted <= soft:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            continue
        return wanted
    return soft
