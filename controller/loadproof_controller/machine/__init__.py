"""The life of a run as a pure state machine: events in, instructions out, time a parameter, no I/O.

pending -> preparing -> ready -> setup -> running -> draining -> collecting -> teardown -> finished | aborted | failed
"""

from loadproof_controller.machine.config import MachineConfig, OnAgentLoss
from loadproof_controller.machine.run import RunMachine
from loadproof_controller.machine.state import OVER, Phase

__all__ = ["OVER", "MachineConfig", "OnAgentLoss", "Phase", "RunMachine"]
