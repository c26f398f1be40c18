"""The controller: takes a run, splits it over agents, merges what they measure, and ends it.

`machine` decides (pure), `runner` carries out, `service` is the gRPC server around both.
"""

from loadproof_controller.errors import ControllerError, RunLogError, RunRefused, ServiceError
from loadproof_controller.request import Progress, RunRequest, TransactionProgress
from loadproof_controller.service import ControllerService

__all__ = [
    "ControllerError",
    "ControllerService",
    "Progress",
    "RunLogError",
    "RunRefused",
    "RunRequest",
    "ServiceError",
    "TransactionProgress",
]
