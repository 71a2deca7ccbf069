"""One array of a model in the making: its staged file, and the rows that do not fill a step yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import format as fmt
from .codecs import BY_NAME
from .staged import BlockFile, PackedFile
from .staging import DERIVED_PART, SIZES_PARTS


class Part:
    """Rows of one array, written in steps: as many rows as a block of logits has, in one or more blocks.

    All arrays of a model go by the same steps, so that a killed run goes on at the last step that is whole in
    each of them, and no row is of one run here and of another there.

    Parameters
    ----------
    file : BlockFile
        Where its blocks go.
    geometry : Geometry
        Of this array.
    step_rows : int
        Rows of a step, a multiple of those of a block.
    padding : array of the shape and dtype of a row
        What a last block that is not full is filled with.
    """

    def __init__(
        self, file: BlockFile, geometry: fmt.Geometry, step_rows: int, padding: NDArray[Any]
    ) -> None:
        self.file, self.geometry = file, geometry
        self._step_blocks = step_rows // geometry.block_rows
        self._padding = padding
        self._open = np.broadcast_to(padding, (step_rows, *padding.shape)).copy()

    def valid_crcs(self) -> list[int]:
        """Checksums of the leading blocks that are whole."""
        return self.file.valid_crcs(self.geometry.n_blocks)

    def steps(self, n_blocks: int) -> int:
        """Steps that so many leading blocks are enough for."""
        is_all = n_blocks == self.geometry.n_blocks
        return -(-n_blocks // self._step_blocks) if is_all else n_blocks // self._step_blocks

    def keep(self, crcs: list[int], steps: int) -> None:
        """Keep exactly the blocks of these leading steps; cut the rest off."""
        self.file.keep(crcs[: steps * self._step_blocks])

    def hold(self, at: int, rows: NDArray[Any]) -> None:
        """Copy rows to their place in the open step."""
        self._open[at : at + len(rows)] = rows

    def flush(self, n_rows: int) -> None:
        """Write the open step, which has so many rows."""
        self._open[n_rows:] = self._padding
        self.write(self._open, n_rows)

    def write(self, step: NDArray[Any], n_rows: int) -> None:
        """Append the blocks of one step that hold its first rows."""
        size = self.geometry.block_rows
        for start in range(0, n_rows, size):
            self.file.append(step[start : start + size])


def derived_part(folder: Path, geometry: fmt.Geometry, columns: np.dtype[Any]) -> Part:
    """Open the derived columns, packed records, of the model made in a folder."""
    file = BlockFile(folder / DERIVED_PART, geometry.block_rows * columns.itemsize, stays=False)
    return Part(file, geometry, geometry.block_rows, np.zeros((), columns))


def array_part(folder: Path, name: str, geometry: fmt.Geometry, step_rows: int) -> Part:
    """Open an array of the model made in a folder, by the name of its shard."""
    padding, file = np.full(geometry.n_classes, np.nan, geometry.dtype), folder / name
    if geometry.codec == "raw":
        return Part(BlockFile(file, geometry.data_bytes), geometry, step_rows, padding)
    codec = BY_NAME[geometry.codec]
    packed = PackedFile(file, folder / SIZES_PARTS[name], codec, geometry.n_blocks)
    return Part(packed, geometry, step_rows, padding)
