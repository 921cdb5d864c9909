"""CLIP vision towers, CLIP preprocessing and a PhotoMaker-V2-shaped checkpoint, all tiny, with expected results.

usage: make_vision.py [OUT_DIR]      needs: torch, transformers, pillow, safetensors
Writes OUT_DIR/<quick_gelu|gelu>/ = config.json, model.safetensors, preprocessor_config.json (a Hugging Face folder) and
expected.safetensors (pixel_values, last_hidden_state, penultimate); OUT_DIR/drawing_<w>x<h>.png and
preprocessing.safetensors (pixel values that CLIPImageProcessor gives for each); OUT_DIR/photomaker/ =
photomaker-v2.bin and .safetensors (the same tensors in both layouts), config.json (the tower's) and expected.safetensors.
"""
import json
import os
import sys
import warnings

import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from adapter_reference import Adapter

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


def preprocessor(size):
    return {"image_processor_type": "CLIPImageProcessor", "do_resize": True, "size": {"shortest_edge": size}, "resample": 3,
            "do_center_crop": True, "crop_size": {"height": size, "width": size}, "do_rescale": True, "rescale_factor": 1 / 255,
            "do_normalize": True, "image_mean": MEAN, "image_std": STD, "do_convert_rgb": True}


def randomise(module, generator):
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim > 1:
                p.copy_(noise / p[0].numel() ** 0.5)
            else:
                p.copy_(0.2 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))


def tower(act, generator, layers=3, width=16, image=28, patch=14):
    config = CLIPVisionConfig(hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers, num_attention_heads=2,
                              image_size=image, patch_size=patch, hidden_act=act, projection_dim=8)
    model = CLIPVisionModel(config).eval()
    randomise(model, generator)
    return model


@torch.no_grad()
def features(model, pixels):
    out = model(pixel_values=pixels, output_hidden_states=True)
    assert torch.equal(out.hidden_states[-1], out.last_hidden_state)  # no final norm on the tokens
    return {"pixel_values": pixels, "last_hidden_state": out.last_hidden_state, "penultimate": out.hidden_states[-2]}


def named(model):
    """The weights under the names that released checkpoints use."""
    weights = {}
    for name, value in model.state_dict().items():
        if "position_ids" not in name:
            weights[name if name.startswith("vision_model.") else "vision_model." + name] = value.contiguous()
    return weights


def write(folder, name, tensors):
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, os.path.join(folder, name + ".safetensors"))


def write_json(folder, name, content):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "w") as f:
        json.dump(content, f, indent=1)


def drawing(width, height):
    """Gradients and shapes: smooth parts, hard edges and thin lines."""
    image = Image.new("RGB", (width, height))
    image.putdata([((255 * x) // width, (255 * y) // height, (x * y) % 256) for y in range(height) for x in range(width)])
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.2, height * 0.1, width * 0.6, height * 0.5), fill=(250, 240, 20))
    draw.rectangle((width * 0.5, height * 0.55, width * 0.9, height * 0.8), fill=(10, 30, 200), outline=(255, 255, 255))
    for i in range(0, width, 9):
        draw.line((i, height - 1, width - i, height * 0.7), fill=(255, 0, i % 256))
    return image


def towers(out, generator):
    for act in ("quick_gelu", "gelu"):
        model = tower(act, generator, image=28 if act == "quick_gelu" else 24, patch=14 if act == "quick_gelu" else 8)
        folder = os.path.join(out, act)
        config = model.config
        write_json(folder, "config.json", {
            "architectures": ["CLIPVisionModel"], "model_type": "clip_vision_model", "attention_dropout": 0.0, "hidden_act": act,
            "hidden_size": config.hidden_size, "image_size": config.image_size, "initializer_factor": 1.0, "initializer_range": 0.02,
            "intermediate_size": config.intermediate_size, "layer_norm_eps": 1e-05, "num_attention_heads": config.num_attention_heads,
            "num_channels": 3, "num_hidden_layers": config.num_hidden_layers, "patch_size": config.patch_size,
            "projection_dim": config.projection_dim})
        write_json(folder, "preprocessor_config.json", preprocessor(config.image_size))
        write(folder, "model", named(model))
        write(folder, "expected", features(model, torch.randn(2, 3, config.image_size, config.image_size, generator=generator)))


def preprocessing(out):
    expected = {}
    # wider than high and enlarged or shrunk, odd differences so that the centre crop rounds, one exact square
    for width, height, size in ((53, 37, 28), (31, 47, 28), (20, 33, 28), (150, 101, 24), (28, 28, 28)):
        image = drawing(width, height)
        name = f"drawing_{width}x{height}"
        image.save(os.path.join(out, name + ".png"))
        processor = CLIPImageProcessorPil(**{k: v for k, v in preprocessor(size).items() if k != "image_processor_type"})
        expected[f"{name}.{size}"] = processor(image, return_tensors="pt")["pixel_values"][0]
    write(out, "preprocessing", expected)


def photomaker(out, generator):
    """Keys and layout of photomaker-v2.bin, with the released file's ratios between the sizes."""
    folder, width, dim, embed, tokens = os.path.join(out, "photomaker"), 16, 24, 10, 2
    model = tower("quick_gelu", generator, layers=2, width=width)
    encoder = named(model)

    def tensor(name, *shape):
        noise = torch.randn(shape, generator=generator)
        is_norm = len(shape) == 1 and name.endswith("weight")
        encoder[name] = noise / shape[-1] ** 0.5 if len(shape) > 1 else 0.2 * noise + (1.0 if is_norm else 0.0)

    def linear(name, outputs, inputs, bias=True):
        tensor(name + ".weight", outputs, inputs)
        if bias:
            tensor(name + ".bias", outputs)

    def norm(name, size):
        tensor(name + ".weight", size)
        tensor(name + ".bias", size)

    tensor("visual_projection.weight", 8, width)
    tensor("visual_projection_2.weight", 12, width)
    for mlp, inputs in (("mlp1", 2 * dim), ("mlp2", dim)):
        norm(f"fuse_module.{mlp}.layernorm", inputs)
        linear(f"fuse_module.{mlp}.fc1", dim, inputs)
        linear(f"fuse_module.{mlp}.fc2", dim, dim)
    norm("fuse_module.layer_norm", dim)
    q = "qformer_perceiver."
    linear(q + "token_proj.0", 4 * embed, embed)
    linear(q + "token_proj.2", tokens * dim, 4 * embed)
    norm(q + "token_norm", dim)
    r = q + "perceiver_resampler."
    linear(r + "proj_in", dim, width)
    linear(r + "proj_out", dim, dim)
    norm(r + "norm_out", dim)
    for i in range(2):
        layer = f"{r}layers.{i}."
        norm(layer + "0.norm1", dim)
        norm(layer + "0.norm2", dim)
        linear(layer + "0.to_q", dim, dim, False)
        linear(layer + "0.to_kv", 2 * dim, dim, False)
        linear(layer + "0.to_out", dim, dim, False)
        norm(layer + "1.0", dim)
        linear(layer + "1.1", 4 * dim, dim, False)
        linear(layer + "1.3", dim, 4 * dim, False)
    # the released file is half precision; keep a part in f32 so that both are read
    encoder = {k: (v if "token_norm" in k else v.half()).clone() for k, v in encoder.items()}
    lora_name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora."
    lora = {lora_name + "down.weight": torch.randn(4, 8, generator=generator).half(),
            lora_name + "up.weight": torch.randn(8, 4, generator=generator).half()}
    os.makedirs(folder, exist_ok=True)
    in_bin = dict(encoder)
    in_bin["vision_model.embeddings.position_ids"] = torch.arange(5)[None]  # older transformers kept this buffer
    projection = in_bin["visual_projection.weight"]
    in_bin["visual_projection.weight"] = projection.t().contiguous().t()  # a stride that is not the row-major one
    torch.save({"id_encoder": in_bin, "lora_weights": lora}, os.path.join(folder, "photomaker-v2.bin"))
    write(folder, "photomaker-v2", {**{"id_encoder." + k: v for k, v in encoder.items()}, **{"lora_weights." + k: v for k, v in lora.items()}})
    config = model.config
    write_json(folder, "config.json", {"hidden_act": "quick_gelu", "hidden_size": width, "image_size": config.image_size,
               "intermediate_size": config.intermediate_size, "layer_norm_eps": 1e-05, "num_attention_heads": 2,
               "num_hidden_layers": 2, "patch_size": config.patch_size, "projection_dim": 8, "model_type": "clip_vision_model"})

    full = {k: v.float() for k, v in encoder.items()}
    model.load_state_dict({k: full[k if k.startswith("vision_model.") else "vision_model." + k] for k in model.state_dict() if "position_ids" not in k}, strict=False)
    expected = features(model, torch.randn(2, 3, config.image_size, config.image_size, generator=generator))
    expected["id_embeds"] = torch.randn(2, embed, generator=generator)
    reference = Adapter({"id_perceiver": {"dim": dim, "tokens": tokens, "depth": 2, "head_dim": 12}},
                        {k.replace(q, "id_perceiver."): v for k, v in full.items() if k.startswith(q)})
    with torch.no_grad():
        expected["x_id"] = reference.x_id(expected["id_embeds"], expected["last_hidden_state"])
    write(folder, "expected", expected)


def main(out):
    warnings.filterwarnings("ignore")
    os.makedirs(out, exist_ok=True)
    generator = torch.Generator().manual_seed(31)
    towers(out, generator)
    preprocessing(out)
    photomaker(out, generator)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "vision"))
