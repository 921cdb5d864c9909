"""A second implementation of the adapter in PyTorch, over diffusers' CogVideoXTransformer3DModel.

Written from the method's description alone (Magic Mirror, arXiv 2501.03931, sections 3.2-3.3 and A.5; the perceiver is
PhotoMaker-V2's), for checking the Rust one. `Adapter.load(folder)` reads an adapter folder, `generate` samples a clip.
"""
import json
import os

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

CLASS_WORDS = ("man woman boy girl baby child person lady gentleman").split()
PUNCTUATION = ".,;:!?\"')]}…"


def strip_trailing(word):
    """Splits a word into itself and the punctuation it ends with."""
    bare = word.rstrip(PUNCTUATION)
    return bare, word[len(bare):]


def expand_prompt(prompt, repeats, trigger="img"):
    """Returns the prompt with its class word repeated, and the character span of each repeat.

    `repeats` is 0 when the adapter has no identity branch: the trigger is dropped, nothing else changes.
    """
    words = prompt.split()
    triggers = [i for i, w in enumerate(words) if strip_trailing(w)[0] == trigger]
    if len(triggers) > 1:
        raise ValueError("more than one trigger word")
    if triggers:
        class_at = triggers[0] - 1
        if class_at < 0:
            raise ValueError("no word before the trigger")
    else:
        found = [i for i, w in enumerate(words) if w.lower().strip(PUNCTUATION + "([{“") in CLASS_WORDS]
        if not found and repeats:
            raise ValueError("no class word")
        class_at = found[0] if found else None
    out, spans = [], []
    for i, word in enumerate(words):
        if triggers and i == triggers[0]:
            continue
        if i != class_at:
            out.append(word)
            continue
        bare, tail = strip_trailing(word)
        if triggers:
            tail += strip_trailing(words[triggers[0]])[1]
        for _ in range(max(repeats, 1)):
            start = len(" ".join(out)) + (1 if out else 0)
            out.append(bare)
            spans.append((start, start + len(bare)))
        out[-1] += tail
    return " ".join(out), spans if repeats else []


def tokenize(tokenizer, text, spans, length):
    """Token ids padded to `length`, and the mask of the token that ends each span."""
    enc = tokenizer(text, padding="max_length", max_length=length, truncation=True, add_special_tokens=True,
                    return_offsets_mapping=True)
    mask = torch.zeros(length, dtype=torch.bool)
    for start, end in spans:
        hits = [i for i, (a, b) in enumerate(enc["offset_mapping"]) if a < end <= b]
        if not hits:
            raise ValueError("a class-word token was truncated")
        mask[hits[-1]] = True
    assert int(mask.sum()) == len(spans), "two repeats share a token"
    return torch.tensor([enc["input_ids"]]), mask


class Adapter:
    """The adapter's weights and the functions that use them. Linear weights are [out, in]."""

    def __init__(self, config, weights):
        self.config, self.w = config, weights

    @classmethod
    def load(cls, folder):
        with open(os.path.join(folder, "adapter_config.json")) as f:
            return cls(json.load(f), load_file(os.path.join(folder, "model.safetensors")))

    def on(self, name):
        return self.config["modules"][name]

    def linear(self, name, x):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def layer_norm(self, name, x, eps=1e-5):
        weight = self.w[name + ".weight"]
        return F.layer_norm(x, weight.shape, weight, self.w[name + ".bias"], eps)

    def resampler(self, prefix, queries, memory, depth, head_dim):
        def heads(x):
            return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)

        memory = self.linear(prefix + "proj_in", memory)
        for i in range(depth):
            p = f"{prefix}layers.{i}."
            q_in = self.layer_norm(p + "0.norm2", queries)
            kv_in = torch.cat([self.layer_norm(p + "0.norm1", memory), q_in], 1)
            k, v = self.linear(p + "0.to_kv", kv_in).chunk(2, -1)
            q, k, v = heads(self.linear(p + "0.to_q", q_in)), heads(k), heads(v)
            weights = (q @ k.transpose(-1, -2) / head_dim**0.5).softmax(-1)
            queries = queries + self.linear(p + "0.to_out", (weights @ v).transpose(1, 2).flatten(2))
            hidden = F.gelu(self.linear(p + "1.1", self.layer_norm(p + "1.0", queries)))
            queries = queries + self.linear(p + "1.3", hidden)
        return self.layer_norm(prefix + "norm_out", self.linear(prefix + "proj_out", queries))

    def x_id(self, id_embeds, vision_last):
        c, p = self.config["id_perceiver"], "id_perceiver."
        x = self.linear(p + "token_proj.2", F.gelu(self.linear(p + "token_proj.0", id_embeds)))
        x = self.layer_norm(p + "token_norm", x.unflatten(-1, (c["tokens"], c["dim"])))
        return x + self.resampler(p + "perceiver_resampler.", x, vision_last, c["depth"], c["head_dim"])

    def x_face(self, vision_penultimate):
        c = self.config["face_perceiver"]
        latents = self.w["face_perceiver.latents"].expand(len(vision_penultimate), -1, -1)
        x = self.resampler("face_perceiver.", latents, vision_penultimate, c["depth"], c["head_dim"])
        return self.linear("face_proj", x).flatten(0, 1)[None]

    def can_condition(self, x_id):
        return self.linear("can.id_proj", x_id.mean(0, keepdim=True).flatten(1))

    def fuse(self, text, mask, x_id):
        def mlp(name, x):
            return self.linear(name + ".fc2", F.gelu(self.linear(name + ".fc1", self.layer_norm(name + ".layernorm", x))))

        marked = text[0, mask]
        h = mlp("fuse.mlp1", torch.cat([marked, self.linear("fuse.id_proj", x_id.flatten(0, 1))], -1)) + marked
        fused = text.clone()
        fused[0, mask] = mlp("fuse.mlp2", h) + h
        return fused

    def can_residual(self, layer, condition, temb, shift):
        p = f"layers.{layer}.can."
        return self.linear(p + "fc2", F.silu(self.linear(p + "fc1", F.silu(torch.cat([condition, temb, shift], -1)))))

    def face_factors(self, layer, temb):
        p = f"layers.{layer}.face_modulation."
        return self.linear(p + "fc2", F.silu(self.linear(p + "fc1", F.silu(temb))))


def rotate(x, rotary):
    """Rotary positions on interleaved pairs."""
    cos, sin = rotary
    real, imag = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos + torch.stack([-imag, real], -1).flatten(-2) * sin


def adapted_block(block, adapter, layer, video, text, face, temb, condition, rotary, face_scale):
    """One block with the adapter. `face` is None without the structure branch, `condition` without CAN."""
    frozen = [n.linear(F.silu(temb)) for n in (block.norm1, block.norm2)]
    halves = [f.chunk(2, -1) for f in frozen]  # shift, scale, gate of the video, then of the text
    factors = {"video": torch.cat([h[0] for h in halves], -1), "text": torch.cat([h[1] for h in halves], -1)}
    factors["face"] = adapter.face_factors(layer, temb) if face is not None and adapter.on("face_modulation") else factors["text"]
    if condition is not None:
        shift = factors["video"].chunk(6, -1)[0]
        residual = adapter.can_residual(layer, condition, temb, shift).chunk(2, -1)
        factors["video"], factors["text"] = factors["video"] + residual[0], factors["text"] + residual[1]
    streams = {"text": text, "video": video}
    if face is not None:
        streams["face"] = face
    m = {name: [v[:, None] for v in factors[name].chunk(6, -1)] for name in streams}
    sizes = [s.shape[1] for s in streams.values()]

    attn = block.attn1
    def heads(x):
        return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

    modulated = {n: block.norm1.norm(x) * (1 + m[n][1]) + m[n][0] for n, x in streams.items()}
    h = torch.cat(list(modulated.values()), 1)
    q, k, v = attn.norm_q(heads(attn.to_q(h))), attn.norm_k(heads(attn.to_k(h))), heads(attn.to_v(h))
    plain_q = q
    if rotary is not None:
        t, n = sizes[0], sizes[1]
        q, k = q.clone(), k.clone()
        q[:, :, t:t + n], k[:, :, t:t + n] = rotate(q[:, :, t:t + n], rotary), rotate(k[:, :, t:t + n], rotary)
    scale = q.shape[-1] ** -0.5
    o = (q @ k.transpose(-1, -2) * scale).softmax(-1) @ v
    if face is not None:
        p = f"layers.{layer}.cross_attn."
        face_k = adapter.layer_norm(p + "norm_k", heads(adapter.linear(p + "to_k", modulated["face"])), 1e-6)
        face_v = heads(adapter.linear(p + "to_v", modulated["face"]))
        o = o + face_scale * (plain_q @ face_k.transpose(-1, -2) * scale).softmax(-1) @ face_v
    o = attn.to_out[0](o.transpose(1, 2).flatten(2))
    for n, part in zip(list(streams), o.split(sizes, 1)):
        streams[n] = streams[n] + m[n][2] * part

    h = torch.cat([block.norm2.norm(x) * (1 + m[n][4]) + m[n][3] for n, x in streams.items()], 1)
    for n, part in zip(list(streams), block.ff(h).split(sizes, 1)):
        streams[n] = streams[n] + m[n][5] * part
    return streams["video"], streams["text"], streams.get("face")


def velocity(transformer, adapter, latents, text, timestep, rotary, face, condition, face_scale=1.0):
    """The conditional branch; with `adapter` None it is the transformer itself."""
    if adapter is None:
        return transformer(hidden_states=latents, encoder_hidden_states=text, timestep=timestep, image_rotary_emb=rotary, return_dict=False)[0]
    state = {"face": face}
    temb = transformer.time_embedding(transformer.time_proj(timestep))

    def replacement(layer, block):
        def forward(hidden_states, encoder_hidden_states, **_):
            video, text_out, state["face"] = adapted_block(
                block, adapter, layer, hidden_states, encoder_hidden_states, state["face"], temb, condition, rotary, face_scale)
            return video, text_out
        return forward

    layers = adapter.config["adapter_layers"]
    blocks = [transformer.transformer_blocks[layer] for layer in layers]
    try:
        for layer, block in zip(layers, blocks):
            block.forward = replacement(layer, block)
        return velocity(transformer, None, latents, text, timestep, rotary, None, None)
    finally:
        for block in blocks:
            del block.forward


@torch.no_grad()
def generate(pipe, adapter, identity, case, inputs, whole=True):
    """Every tensor of one case. With `whole` false, only the first conditional velocity is computed."""
    length = pipe.transformer.config.max_text_seq_length
    tokens = adapter.config["id_perceiver"]["tokens"]
    references = len(identity["id_embeds"])
    text, spans = expand_prompt(case["prompt"], tokens * references if adapter.on("identity_branch") else 0, adapter.config["trigger_word"])
    ids, mask = tokenize(pipe.tokenizer, text, spans, length)
    negative_ids, _ = tokenize(pipe.tokenizer, case["negative_prompt"], [], length)
    embeds, negative = pipe.text_encoder(ids)[0], pipe.text_encoder(negative_ids)[0]
    out = {"token_ids": torch.cat([ids, negative_ids]), "prompt_embeds": embeds, "negative_prompt_embeds": negative,
           "class_token_mask": mask.to(torch.uint8)}
    fused, face, condition = embeds, None, None
    if adapter.on("identity_branch"):
        out["x_id"] = adapter.x_id(identity["id_embeds"], identity["vision_last"])
        fused = adapter.fuse(embeds, mask, out["x_id"])
        if adapter.on("can"):
            out["can_condition"] = condition = adapter.can_condition(out["x_id"])
    if adapter.on("structure_branch"):
        out["x_face"] = face = adapter.x_face(identity["vision_penultimate"])
    out["prompt_embeds_fused"] = fused

    latents = inputs["latents"].clone()
    scheduler = pipe.scheduler
    scheduler.set_timesteps(case["steps"])
    rotary = None
    if pipe.transformer.config.use_rotary_positional_embeddings:
        rotary = pipe._prepare_rotary_positional_embeddings(case["height"], case["width"], latents.shape[1], torch.device("cpu"))
    scale, previous_x0, steps = case.get("face_scale", 1.0), None, scheduler.timesteps
    for i, t in enumerate(steps):
        v = velocity(pipe.transformer, adapter, latents, fused, t[None], rotary, face, condition, scale)
        if i == 0:
            out["velocity_first_step"] = v
            if not whole:
                return out
        if case["guidance"] > 1:
            base = velocity(pipe.transformer, None, latents, negative, t[None], rotary, None, None)
            v = base + case["guidance"] * (v - base)
        if case["scheduler"] == "ddim":
            latents = scheduler.step(v, t, latents, return_dict=False)[0]
        else:
            latents, previous_x0 = replayed_step(scheduler, inputs["sde_noise"][i], v, previous_x0, t, steps[i - 1] if i > 0 else None, latents)
    out["latents"] = latents
    frames = pipe.decode_latents(latents)
    out["frames"] = (frames / 2 + 0.5).clamp(0, 1)[0].permute(1, 0, 2, 3)
    return out


def replayed_step(scheduler, noise, *args):
    """One DPM++ SDE step that uses the given draw; of the two draws a second-order step makes, the last one counts."""
    import diffusers.schedulers.scheduling_dpm_cogvideox as module
    original = module.randn_tensor
    module.randn_tensor = lambda *_, **__: noise
    try:
        return scheduler.step(*args, return_dict=False)
    finally:
        module.randn_tensor = original
