#!/usr/bin/env python3
"""Quantize a small matrix as other programs store it, and record what they decode it to.

Writes quantized.safetensors beside this file: for each scheme the tensors of a module as they stand in a checkpoint, and `reference`, the
first two rows and the last one decoded, in f32; its metadata have the `quantization_config` of each. compressed-tensors decodes its own
formats, transformers fp8.
"""

import json

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file
from transformers.integrations.finegrained_fp8 import Fp8Dequantize

from common import HERE

ROWS, COLS = 96, 64
# What a module has beside its weights, or may have for its inputs; no decoder of weights reads
# these.
IDLE = {"input_scale": torch.tensor([0.5])}


def compressed(weight, format, scale_type, symmetric=True, actorder=None, **args):
    """The tensors of a module, its configuration, and what they decode to."""
    args = {"type": "int", "symmetric": symmetric, **args}
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args, actorder=actorder), format=format)
    size = {"tensor": COLS, "channel": COLS}.get(args["strategy"], args.get("group_size"))
    groups = weight.reshape(ROWS, -1, size)
    if args["strategy"] == "tensor":
        groups = weight.reshape(1, 1, -1)
    low, high = groups.amin(-1), groups.amax(-1)
    limit = 448.0 if args["type"] == "float" else 2.0 ** (args["num_bits"] - 1) - 1
    module = {"weight": weight}
    if symmetric:
        module["weight_scale"] = (torch.maximum(-low, high) / limit).to(scale_type)
    else:
        module["weight_scale"] = ((high - low) / (2 * limit + 1)).to(scale_type)
        module["weight_zero_point"] = (-limit - 1 - low / module["weight_scale"].float()).round().clamp(-limit - 1, limit).to(torch.int8)
    if args["strategy"] == "tensor":
        module["weight_scale"] = module["weight_scale"].reshape(1)
    compressor = BaseCompressor.get_value_from_registry(format)
    stored = compressor.compress(module, scheme)
    decoded = compressor.decompress(dict(stored), scheme)["weight"]
    groups = {"group_0": {"targets": ["Linear"], "weights": {**args, "actorder": actorder}}}
    return stored, {"quant_method": "compressed-tensors", "format": format, "config_groups": groups}, decoded


def fp8(weight, block):
    rows, cols = ROWS // block[0], COLS // block[1]
    scale = weight.reshape(rows, block[0], cols, block[1]).abs().amax((1, 3)) / 448
    number = weight.reshape(rows, block[0], cols, block[1]) / scale[:, None, :, None]
    number = number.reshape(ROWS, COLS).to(torch.float8_e4m3fn)
    decoded = Fp8Dequantize(None)._dequantize_one(number, scale)
    config = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": block}
    return {"weight": number, "weight_scale_inv": scale}, config, decoded


if __name__ == "__main__":
    torch.manual_seed(10)
    weight = torch.randn(ROWS, COLS) * 0.1
    bf16, f16, f32 = torch.bfloat16, torch.float16, torch.float32
    group = {"strategy": "group", "num_bits": 4}
    schemes = {
        "fp8-blocks": fp8(weight, [48, 32]),
        "float-tensor": compressed(weight, "float-quantized", bf16, strategy="tensor", num_bits=8, type="float"),
        "float-channel": compressed(weight, "float-quantized", f32, strategy="channel", num_bits=8, type="float"),
        "int-channel": compressed(weight, "int-quantized", bf16, strategy="channel", num_bits=8),
        "packed-groups": compressed(weight, "pack-quantized", bf16, **group, group_size=16),
        "packed-zero-points": compressed(weight, "pack-quantized", f16, symmetric=False, **group, group_size=32),
        "packed-channel": compressed(weight, "pack-quantized", bf16, strategy="channel", num_bits=8),
        "packed-3": compressed(weight, "pack-quantized", f32, strategy="group", num_bits=3, group_size=32),
    }
    tensors, metadata = {}, {}
    for name, (stored, config, decoded) in schemes.items():
        for part, value in {**stored, **IDLE}.items():
            tensors[f"{name}.{part}"] = value.clone().contiguous()
        rows = torch.stack([decoded[0], decoded[1], decoded[-1]])
        tensors[f"{name}.reference"] = rows.float().contiguous()
        metadata[name] = json.dumps(config)
    save_file(tensors, HERE / "quantized.safetensors", metadata)
