"""Writes a checkpoint folder with CogVideoX-5B's shapes, names and layout, filled with small normal noise in bf16.

Usage: python make_5b_shaped.py FOLDER [--layers 42] [--text-layers 24] [--without text_encoder] [--without vae] ...

For loading, memory and speed at full size, without the released weights (21 GB in all). Tensors are drawn and written in
pieces: memory stays under 2 GB (mostly torch itself). Written for torch 2.9.0, diffusers 0.42.1, transformers 5.23.0.
"""

import argparse
import json
import math
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from transformers import T5Config, T5EncoderModel

TOKENIZER = Path(__file__).resolve().parent.parent / "goldens" / "t5" / "tokenizer"
SHARD_BYTES = 5_000_000_000  # as the released folders: two shards each for transformer and text encoder
PIECE = 1 << 24  # numbers drawn at a time
PARTS = ["transformer", "text_encoder", "vae", "tokenizer", "scheduler"]

TRANSFORMER = dict(
    activation_fn="gelu-approximate", attention_bias=True, attention_head_dim=64, dropout=0.0, flip_sin_to_cos=True,
    freq_shift=0, in_channels=16, max_text_seq_length=226, norm_elementwise_affine=True, norm_eps=1e-5,
    num_attention_heads=48, num_layers=42, out_channels=16, patch_size=2, sample_frames=49, sample_height=60,
    sample_width=90, spatial_interpolation_scale=1.875, temporal_compression_ratio=4, temporal_interpolation_scale=1.0,
    text_embed_dim=4096, time_embed_dim=512, timestep_activation_fn="silu", use_learned_positional_embeddings=False,
    use_rotary_positional_embeddings=True)
TEXT_ENCODER = dict(
    d_ff=10240, d_kv=64, d_model=4096, dropout_rate=0.1, feed_forward_proj="gated-gelu", is_encoder_decoder=True,
    layer_norm_epsilon=1e-6, num_heads=64, num_layers=24, relative_attention_max_distance=128,
    relative_attention_num_buckets=32, vocab_size=32128)
VAE = dict(
    act_fn="silu", block_out_channels=[128, 256, 256, 512], down_block_types=["CogVideoXDownBlock3D"] * 4, in_channels=3,
    latent_channels=16, layers_per_block=3, norm_eps=1e-6, norm_num_groups=32, out_channels=3, sample_height=480,
    sample_width=720, scaling_factor=0.7, temporal_compression_ratio=4, up_block_types=["CogVideoXUpBlock3D"] * 4,
    use_post_quant_conv=False, use_quant_conv=False)
SCHEDULER = dict(
    _class_name="CogVideoXDDIMScheduler", beta_end=0.012, beta_schedule="scaled_linear", beta_start=0.00085,
    clip_sample=False, clip_sample_range=1.0, num_train_timesteps=1000, prediction_type="v_prediction",
    rescale_betas_zero_snr=True, sample_max_value=1.0, set_alpha_to_one=True, snr_shift_scale=1.0, steps_offset=0,
    timestep_spacing="trailing", trained_betas=None)
CLASSES = {
    "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5Tokenizer"],
    "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLCogVideoX"],
}


def shapes(make):
    """Names and shapes of a model's tensors, built without memory for them; tied tensors once."""
    with torch.device("meta"):
        return {name: tuple(parameter.shape) for name, parameter in make().named_parameters()}


def draw(name, shape, file, generator):
    """Write one tensor as little-endian bf16: norm scales around 1, matrices at a scale that keeps activations near 1."""
    centre = 1.0 if len(shape) == 1 and "norm" in name and name.endswith("weight") else 0.0
    deviation = 0.02 if len(shape) == 1 else 0.5 / math.sqrt(math.prod(shape[1:]))
    left = math.prod(shape)
    while left:
        count = min(left, PIECE)
        values = torch.randn(count, generator=generator).mul_(deviation).add_(centre)
        file.write(values.bfloat16().view(torch.int16).numpy().astype("<i2", copy=False).tobytes())
        left -= count


def write_safetensors(path, tensors, generator):
    """Stream a safetensors file: length of the header, header, then each tensor in order."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors.items():
            draw(name, shape, file, generator)


def write_weights(folder, stem, tensors, generator):
    """One file, or shards with an index where it would pass SHARD_BYTES."""
    shards, filled = [{}], 0
    for name, shape in tensors.items():
        size = 2 * math.prod(shape)
        if shards[-1] and filled + size > SHARD_BYTES:
            shards.append({})
            filled = 0
        shards[-1][name] = shape
        filled += size
    if len(shards) == 1:
        write_safetensors(folder / f"{stem}.safetensors", tensors, generator)
        return
    places = {}
    for i, shard in enumerate(shards, 1):
        file_name = f"{stem}-{i:05}-of-{len(shards):05}.safetensors"
        print(f"{folder.name}/{file_name}: {len(shard)} tensors", flush=True)
        write_safetensors(folder / file_name, shard, generator)
        places |= dict.fromkeys(shard, file_name)
    total = sum(2 * math.prod(shape) for shape in tensors.values())
    write_json(folder / f"{stem}.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": places})


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=42, help="transformer blocks")
    parser.add_argument("--text-layers", type=int, default=24, help="T5 blocks")
    parser.add_argument("--without", action="append", default=[], choices=PARTS, help="leave a part out (repeatable)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    parts = [part for part in PARTS if part not in options.without]
    generator = torch.Generator().manual_seed(options.seed)
    for part in parts:
        (options.folder / part).mkdir(parents=True, exist_ok=True)

    if "tokenizer" in parts:
        shutil.copytree(TOKENIZER, options.folder / "tokenizer", dirs_exist_ok=True)
    if "scheduler" in parts:
        write_json(options.folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    if "vae" in parts:
        folder = options.folder / "vae"
        write_json(folder / "config.json", {"_class_name": "AutoencoderKLCogVideoX"} | VAE)
        write_weights(folder, "diffusion_pytorch_model", shapes(lambda: AutoencoderKLCogVideoX(**VAE)), generator)
    if "transformer" in parts:
        folder = options.folder / "transformer"
        config = TRANSFORMER | {"num_layers": options.layers}
        write_json(folder / "config.json", {"_class_name": "CogVideoXTransformer3DModel"} | config)
        write_weights(folder, "diffusion_pytorch_model", shapes(lambda: CogVideoXTransformer3DModel(**config)), generator)
    if "text_encoder" in parts:
        folder = options.folder / "text_encoder"
        config = TEXT_ENCODER | {"num_layers": options.text_layers}
        extra = {"architectures": ["T5EncoderModel"], "model_type": "t5", "dense_act_fn": "gelu_new", "is_gated_act": True,
                 "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
        write_json(folder / "config.json", config | extra)
        write_weights(folder, "model", shapes(lambda: T5EncoderModel(T5Config(**config))), generator)
    index = {"_class_name": "CogVideoXPipeline", "_diffusers_version": "0.42.1"}
    write_json(options.folder / "model_index.json", index | {part: CLASSES[part] for part in sorted(parts)})


if __name__ == "__main__":
    main()
