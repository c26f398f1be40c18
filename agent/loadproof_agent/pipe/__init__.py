"""The pipe between a supervisor and its worker processes: records, framing, one asyncio end."""

from loadproof_agent.pipe.codec import Decoder, Message, PipeError, encode
from loadproof_agent.pipe.connection import PipeClosedError, PipeConnection

__all__ = ["Decoder", "Message", "PipeClosedError", "PipeConnection", "PipeError", "encode"]
