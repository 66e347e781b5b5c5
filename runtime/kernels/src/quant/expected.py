#!/usr/bin/env python3
"""Expected values of decoding, by gguf-py (`pip install gguf==0.19.0`).

    expected.py            writes expected.txt: for each type a hash of all values of its blocks
    expected.py TYPE       prints the values
    expected.py grids      prints the sets of grid.rs

The blocks of a type: 64 of random bytes; one of zeros; one of 0xff; then, for each narrow field of 16
bits, three of random bytes with that field infinite, negative infinite and NaN. `tests.rs` makes the
same ones.
"""

import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants

# Where blocks have narrow fields of 16 bits.
NARROW = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ3_XXS": [0], "IQ1_S": [0],
    "IQ4_NL": [0], "IQ3_S": [0], "IQ2_S": [0], "IQ4_XS": [0, 2], "IQ1_M": [], "TQ1_0": [52], "TQ2_0": [64],
    "MXFP4": [], "Q1_0": [0], "Q2_0": [0],
}  # fmt: skip

# Number, elements and bytes of types that gguf-py cannot decode, and what ggml-quants.c does
# (`dequantize_row_q1_0`, `dequantize_row_q2_0`).
OWN = {"Q1_0": (41, 128, 18), "Q2_0": (42, 64, 18)}


def own(name, blocks):
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    size = 1 if name == "Q1_0" else 2
    shifts = np.arange(0, 8, size, dtype=np.uint8)
    q = (blocks[:, 2:, None] >> shifts & (1 << size) - 1).reshape(len(blocks), -1).astype(np.float32)
    return (2 * q - 1) * scale if name == "Q1_0" else (q - 1) * scale


def number_and_size(name):
    if name in OWN:
        return OWN[name]
    kind = GGMLQuantizationType[name]
    return (kind.value, *GGML_QUANT_SIZES[kind])


def random_bytes(seed):
    """The highest bytes of a linear congruential generator, constants of Knuth's MMIX."""
    state = seed
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 56


def blocks(name):
    number, _, size = number_and_size(name)
    random = random_bytes(number)
    block = lambda: bytearray(next(random) for _ in range(size))
    made = [block() for _ in range(64)] + [bytearray(size), bytearray([0xFF] * size)]
    for at in NARROW[name]:
        for bits in [0x7C00, 0xFC00, 0x7E00]:
            made.append(block())
            made[-1][at : at + 2] = bits.to_bytes(2, "little")
    return np.frombuffer(b"".join(made), np.uint8).reshape(-1, size)


def decoded(name):
    data = blocks(name)
    with np.errstate(all="ignore"):
        if name in OWN:
            return own(name, data)
        # A copy: gguf-py reads wider integers from its rows, and they have to be aligned.
        return quants.dequantize(data.copy(), GGMLQuantizationType[name])


def digest(values):
    """FNV-1a of the bits of 32-bit floats, all NaNs the same."""
    bits = np.where(np.isnan(values), np.uint32(0x7FC00000), values.astype(np.float32).view(np.uint32))
    digest = 0xCBF29CE484222325
    for byte in bits.astype("<u4").tobytes():
        digest = (digest ^ byte) * 0x100000001B3 % 2**64
    return digest


def grids():
    for kind in [quants.IQ3_S, quants.IQ3_XXS, quants.IQ2_XXS, quants.IQ2_XS, quants.IQ2_S, quants.IQ1_S]:
        kind.init_grid()
        points = np.searchsorted(kind.grid_map, kind.grid.reshape(kind.grid_shape))
        base, count = len(kind.grid_map), kind.grid_shape[1]
        places = points @ base ** np.arange(count)
        bits = np.zeros(-(-(base**count) // 4) * 4, int)
        bits[places] = 1
        digits = "".join(f"{digit:x}" for digit in bits.reshape(-1, 4) @ [1, 2, 4, 8])
        print(kind.__name__, kind.grid_map)
        print("\n".join(digits[i : i + 92] for i in range(0, len(digits), 92)))


def main():
    match sys.argv[1:]:
        case ["grids"]:
            grids()
        case [name]:
            np.set_printoptions(threshold=sys.maxsize)
            print(decoded(name))
        case _:
            lines = [f"{name} {digest(decoded(name)):016x}\n" for name in NARROW]
            Path(__file__).with_name("expected.txt").write_text("".join(lines))


main()
