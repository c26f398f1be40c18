"""What can go wrong in a controller.

ControllerError
├── ServiceError      the service cannot listen, or is used outside `async with`
├── RunRefused        a run cannot be taken: another one is on, or its request contradicts itself
├── RunLogError       the run's log cannot be written or read
├── ClientError       a running controller cannot be reached, or does not do what it was asked for
└── HostileData       an agent sent numbers that cannot be
"""

from __future__ import annotations


class ControllerError(Exception):
    """Root of this package's errors."""


class ServiceError(ControllerError):
    """The service cannot listen at its address, or is not running."""


class RunRefused(ControllerError):
    """A run cannot be taken."""


class RunLogError(ControllerError):
    """The run's log at `path` cannot be written or read."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path = path


class ClientError(ControllerError):
    """A running controller did not do what it was asked for; `code` is gRPC's status name in lower case, or ours.

    `in_doubt`: the whole of a submission was sent and no answer came, so that it may have been taken all the same.
    """

    def __init__(self, code: str, text: str, *, in_doubt: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.in_doubt = in_doubt


class HostileData(ControllerError):
    """An agent sent numbers that cannot be; the text is safe to show to it."""
