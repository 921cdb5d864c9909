"""MagicMirror's adapter in PyTorch, to be trained: goldens/adapter_reference.py for batches of people with one photo each, and with
PyTorch's fused attention in place of the formula."""

import functools
import sys
from pathlib import Path

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

sys.path.append(str(Path(__file__).resolve().parent.parent / "goldens"))
from adapter_reference import Adapter  # noqa: E402


class TrainedAdapter(Adapter):
    def __init__(self, config, weights):
        super().__init__(config, {name: torch.nn.Parameter(values) for name, values in weights.items()})

    def named_parameters(self):
        return self.w.items()

    def attach(self, transformer):
        """Takes the place of the transformer's blocks that carry the adapter."""
        for layer in self.config["adapter_layers"]:
            block = transformer.transformer_blocks[layer]
            block.forward = functools.partial(self.block, layer, block)
        self.transformer = transformer

    def velocity(self, latents, text, class_token_mask, timesteps, rotary, id_embeds, vision_last, vision_penultimate):
        x_id = self.x_id(id_embeds, vision_last)
        self.condition = self.linear("can.id_proj", x_id.flatten(1))
        self.face = self.x_face(vision_penultimate).unflatten(1, (len(latents), -1)).squeeze(0)
        text = self.fuse(text.flatten(0, 1)[None], class_token_mask.flatten(), x_id).view_as(text)
        return self.transformer(latents, text, timesteps, image_rotary_emb=rotary).sample

    def resampler(self, prefix, queries, memory, depth, head_dim):
        memory = self.linear(prefix + "proj_in", memory)
        for layer in range(depth):
            p = f"{prefix}layers.{layer}."
            normed = self.layer_norm(p + "0.norm2", queries)
            keys_values = self.linear(p + "0.to_kv", torch.cat([self.layer_norm(p + "0.norm1", memory), normed], 1)).chunk(2, -1)
            q, k, v = [heads(x, head_dim) for x in (self.linear(p + "0.to_q", normed), *keys_values)]
            queries = queries + self.linear(p + "0.to_out", scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
            queries = queries + self.linear(p + "1.3", gelu(self.linear(p + "1.1", self.layer_norm(p + "1.0", queries))))
        return self.layer_norm(prefix + "norm_out", self.linear(prefix + "proj_out", queries))

    def block(self, layer, block, hidden_states, encoder_hidden_states, temb, image_rotary_emb, **_):
        streams = [encoder_hidden_states, hidden_states, self.face]
        sizes = [x.shape[1] for x in streams]
        frozen = [norm.linear(silu(temb)).chunk(2, -1) for norm in (block.norm1, block.norm2)]
        video, text = [torch.cat(halves, -1) for halves in zip(*frozen)]
        more = self.can_residual(layer, self.condition, temb, video.chunk(6, -1)[0]).chunk(2, -1)
        factors = [x[:, None].chunk(6, -1) for x in (text + more[1], video + more[0], self.face_factors(layer, temb))]

        attention = block.attn1
        modulated = [block.norm1.norm(x) * (1 + f[1]) + f[0] for x, f in zip(streams, factors)]
        h = torch.cat(modulated, 1)
        q, k, v = [heads(linear(h), self.config["attention_head_dim"]) for linear in (attention.to_q, attention.to_k, attention.to_v)]
        q, k = attention.norm_q(q), attention.norm_k(k)
        turned = []
        for x in (q, k):
            of_text, of_video, of_face = x.split(sizes, 2)
            turned.append(torch.cat([of_text, apply_rotary_emb(of_video, image_rotary_emb), of_face], 2))
        p = f"layers.{layer}.cross_attn."
        face_k, face_v = [heads(self.linear(p + name, modulated[2]), self.config["attention_head_dim"]) for name in ("to_k", "to_v")]
        face_k = self.layer_norm(p + "norm_k", face_k, 1e-6)
        o = scaled_dot_product_attention(*turned, v) + scaled_dot_product_attention(q, face_k, face_v)
        o = attention.to_out[0](o.transpose(1, 2).flatten(2))
        streams = [x + f[2] * part for x, f, part in zip(streams, factors, o.split(sizes, 1))]

        h = torch.cat([block.norm2.norm(x) * (1 + f[4]) + f[3] for x, f in zip(streams, factors)], 1)
        parts = zip(streams, factors, block.ff(h).split(sizes, 1))
        text, video, self.face = [x + f[5] * part for x, f, part in parts]
        return video, text


def heads(x, head_dim):
    return x.unflatten(-1, (-1, head_dim)).transpose(1, 2)
