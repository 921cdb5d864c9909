"""Writes photomaker-v2.bin and photomaker-v2.safetensors with the released file's structure, names and sizes, filled
with small normal noise in f16.

Usage: python make_photomaker_shaped.py FOLDER [--lora-rank 64]

For importing at full size without the released weights (1.3 GB each): id_encoder (CLIP ViT-L/14, QFormerPerceiver,
fusion, projections: 543 M parameters, older files' position_ids too) and lora_weights (of SDXL's attention layers; their
rank is a guess, they are passed over). Memory stays under 5 GB. Written for torch 2.15.0, safetensors 0.8.0.
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

# Blocks of SDXL's U-Net with attention: (name, attention layers, transformer blocks in each, width).
LORA_BLOCKS = [
    ("down_blocks.1", 2, 2, 640), ("down_blocks.2", 2, 10, 1280), ("mid_block", 1, 10, 1280),
    ("up_blocks.0", 3, 10, 1280), ("up_blocks.1", 3, 2, 640)]
TEXT_WIDTH = 2048


def linear(shapes, name, outputs, inputs, bias=True):
    shapes[f"{name}.weight"] = (outputs, inputs)
    if bias:
        shapes[f"{name}.bias"] = (outputs,)


def norm(shapes, name, width):
    shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (width,)


def vision(shapes, width=1024, hidden=4096, layers=24):
    name = "vision_model.embeddings"
    shapes[f"{name}.class_embedding"] = (width,)
    shapes[f"{name}.patch_embedding.weight"] = (width, 3, 14, 14)
    shapes[f"{name}.position_embedding.weight"] = (257, width)
    norm(shapes, "vision_model.pre_layrnorm", width)
    for i in range(layers):
        layer = f"vision_model.encoder.layers.{i}"
        for part in "kvq":
            linear(shapes, f"{layer}.self_attn.{part}_proj", width, width)
        linear(shapes, f"{layer}.self_attn.out_proj", width, width)
        norm(shapes, f"{layer}.layer_norm1", width)
        linear(shapes, f"{layer}.mlp.fc1", hidden, width)
        linear(shapes, f"{layer}.mlp.fc2", width, hidden)
        norm(shapes, f"{layer}.layer_norm2", width)
    norm(shapes, "vision_model.post_layernorm", width)


def perceiver(shapes, dim=2048, embedding=512, tokens=2, vision_width=1024, depth=4):
    name = "qformer_perceiver"
    linear(shapes, f"{name}.token_proj.0", 4 * embedding, embedding)
    linear(shapes, f"{name}.token_proj.2", tokens * dim, 4 * embedding)
    norm(shapes, f"{name}.token_norm", dim)
    name += ".perceiver_resampler"
    linear(shapes, f"{name}.proj_in", dim, vision_width)
    linear(shapes, f"{name}.proj_out", dim, dim)
    norm(shapes, f"{name}.norm_out", dim)
    for i in range(depth):
        attention, feed_forward = f"{name}.layers.{i}.0", f"{name}.layers.{i}.1"
        norm(shapes, f"{attention}.norm1", dim)
        norm(shapes, f"{attention}.norm2", dim)
        linear(shapes, f"{attention}.to_q", dim, dim, bias=False)
        linear(shapes, f"{attention}.to_kv", 2 * dim, dim, bias=False)
        linear(shapes, f"{attention}.to_out", dim, dim, bias=False)
        norm(shapes, f"{feed_forward}.0", dim)
        linear(shapes, f"{feed_forward}.1", 4 * dim, dim, bias=False)
        linear(shapes, f"{feed_forward}.3", dim, 4 * dim, bias=False)


def fuse(shapes, dim=2048):
    for name, inputs in (("mlp1", 2 * dim), ("mlp2", dim)):
        norm(shapes, f"fuse_module.{name}.layernorm", inputs)
        linear(shapes, f"fuse_module.{name}.fc1", dim, inputs)
        linear(shapes, f"fuse_module.{name}.fc2", dim, dim)
    norm(shapes, "fuse_module.layer_norm", dim)


def id_encoder():
    shapes = {}
    vision(shapes)
    linear(shapes, "visual_projection", 768, 1024, bias=False)
    linear(shapes, "visual_projection_2", 1280, 1024, bias=False)
    fuse(shapes)
    perceiver(shapes)
    return shapes


def lora(rank):
    shapes = {}
    for block, attentions, blocks, width in LORA_BLOCKS:
        for attention in range(attentions):
            for index in range(blocks):
                for kind, memory in (("attn1", width), ("attn2", TEXT_WIDTH)):
                    name = f"unet.{block}.attentions.{attention}.transformer_blocks.{index}.{kind}.processor"
                    for part, inputs in (("q", width), ("k", memory), ("v", memory), ("out", width)):
                        shapes[f"{name}.to_{part}_lora.down.weight"] = (rank, inputs)
                        shapes[f"{name}.to_{part}_lora.up.weight"] = (width, rank)
    return shapes


def draw(shapes, generator):
    return {name: torch.randn(shape, generator=generator).mul_(0.02).half() for name, shape in shapes.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lora-rank", type=int, default=64)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    parts = {"id_encoder": draw(id_encoder(), generator), "lora_weights": draw(lora(options.lora_rank), generator)}
    parameters = sum(tensor.numel() for tensor in parts["id_encoder"].values())
    assert parameters == 543_395_840, parameters
    parts["id_encoder"]["vision_model.embeddings.position_ids"] = torch.arange(257).unsqueeze(0)
    torch.save(parts, options.folder / "photomaker-v2.bin")
    flat = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
    save_file(flat, options.folder / "photomaker-v2.safetensors")


if __name__ == "__main__":
    main()
