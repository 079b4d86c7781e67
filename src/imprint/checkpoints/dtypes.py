"""Storage types of weights, and their exact way to float32 and back.

numpy knows neither bfloat16 nor float8: bfloat16 is held as ``uint16`` (its bits are the upper half
of the float32 of the same value), float8 as ``uint8`` with a table of its 256 values.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Float32 = npt.NDArray[np.float32]

STORAGE: dict[str, np.dtype[np.generic]] = {
    name: np.dtype(kind)
    for name, kind in {
        "F64": "<f8",
        "F32": "<f4",
        "F16": "<f2",
        "BF16": "<u2",
        "F8_E4M3": "u1",
        "F8_E5M2": "u1",
        "F8_E8M0": "u1",
        "I64": "<i8",
        "I32": "<i4",
        "I16": "<i2",
        "I8": "i1",
        "U64": "<u8",
        "U32": "<u4",
        "U16": "<u2",
        "U8": "u1",
        "BOOL": "?",
    }.items()
}
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def to_float32(values: Array, dtype: str) -> Float32:
    """Give the values as float32: exact for every float type of 32 bits or fewer.

    A float64 beyond float32's range becomes infinite.

    Args:
        values: any shape, in the storage type of ``dtype``.
        dtype: a name of ``STORAGE``.

    Returns:
        The same shape. A float32 input is returned as it is, not copied.
    """
    if dtype == "BF16":
        widened: Float32 = np.left_shift(values, 16, dtype=np.uint32).view(np.float32)
        return widened
    if dtype.startswith("F8"):
        return np.asarray(float8_values(dtype)[values])
    with np.errstate(over="ignore"):  # a float64 may be too large
        return values.astype(np.float32, copy=False)


def from_float32(values: Float32, dtype: str) -> Array:
    """Round float32 to a storage type: to nearest, ties to even; NaN stays NaN.

    Values beyond float16's range become infinite, as IEEE 754 has it.

    Args:
        values: any shape.
        dtype: ``F64``, ``F32``, ``F16`` or ``BF16``.

    Raises:
        ValueError: a type that weights are not rounded to (integers, float8).
    """
    if dtype == "BF16":
        return round_to_bfloat16(values)
    if dtype not in ("F64", "F32", "F16"):
        raise ValueError(f"weights are not rounded to {dtype}")
    with np.errstate(over="ignore"):
        return values.astype(STORAGE[dtype], copy=False)


def round_to_bfloat16(values: Float32) -> npt.NDArray[np.uint16]:
    """Round float32 to bfloat16 bits, to nearest, ties to even.

    >>> round_to_bfloat16(np.array([1.0, -2.0], np.float32)).tolist()
    [16256, 49152]
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    rounded = ((bits + half) >> np.uint32(16)).astype(np.uint16)
    missing = np.isnan(values)
    if missing.any():  # the carry would turn some NaN into infinity or zero
        rounded[missing] = ((bits[missing] >> np.uint32(16)) | np.uint32(0x40)).astype(np.uint16)
    return rounded.reshape(np.shape(values))


@cache
def float8_values(dtype: str) -> Float32:
    """Give the 256 values of a float8 type in order of their bits.

    ``F8_E4M3`` is the variant without infinities (its largest value is 448), ``F8_E5M2`` follows
    IEEE 754, ``F8_E8M0`` holds powers of two (arXiv 2209.05433; OCP microscaling formats 1.0).
    """
    bits = np.arange(256)
    if dtype == "F8_E8M0":
        powers = np.ldexp(1.0, bits - 127)
        return np.where(bits == 255, np.nan, powers).astype(np.float32)
    mantissa_bits, bias = (3, 7) if dtype == "F8_E4M3" else (2, 15)
    exponent = (bits & 0x7F) >> mantissa_bits
    fraction = (bits & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
    magnitude = np.where(
        exponent == 0,
        np.ldexp(fraction, 1 - bias),
        np.ldexp(1 + fraction, exponent - bias),
    )
    if dtype == "F8_E4M3":
        magnitude[(bits & 0x7F) == 0x7F] = np.nan
    else:
        magnitude[exponent == 31] = np.where(fraction[exponent == 31] == 0, np.inf, np.nan)
    return np.where(bits & 0x80, -magnitude, magnitude).astype(np.float32)
