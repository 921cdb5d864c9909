"""Adapter cases: a small backbone and, over it, adapters of several configurations, with every expected tensor.

usage: make_adapter.py [OUT_DIR]      needs: torch, diffusers, transformers, sentencepiece, safetensors
Reads ../backbone/{sincos_ddim,v15_ddim} beside OUT_DIR (made by make_backbone.py). Writes OUT_DIR/backbone (an ordinary diffusers folder) and OUT_DIR/<case>/ = adapter/, identity.safetensors, case.json,
inputs.safetensors, expected.safetensors. `backbone` in case.json is a path relative to the case's folder.
"""
import json
import os
import random
import sys

import sentencepiece as spm
import torch
from diffusers import (AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXPipeline,
                       CogVideoXTransformer3DModel)
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel, T5Tokenizer

from adapter_reference import Adapter, generate

WORDS = ("a man woman person girl old smiling walking reading in the park at sunset red blue jacket camera around rain "
         "portrait of doctor dog img laughing left right window night").split()
SEED, HEADS, HEAD_DIM, TIME, TEXT, LENGTH = 20, 2, 16, 12, 18, 20


def randomise(module, generator, scale=0.6):
    """Every weight non-trivial: zero gates and unit norms would hide mistakes."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if p.ndim <= 1:
                p.copy_(0.2 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0))
            else:
                p.copy_(noise * (scale / p[0].numel() ** 0.5))


def make_tokenizer(folder):
    os.makedirs(folder, exist_ok=True)
    rng = random.Random(SEED)
    lines = [" ".join(rng.choice(WORDS) for _ in range(rng.randint(5, 12))) + rng.choice([".", "!", ", café", ""]) for _ in range(3000)]
    # trained from memory: a model made from a file records that file's path
    with open(os.path.join(folder, "spiece.model"), "wb") as model:
        spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, vocab_size=200, model_type="unigram",
                                       pad_id=0, eos_id=1, unk_id=2, bos_id=-1, character_coverage=1.0, hard_vocab_limit=False,
                                       minloglevel=2)
    config = {"model_max_length": LENGTH, "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "extra_ids": 100,
              "tokenizer_class": "T5Tokenizer", "legacy": True}
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump(config, f, indent=1)
    return T5Tokenizer.from_pretrained(folder)


def make_backbone(folder):
    g = torch.Generator().manual_seed(SEED)
    tokenizer = make_tokenizer(os.path.join(folder, "tokenizer"))
    text_encoder = T5EncoderModel(T5Config(
        vocab_size=len(tokenizer), d_model=TEXT, d_kv=6, d_ff=20, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu",
        is_encoder_decoder=False, use_cache=False, dropout_rate=0.0)).eval()
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=HEADS, attention_head_dim=HEAD_DIM, num_layers=4, use_rotary_positional_embeddings=True, sample_width=4,
        sample_height=6, sample_frames=5, time_embed_dim=TIME, text_embed_dim=TEXT, in_channels=4, out_channels=4,
        max_text_seq_length=LENGTH).eval()
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4, block_out_channels=(4, 4, 4, 8),
        latent_channels=4, layers_per_block=1, norm_num_groups=2, scaling_factor=0.7, sample_height=48, sample_width=32).eval()
    randomise(text_encoder, g, 1.0)
    randomise(transformer, g)
    randomise(vae, g, 0.7)
    scheduler = CogVideoXDDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, prediction_type="v_prediction",
                                       rescale_betas_zero_snr=True, snr_shift_scale=1.0, timestep_spacing="trailing")
    CogVideoXPipeline(tokenizer, text_encoder, vae, transformer, scheduler).save_pretrained(folder)
    # the released folders have spiece.model alone
    for name in ("tokenizer.json",):
        path = os.path.join(folder, "tokenizer", name)
        if os.path.exists(path):
            os.remove(path)


def adapter_config(layers=(0, 2, 3), base=(HEADS, HEAD_DIM, TIME, TEXT), id_tokens=2, id_dim=16, id_head=8, id_depth=1, face_tokens=3, face_dim=12, face_head=4,
                   face_depth=1, off=()):
    heads, head_dim, time, text = base
    return {
        "format": "magicmirror-adapter", "version": 1, "num_attention_heads": heads, "attention_head_dim": head_dim,
        "time_embed_dim": time, "text_embed_dim": text, "id_embed_dim": 10, "vision_hidden_size": 14, "adapter_layers": list(layers),
        "id_perceiver": {"dim": id_dim, "tokens": id_tokens, "depth": id_depth, "head_dim": id_head, "ff_mult": 2, "mlp_ratio": 3},
        "face_perceiver": {"dim": face_dim, "tokens": face_tokens, "depth": face_depth, "head_dim": face_head, "ff_mult": 3},
        "can": {"id_proj_dim": 7, "hidden_dim": 9}, "face_modulation": {"hidden_dim": 6}, "trigger_word": "img",
        "modules": {m: m not in off for m in ("identity_branch", "structure_branch", "face_modulation", "can")},
    }


def adapter_shapes(c):
    """Name and shape of every tensor that the config's modules need."""
    width, on, shapes = c["num_attention_heads"] * c["attention_head_dim"], c["modules"], {}

    def linear(name, outputs, inputs, bias=True):
        shapes[name + ".weight"] = (outputs, inputs)
        if bias:
            shapes[name + ".bias"] = (outputs,)

    def norm(name, size):
        shapes[name + ".weight"] = shapes[name + ".bias"] = (size,)

    def resampler(prefix, p):
        dim = p["dim"]
        linear(prefix + "proj_in", dim, c["vision_hidden_size"])
        linear(prefix + "proj_out", dim, dim)
        norm(prefix + "norm_out", dim)
        for i in range(p["depth"]):
            a, f = f"{prefix}layers.{i}.0.", f"{prefix}layers.{i}.1."
            norm(a + "norm1", dim)
            norm(a + "norm2", dim)
            linear(a + "to_q", dim, dim, False)
            linear(a + "to_kv", 2 * dim, dim, False)
            linear(a + "to_out", dim, dim, False)
            norm(f + "0", dim)
            linear(f + "1", p["ff_mult"] * dim, dim, False)
            linear(f + "3", dim, p["ff_mult"] * dim, False)

    if on["identity_branch"]:
        p, text = c["id_perceiver"], c["text_embed_dim"]
        hidden = p["mlp_ratio"] * c["id_embed_dim"]
        linear("id_perceiver.token_proj.0", hidden, c["id_embed_dim"])
        linear("id_perceiver.token_proj.2", p["tokens"] * p["dim"], hidden)
        norm("id_perceiver.token_norm", p["dim"])
        resampler("id_perceiver.perceiver_resampler.", p)
        linear("fuse.id_proj", text, p["dim"])
        for name, inputs in (("mlp1", 2 * text), ("mlp2", text)):
            norm(f"fuse.{name}.layernorm", inputs)
            linear(f"fuse.{name}.fc1", text, inputs)
            linear(f"fuse.{name}.fc2", text, text)
        if on["can"]:
            linear("can.id_proj", c["can"]["id_proj_dim"], p["tokens"] * p["dim"])
    if on["structure_branch"]:
        p = c["face_perceiver"]
        shapes["face_perceiver.latents"] = (1, p["tokens"], p["dim"])
        resampler("face_perceiver.", p)
        linear("face_proj", width, p["dim"])
    for layer in c["adapter_layers"]:
        if on["can"]:
            linear(f"layers.{layer}.can.fc1", c["can"]["hidden_dim"], c["can"]["id_proj_dim"] + c["time_embed_dim"] + width)
            linear(f"layers.{layer}.can.fc2", 12 * width, c["can"]["hidden_dim"])
        if on["structure_branch"]:
            linear(f"layers.{layer}.cross_attn.to_k", width, width)
            linear(f"layers.{layer}.cross_attn.to_v", width, width)
            norm(f"layers.{layer}.cross_attn.norm_k", c["attention_head_dim"])
            if on["face_modulation"]:
                linear(f"layers.{layer}.face_modulation.fc1", c["face_modulation"]["hidden_dim"], c["time_embed_dim"])
                linear(f"layers.{layer}.face_modulation.fc2", 6 * width, c["face_modulation"]["hidden_dim"])
    return shapes


def make_adapter(config, generator):
    weights = {}
    for name, shape in adapter_shapes(config).items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            weights[name] = noise * (1.0 if name.endswith("latents") else 0.8 / shape[-1] ** 0.5)
        else:
            is_norm = name.endswith("weight")
            weights[name] = 0.2 * noise + (1.0 if is_norm else 0.0)
    return weights


RUN = dict(prompt="a woman img reading in the park", negative_prompt="rain", height=48, width=32, frames=5, steps=2, guidance=4.0,
           scheduler="ddim", references=1)
CASES = {
    # case: config, what differs from RUN, whether the whole run is recorded
    "three_references": (adapter_config(id_tokens=3, id_dim=24, id_depth=2, face_tokens=5, face_depth=2), dict(references=3), True),
    "dpm_face_scale": (adapter_config(layers=(1, 3), id_head=16, face_head=12), dict(scheduler="dpm", steps=3, face_scale=0.6, references=2), True),
    "class_word_from_list": (adapter_config(layers=(2,)), dict(prompt="the old doctor, a person walking; a man"), False),
    "class_word_punctuation": (adapter_config(layers=(0,), id_tokens=1), dict(prompt="a man, smiling", references=2), False),
    "trigger_punctuation": (adapter_config(layers=(3,)), dict(prompt="portrait of a Woman img, laughing", negative_prompt=""), False),
    "ablation_a": (adapter_config(off=("structure_branch", "face_modulation", "can")), {}, False),
    "ablation_b": (adapter_config(off=("identity_branch", "face_modulation", "can")), {}, False),
    "ablation_c": (adapter_config(off=("face_modulation", "can")), {}, False),
    "ablation_d": (adapter_config(off=("identity_branch", "can")), {}, False),
    "ablation_e": (adapter_config(off=("structure_branch", "face_modulation")), {}, False),
    "can_without_face_modulation": (adapter_config(layers=(0, 1), off=("face_modulation",)), {}, False),
    # over make_backbone.py's cases: no rotary positions; temporal patches (the latents have a padding frame)
    "absolute_positions": (adapter_config(layers=(0,), base=(2, 16, 16, 20)),
                           dict(backbone="../../backbone/sincos_ddim", height=64, width=48, frames=9), False),
    "temporal_patches": (adapter_config(layers=(0, 1), base=(2, 16, 16, 20)),
                         dict(backbone="../../backbone/v15_ddim", height=64, width=48, frames=9, prompt="a man img walking in rain"), False),
}


def main(out):
    torch.set_num_threads(2)
    backbone = os.path.join(out, "backbone")
    make_backbone(backbone)
    for i, (name, (config, other, whole)) in enumerate(CASES.items()):
        folder, case = os.path.join(out, name), {"backbone": "../backbone", **RUN, **other}
        os.makedirs(os.path.join(folder, "adapter"), exist_ok=True)
        pipe = CogVideoXPipeline.from_pretrained(os.path.normpath(os.path.join(folder, case["backbone"])))
        g = torch.Generator().manual_seed(SEED * 100 + i)
        n, patches, transformer = case["references"], 5, pipe.transformer.config
        frames = (case["frames"] - 1) // 4 + 1
        frames += -frames % (transformer.patch_size_t or 1)
        shape = (1, frames, transformer.in_channels, case["height"] // 8, case["width"] // 8)
        identity = {"id_embeds": torch.randn(n, config["id_embed_dim"], generator=g),
                    "vision_last": torch.randn(n, patches, config["vision_hidden_size"], generator=g),
                    "vision_penultimate": torch.randn(n, patches, config["vision_hidden_size"], generator=g)}
        inputs = {"latents": torch.randn(shape, generator=g)}
        if case["scheduler"] == "dpm":
            inputs["sde_noise"] = torch.randn(case["steps"], *shape, generator=g)
            pipe.scheduler = CogVideoXDPMScheduler.from_config(pipe.scheduler.config)
        adapter = Adapter(config, make_adapter(config, g))
        if name == "absolute_positions":  # keys so small that the norm's epsilon counts
            for key in [k for k in adapter.w if ".cross_attn.to_k." in k]:
                adapter.w[key] *= 0.003
        expected = generate(pipe, adapter, identity, case, inputs, whole)
        for path, content in (("case.json", case), ("adapter/adapter_config.json", config)):
            with open(os.path.join(folder, path), "w") as f:
                json.dump(content, f, indent=1)
        for path, tensors in (("adapter/model", adapter.w), ("identity", identity), ("inputs", inputs), ("expected", expected)):
            save_file({k: v.clone().contiguous() for k, v in tensors.items()}, os.path.join(folder, path + ".safetensors"))
        v = expected["velocity_first_step"]
        print(f"{name}: velocity std {v.std():.3f}, tokens {int(expected['class_token_mask'].sum())}, "
              f"text {pipe.tokenizer.convert_ids_to_tokens(expected['token_ids'][0].tolist())[:14]}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "adapter"))
