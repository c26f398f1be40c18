"""The run's log: what was acked is in here first. Records survive `kill -9` of the controller.

A folder with segments, of which `run.log` is the one written to, and checkpoints that stand for the segments before
them; see `folder`. A segment is a file of frames: length and CRC-32 of the payload, both 4 bytes big-endian, then the
payload, a msgpack array whose first item says what it is. A frame cut short or damaged ends the log: everything before
it counts, nothing after it.
"""

from loadproof_controller.runlog.facts import LOG_VERSION, LogFacts
from loadproof_controller.runlog.folder import LOG_NAME, has_log
from loadproof_controller.runlog.log import RunLog
from loadproof_controller.runlog.replaying import Replayed, replay

__all__ = ["LOG_NAME", "LOG_VERSION", "LogFacts", "Replayed", "RunLog", "has_log", "replay"]
