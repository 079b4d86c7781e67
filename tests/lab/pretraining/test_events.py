"""Events that TensorBoard reads."""

from __future__ import annotations

import struct
from pathlib import Path

from imprint.lab.pretraining.events import Events, masked_sum


def records(path: Path) -> list[bytes]:
    raw, found = path.read_bytes(), []
    while raw:
        (length,) = struct.unpack("<Q", raw[:8])
        (first,) = struct.unpack("<I", raw[8:12])
        content = raw[12 : 12 + length]
        (second,) = struct.unpack("<I", raw[12 + length : 16 + length])
        assert first == masked_sum(raw[:8])
        assert second == masked_sum(content)
        found.append(content)
        raw = raw[16 + length :]
    return found


def test_check_sum_is_the_known_one() -> None:
    # CRC-32C of the digits is e3069283; the format turns and shifts it
    plain = 0xE3069283
    masked = ((plain >> 15 | plain << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_sum(b"123456789") == masked


def test_scalars_are_records(tmp_path: Path) -> None:
    events = Events(tmp_path)
    events.add(300, {"loss": 2.5})
    events.close()
    (file,) = tmp_path.iterdir()
    first, second = records(file)
    assert first.endswith(b"brain.Event:2")
    assert second[9:12] == b"\x10\xac\x02"  # step 300
    assert b"loss" in second
    assert second.endswith(struct.pack("<f", 2.5))
