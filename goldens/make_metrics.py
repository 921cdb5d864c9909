"""The networks of the video metrics: RAFT, Inception v3 (two variants), CLIP, ViCLIP, CurricularFace, CLIP's tokenizer.

usage: make_metrics.py [OUT_DIR]    needs: torch, torchvision 0.24, transformers, safetensors, ftfy, regex, numpy
Writes OUT_DIR/expected.safetensors (results only: weights and inputs are drawn from a hash of their names, which
`magicmirror-testkit` computes too), OUT_DIR/clip_config.json, OUT_DIR/tokens.json, and OUT_DIR/legacy.pth with
legacy.safetensors, the same small state dict as torch.save wrote it before version 1.6 (its storages are named by their
addresses, which differ from run to run) and as safetensors.

A value: FNV-1a (64 bits) of the name is the seed; value i is splitmix64's output for state seed + (i + 1) * golden, its
upper 24 bits taken to -1..1 (u). Tensors of two axes or more: u * sqrt(6 / fan_in), fan_in being the product of all axes
but the first; running_var: 1 + 0.5 u; other vectors called weight: 1 + 0.2 u; other vectors: 0.1 u. Images: 127.5 (u + 1),
cut to 8 bits where these are wanted.
"""
import html
import json
import math
import os
import sys
from functools import lru_cache

import ftfy
import numpy as np
import regex
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models.inception import InceptionA, InceptionC, InceptionE

OUT = sys.argv[1] if len(sys.argv) > 1 else "metrics"


def uniform(name, count):
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) % 2**64
    with np.errstate(over="ignore"):
        x = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return (x >> np.uint64(40)).astype(np.float64) / 2**23 - 1.0


def weight(name, shape):
    u = uniform(name, math.prod(shape))
    if len(shape) >= 2:
        value = u * math.sqrt(6 / math.prod(shape[1:]))
    elif name.endswith("running_var"):
        value = 1 + 0.5 * u
    elif name.endswith("weight"):
        value = 1 + 0.2 * u
    else:
        value = 0.1 * u
    return torch.from_numpy(value.astype(np.float32)).reshape(shape)


def image(name, shape):
    return torch.from_numpy((127.5 * (uniform(name, math.prod(shape)) + 1)).astype(np.float32)).reshape(shape)


def fill(module, rename=lambda name: name):
    """Gives every tensor the value of its released name."""
    state = {}
    for name, value in module.state_dict().items():
        keep = value.ndim == 0 or "position_ids" in name
        state[name] = value if keep else weight(rename(name), value.shape)
    module.load_state_dict(state)
    return module.eval()


def raft_name(name):
    """torchvision's names to those of the authors."""
    for theirs, ours in [
        ("feature_encoder.convnormrelu.0", "fnet.conv1"), ("feature_encoder.convnormrelu.1", "fnet.norm1"),
        ("context_encoder.convnormrelu.0", "cnet.conv1"), ("context_encoder.convnormrelu.1", "cnet.norm1"),
        ("feature_encoder.conv.", "fnet.conv2."), ("context_encoder.conv.", "cnet.conv2."),
        ("feature_encoder", "fnet"), ("context_encoder", "cnet"),
        ("convnormrelu1.0", "conv1"), ("convnormrelu1.1", "norm1"), ("convnormrelu2.0", "conv2"), ("convnormrelu2.1", "norm2"),
        ("motion_encoder.convcorr1.0", "encoder.convc1"), ("motion_encoder.convcorr2.0", "encoder.convc2"),
        ("motion_encoder.convflow1.0", "encoder.convf1"), ("motion_encoder.convflow2.0", "encoder.convf2"),
        ("motion_encoder.conv.0", "encoder.conv"),
        ("mask_predictor.convrelu.0", "update_block.mask.0"), ("mask_predictor.conv", "update_block.mask.2"),
    ]:
        name = name.replace(theirs, ours)
    for i in "12":
        name = regex.sub(rf"recurrent_block\.convgru{i}\.conv([zrq])", rf"gru.conv\g<1>{i}", name)
    return name


def raft():
    model = fill(torchvision.models.optical_flow.raft_large(weights=None), raft_name)
    out = {}
    # The second size needs two pixels more in height and three more in width.
    for case, (height, width) in {"whole": (128, 136), "padded": (134, 133)}.items():
        first, second = (image(f"{case}.{which}", (1, 3, height, width)) for which in ("first", "second"))
        down, right = -height % 8, -width % 8
        pads = [right // 2, right - right // 2, down // 2, down - down // 2]
        padded = [F.pad(x, pads, mode="replicate") / 255 * 2 - 1 for x in (first, second)]
        flow = model(*padded, num_flow_updates=3)[-1]
        out[f"raft.{case}"] = flow[..., pads[2] : pads[2] + height, pads[0] : pads[0] + width].contiguous()
    return out


class InsideAverage:
    """What the port of TensorFlow's network does differently: averages do not count padding, one of them is a maximum."""

    def __init__(self, maximum):
        self.maximum = maximum

    def avg_pool2d(self, x, kernel_size, stride, padding):
        if self.maximum:
            return F.max_pool2d(x, kernel_size, stride, padding)
        return F.avg_pool2d(x, kernel_size, stride, padding, count_include_pad=False)

    def __getattr__(self, name):
        return getattr(F, name)


def inception_features(model, x):
    kept = {}
    model.avgpool.register_forward_hook(lambda module, inputs, output: kept.update(pooled=output))
    model(x)
    pooled = kept["pooled"].flatten(1)
    return pooled, pooled @ model.fc.weight.T


def inception():
    out = {}
    pixels = image("inception", (1, 3, 120, 170)) / 255
    resized = F.interpolate(pixels, size=(299, 299), mode="bilinear", align_corners=False)
    out["inception.resized_row"] = resized[:, :, 150].contiguous()

    model = fill(torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True))
    out["inception.torchvision.pooled"], out["inception.torchvision.logits"] = inception_features(model, resized)

    model = fill(torchvision.models.inception_v3(weights=None, init_weights=False, num_classes=1008, aux_logits=False))
    functional = torchvision.models.inception.F
    for name, block in model.named_children():
        if isinstance(block, (InceptionA, InceptionC, InceptionE)):
            replacement = InsideAverage(maximum=name == "Mixed_7c")

            def patched(x, original=block._forward, replacement=replacement):
                torchvision.models.inception.F = replacement
                try:
                    return original(x)
                finally:
                    torchvision.models.inception.F = functional

            block._forward = patched
    out["inception.tensorflow.pooled"], out["inception.tensorflow.logits"] = inception_features(model, 2 * resized - 1)
    return out


def clip():
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config={"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                     "num_attention_heads": 4, "max_position_embeddings": 9, "eos_token_id": 59, "bos_token_id": 58},
        vision_config={"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 3,
                       "image_size": 28, "patch_size": 14},
        projection_dim=24,
    )
    model = fill(CLIPModel(config))
    with open(os.path.join(OUT, "clip_config.json"), "w") as file:
        file.write(json.dumps(config.to_dict(), indent=1, sort_keys=True, default=str) + "\n")
    pixels = image("clip", (2, 3, 28, 28)) / 127.5 - 1
    # The second text is padded with what follows its end, as the released tokenizer pads.
    ids = torch.tensor([[58, 1, 2, 3, 4, 5, 6, 7, 59], [58, 9, 8, 59, 59, 59, 59, 59, 59]])
    result = model(input_ids=ids, pixel_values=pixels)
    images = model.visual_projection(model.vision_model(pixels).pooler_output)
    texts = model.text_projection(model.text_model(ids).pooler_output)
    scale = model.logit_scale.exp()
    cosines = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    assert torch.allclose(result.logits_per_image, scale * cosines, atol=1e-4)
    return {"clip.images": images, "clip.texts": texts, "clip.logit_scale": model.logit_scale.detach().reshape(1)}


class ResidualAttentionBlock(nn.Module):
    def __init__(self, width, causal):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // 64)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})
        self.causal = causal

    def forward(self, x):  # [tokens, batch, width]
        y = self.ln_1(x)
        mask = torch.full((len(x), len(x)), float("-inf")).triu(1) if self.causal else None
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        y = self.mlp["c_fc"](self.ln_2(x))
        return x + self.mlp["c_proj"](y * torch.sigmoid(1.702 * y))


def blocks(width, layers, causal):
    stack = nn.Module()
    stack.resblocks = nn.ModuleList(ResidualAttentionBlock(width, causal) for _ in range(layers))
    return stack


class VideoTower(nn.Module):
    def __init__(self, width=128, layers=2, patch=14, grid=2, frames=8, embedding=48):
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, (1, patch, patch), (1, patch, patch), bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.positional_embedding = nn.Parameter(torch.zeros(grid * grid + 1, width))
        self.temporal_positional_embedding = nn.Parameter(torch.zeros(1, frames, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = blocks(width, layers, causal=False)
        self.proj = nn.Parameter(torch.zeros(width, embedding))

    def forward(self, video):  # [batch, channels, frames, height, width]
        x = self.conv1(video).flatten(3).permute(0, 2, 3, 1)  # [batch, frames, patches, width]
        x = x + self.positional_embedding[1:] + self.temporal_positional_embedding[:, :, None]
        x = x.transpose(1, 2).flatten(1, 2)  # the frames of a patch follow each other
        first = (self.class_embedding + self.positional_embedding[0]).expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], 1)).transpose(0, 1)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x)[0] @ self.proj


class TextTower(nn.Module):
    def __init__(self, width=64, layers=2, tokens=32, vocabulary=60, embedding=48):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.positional_embedding = nn.Parameter(torch.zeros(tokens, width))
        self.transformer = blocks(width, layers, causal=True)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.zeros(width, embedding))

    def forward(self, ids):
        x = (self.token_embedding(ids) + self.positional_embedding).transpose(0, 1)
        for block in self.transformer.resblocks:
            x = block(x)
        x = self.ln_final(x).transpose(0, 1)
        return x[torch.arange(len(x)), ids.argmax(-1)] @ self.text_projection


def viclip():
    model = nn.Module()
    model.vision_encoder, model.text_encoder = VideoTower(), TextTower()
    fill(model)
    frames = image("viclip", (8, 3, 28, 28)) / 127.5 - 1
    ids = torch.zeros((1, 32), dtype=torch.long)
    ids[0, :6] = torch.tensor([58, 3, 1, 4, 1, 59])
    video = model.vision_encoder(frames.transpose(0, 1)[None])
    return {"viclip.video": video, "viclip.text": model.text_encoder(ids)}


class IrBlock(nn.Module):
    """TFace's residual block. Where the width stays, the shortcut has no weights, and halves by taking every second pixel."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        conv = lambda inputs, kernel, stride: nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        norm = nn.BatchNorm2d
        self.res_layer = nn.Sequential(
            norm(inputs), conv(inputs, 3, 1), norm(outputs), nn.PReLU(outputs), conv(outputs, 3, stride), norm(outputs))
        self.stride = stride
        self.shortcut_layer = nn.Sequential(conv(inputs, 1, stride), norm(outputs)) if inputs != outputs else None

    def forward(self, x):
        shortcut = x[:, :, :: self.stride, :: self.stride] if self.shortcut_layer is None else self.shortcut_layer(x)
        return shortcut + self.res_layer(x)


class IrNet(nn.Module):
    """TFace's IR networks at any width; the released IR-101 has a stem of 64, groups (64, 3), (128, 13), (256, 30), (512, 3)."""

    def __init__(self, stem, groups, embedding):
        super().__init__()
        self.input_layer = nn.Sequential(nn.Conv2d(3, stem, 3, 1, 1, bias=False), nn.BatchNorm2d(stem), nn.PReLU(stem))
        widths = [(width, 2 if i == 0 else 1) for width, count in groups for i in range(count)]
        before = [stem, *(width for width, _ in widths)]
        self.body = nn.Sequential(*(IrBlock(inputs, *block) for inputs, block in zip(before, widths)))
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(before[-1]), nn.Dropout(0.4), nn.Flatten(), nn.Linear(before[-1] * 49, embedding),
            nn.BatchNorm1d(embedding, affine=False))

    def forward(self, faces):  # [batch, 3, 224, 224], 0 to 255
        return self.output_layer(self.body(self.input_layer((F.avg_pool2d(faces, 2) / 255 - 0.5) / 0.5)))


def curricularface():
    model = fill(IrNet(4, [(4, 2), (8, 1), (12, 2), (16, 1)], 10))
    return {"curricularface": model(image("curricularface", (2, 3, 224, 224)))}


def resizing():
    """The transform of VBench's `clip_transform`, before it divides: 8-bit tensors, no antialiasing. [height, width, 3]"""
    from torchvision.transforms import functional
    from torchvision.transforms import InterpolationMode

    out = {}
    for name, (height, width, size) in {"smaller": (40, 61, 28), "larger": (30, 20, 28)}.items():
        pixels = image(name, (1, 3, height, width)).to(torch.uint8)
        resized = functional.resize(pixels, size, InterpolationMode.BICUBIC, antialias=False)
        out[f"resized.{name}"] = functional.center_crop(resized, size)[0].permute(1, 2, 0)
    return out


@lru_cache
def byte_characters():
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return dict(zip(printable + others, [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]))


def tokens():
    """A second implementation of CLIP's tokenizer, pair by pair."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../assets/text/clip_merges.txt")
    with open(path, encoding="utf-8") as file:
        merges = [tuple(line.split()) for line in file.read().splitlines()[1:]]
    characters = list(byte_characters().values())
    names = characters + [c + "</w>" for c in characters] + ["".join(pair) for pair in merges]
    vocabulary = {name: i for i, name in enumerate(names)}
    ranks = {pair: i for i, pair in enumerate(merges)}
    pattern = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+", regex.IGNORECASE)

    def encode(text):
        text = regex.sub(r"\s+", " ", html.unescape(ftfy.fix_text(text))).strip().lower()
        ids = []
        for word in pattern.findall(text):
            parts = [byte_characters()[byte] for byte in word.encode()]
            parts[-1] += "</w>"
            while len(parts) > 1:
                best = min(zip(parts, parts[1:]), key=lambda pair: ranks.get(pair, math.inf))
                if best not in ranks:
                    break
                merged, i = [], 0
                while i < len(parts):
                    if tuple(parts[i : i + 2]) == best:
                        merged.append(parts[i] + parts[i + 1])
                        i += 2
                    else:
                        merged.append(parts[i])
                        i += 1
                parts = merged
            ids += [vocabulary[part] for part in parts]
        return ids

    texts = [
        "a photo of a cat", "A person is walking in the Park, smiling.", "it's 2 o'clock; they'll've gone!", "", "   ",
        "déjà vu — naïve Zürich", "日本語のテキスト", "12345 3.14", "emoji 🙂🙂 end", "supercalifragilisticexpialidocious",
        "tabs\tand\nnew lines", "snake_case & ampersand", "A close up view of a glass sphere that has a zen garden within it.",
    ]
    first = len(names)
    with open(os.path.join(OUT, "tokens.json"), "w") as file:
        cases = [{"text": text, "ids": [first, *encode(text), first + 1]} for text in texts]
        file.write("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")


def legacy():
    shared = torch.arange(12, dtype=torch.float32)
    state = {
        "layer.weight": shared[:8].reshape(2, 4), "layer.bias": shared[8:], "layer.transposed": shared[:8].reshape(2, 4).t(),
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16), "norm.num_batches_tracked": torch.tensor(7),
    }
    torch.save({"model": state, "epoch": 3}, os.path.join(OUT, "legacy.pth"), _use_new_zipfile_serialization=False)
    plain = {f"model.{name}": value.contiguous().clone() for name, value in state.items()}
    save_file(plain, os.path.join(OUT, "legacy.safetensors"))


@torch.no_grad()
def main():
    torch.manual_seed(0)
    os.makedirs(OUT, exist_ok=True)
    expected = {**raft(), **inception(), **clip(), **viclip(), **curricularface(), **resizing()}
    save_file({name: value.contiguous() for name, value in expected.items()}, os.path.join(OUT, "expected.safetensors"))
    tokens()
    legacy()


main()
