"""Deltas on their way into the merged state: read together as they come in a burst, and added up together later."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from loadproof.metrics import Block, CodecError, MergedState, decode_block, decode_blocks
from loadproof_controller.checkpointing import Checkpoints

UNMERGED_MAX = 256
UNMERGED_BYTES_MAX = 16 * 1024 * 1024
"""Deltas that are logged and acked wait in this number and size at most to be added up together, and no longer than a
second."""
TOGETHER_BYTES_MAX = 256 * 1024
"""Deltas that are read together: what is small costs a third that way, what is large gains nothing."""


class Reader:
    """Reads deltas. Those of a burst that were announced by `expect` are read together."""

    def __init__(self) -> None:
        self._read: dict[int, tuple[bytes, Block]] = {}

    def expect(self, deltas: Iterable[bytes]) -> None:
        """Read what is about to be asked for, and forget what was announced before and never asked for."""
        self._read.clear()
        some: list[bytes] = []
        size = 0
        for delta in deltas:
            if size + len(delta) > TOGETHER_BYTES_MAX:
                self._read_together(some)
                some, size = [], 0
            some.append(delta)
            size += len(delta)
        self._read_together(some)

    def _read_together(self, deltas: list[bytes]) -> None:
        if len(deltas) < 2:
            return
        try:
            blocks = decode_blocks(deltas)
        except CodecError:
            return  # one of them is wrong: each is read alone, so that it falls on its sender only
        self._read.update((id(delta), (delta, block)) for delta, block in zip(deltas, blocks, strict=True))

    def block(self, delta: bytes) -> Block:
        """Return what `delta` holds. Raises `CodecError`."""
        known = self._read.pop(id(delta), None)
        return known[1] if known is not None else decode_block(delta)


class Merging:
    """The merged state, and the deltas that wait to be added to it. `failed` is told when adding them goes wrong."""

    def __init__(self, checkpoints: Checkpoints, failed: Callable[[Exception], None]) -> None:
        self.total = MergedState()
        self.checkpoints = checkpoints
        self._failed = failed
        self._waiting: list[Block] = []
        self._bytes = 0

    def add(self, block: Block) -> None:
        """Add a delta, at once or later."""
        self._waiting.append(block)
        self._bytes += block.size_bytes
        if len(self._waiting) >= UNMERGED_MAX or self._bytes >= UNMERGED_BYTES_MAX:
            self.settle()

    def settle(self) -> None:
        """Add up what waits, together and so at a small price; not while a checkpoint is made of the state."""
        if not self._waiting or self.checkpoints.must_wait(len(self._waiting), self._bytes):
            return
        blocks, self._waiting, self._bytes = self._waiting, [], 0
        try:
            self.checkpoints.add(lambda: self.total.apply_all(blocks))
        except Exception as error:  # a mistake of ours: the run is to end and say so
            self._failed(error)
