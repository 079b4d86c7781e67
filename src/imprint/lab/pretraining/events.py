"""Scalars for TensorBoard, written without it.

A file of events is a row of records: length, check sum, content, check sum. The content is a
protocol buffer of a time, a step and a tagged value; only the fields written here are needed.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Mapping
from pathlib import Path

POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), bits reversed


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


TABLE = _table()


class Events:
    """A file of events, one more with each start.

    Args:
        folder: where TensorBoard looks.
        step: at which this file begins; it is part of its name.
    """

    def __init__(self, folder: Path, step: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        begun = time.time()
        name = f"events.out.tfevents.{int(begun)}.imprint.{step}"
        self._handle = (folder / name).open("ab")
        self._write(_double(1, begun) + _bytes(3, b"brain.Event:2"))

    def add(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write the values of a step by tag."""
        values = b"".join(
            _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value))
            for tag, value in scalars.items()
        )
        self._write(_double(1, time.time()) + b"\x10" + _varint(step) + _bytes(5, values))

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def _write(self, content: bytes) -> None:
        length = struct.pack("<Q", len(content))
        sums = (struct.pack("<I", masked_sum(part)) for part in (length, content))
        self._handle.write(length + next(sums) + content + next(sums))
        self._handle.flush()


def masked_sum(content: bytes) -> int:
    """Give the CRC-32C as the format keeps it: turned by 15 bits, plus a constant.

    >>> hex(masked_sum(b"123456789"))
    '0xc78fb0ab'
    """
    total = 0xFFFFFFFF
    for byte in content:
        total = TABLE[(total ^ byte) & 0xFF] ^ total >> 8
    total ^= 0xFFFFFFFF
    return ((total >> 15 | total << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _bytes(field: int, content: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _varint(len(content)) + content


def _double(field: int, value: float) -> bytes:
    return bytes([field << 3 | 1]) + struct.pack("<d", value)
