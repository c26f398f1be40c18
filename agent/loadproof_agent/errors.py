"""What can go wrong in an agent.

AgentError                     root; `exit_code` is what `python -m loadproof_agent` ends with
|-- RefusedError               the controller does not let this agent in (wrong version, layout, identity, ...)
|-- UplinkError                the stream broke; `retry` says whether trying again can help
|-- ConfigurationError         the agent was started wrongly
`-- RunError                   a run can't be prepared here; becomes a Problem in the answer to Prepare
"""

from __future__ import annotations

EXIT_INFRASTRUCTURE = 5
EXIT_USAGE = 2


class AgentError(Exception):
    """Root of the agent's errors. `text` is for people: what happened, to what, and what to do."""

    exit_code = EXIT_INFRASTRUCTURE

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class RefusedError(AgentError):
    """The controller does not let this agent in. `code` is one of the wire's refusal codes."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class UplinkError(AgentError):
    """The stream to the controller broke or never came up. `code` is gRPC's status name, in lower case."""

    def __init__(self, code: str, text: str, *, retry: bool) -> None:
        super().__init__(text)
        self.code = code
        self.retry = retry


class ConfigurationError(AgentError):
    """The agent was started wrongly."""

    exit_code = EXIT_USAGE


class RunError(AgentError):
    """A run can't be prepared here. `code` is the Problem's code, `detail` longer text such as a traceback."""

    def __init__(self, code: str, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.detail = detail
