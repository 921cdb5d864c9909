"""Backbone cases: whole CogVideoX generations computed with diffusers on CPU in float32.

Usage: python make_backbone.py OUT_DIR [CASE ...]      (the repository's copy: python make_backbone.py backbone)

OUT_DIR/<case>/ is an ordinary diffusers pipeline folder plus
  case.json             prompt, size, steps, guidance, scheduler
  inputs.safetensors    latents [1,F,C,h,w], video_in [frames,3,H,W] in [-1,1], sde_noise [steps,1,F,C,h,w] (DPM only)
  expected.safetensors  token_ids [2,L] (prompt, negative), prompt_embeds, negative_prompt_embeds [1,L,D],
                        transformer_t517 (one call at timestep 517), velocity_first_step (the prompt's branch of the first
                        step), latents (after the last step, padding frames included), frames [n,3,H,W] in [0,1],
                        vae_mean, vae_logvar (of video_in)
Follows diffusers' CogVideoXPipeline; nothing of the reference is re-implemented here.
"""

import os
import random
import shutil
import sys

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from reference import (
    WORDS,
    RecordedNoise,
    randomise,
    scheduler,
    train_spiece,
    write_json,
    write_tensors,
    write_tokenizer_config,
)
from transformers import T5Config, T5EncoderModel, T5Tokenizer


def case(transformer, vae, height, width, frames, steps, **other):
    defaults = dict(
        scheduler="ddim", snr_shift=1.0, guidance=6.0, dynamic=False, scaling=0.7, negative="", dtype=torch.float32,
        shard_size=None, full_charsmap=False, invert_scale=False,
    )
    return dict(transformer=transformer, vae=vae, height=height, width=width, frames=frames, steps=steps) | defaults | other


CASES = {
    # 5B: rotary positions at the native grid, odd latent count, transformer in two shards
    "rope_ddim": case(
        dict(num_attention_heads=3, attention_head_dim=16, num_layers=2, use_rotary_positional_embeddings=True,
             sample_width=8, sample_height=6, sample_frames=9, time_embed_dim=24, text_embed_dim=20, in_channels=8,
             out_channels=8, max_text_seq_length=18),
        dict(block_out_channels=(8, 8, 8, 16), layers_per_block=1), 48, 64, 9, 4, shard_size="200KB", full_charsmap=True,
    ),
    # 5B: a grid taller than the native one, even latent count (2 latent frames decode to 8 frames), last step above zero
    # (1000 // 6 leaves a remainder), weights stored in bf16
    "rope_dpm_dyn": case(
        dict(num_attention_heads=2, attention_head_dim=32, num_layers=2, use_rotary_positional_embeddings=True,
             sample_width=6, sample_height=4, sample_frames=9, time_embed_dim=16, text_embed_dim=24, in_channels=4,
             out_channels=4, max_text_seq_length=12),
        dict(block_out_channels=(8, 8, 8, 16), layers_per_block=2), 48, 32, 5, 6, scheduler="dpm", dynamic=True, guidance=4.5,
        negative="rain dog", dtype=torch.bfloat16,
    ),
    # 2B: sincos positions, SNR shift 3, four latent frames (decode to 16 frames), shorter than sample_frames
    "sincos_ddim": case(
        dict(num_attention_heads=2, attention_head_dim=16, num_layers=2, use_rotary_positional_embeddings=False,
             sample_width=6, sample_height=4, sample_frames=17, time_embed_dim=16, text_embed_dim=20, in_channels=8,
             out_channels=8, max_text_seq_length=14),
        dict(block_out_channels=(4, 8, 8, 8), layers_per_block=1), 32, 48, 13, 4, snr_shift=3.0, scaling=1.15258426,
    ),
    # 2B: five latent frames, a spatial size other than the native one, an irregular step count, weights stored in f16
    "sincos_irregular": case(
        dict(num_attention_heads=3, attention_head_dim=16, num_layers=2, use_rotary_positional_embeddings=False,
             sample_width=8, sample_height=6, sample_frames=17, time_embed_dim=16, text_embed_dim=20, in_channels=4,
             out_channels=4, max_text_seq_length=16),
        dict(block_out_channels=(8, 8, 8, 12), layers_per_block=1), 48, 32, 17, 7, snr_shift=3.0, scaling=1.15258426,
        negative="snow, rain", dtype=torch.float16,
    ),
    # one frame: stage-one training and images; guidance 1 runs the prompt's branch alone
    "image_rope": case(
        dict(num_attention_heads=2, attention_head_dim=16, num_layers=3, use_rotary_positional_embeddings=True,
             sample_width=8, sample_height=6, sample_frames=9, time_embed_dim=16, text_embed_dim=20, in_channels=8,
             out_channels=8, max_text_seq_length=10),
        dict(block_out_channels=(4, 4, 8, 12), layers_per_block=1), 48, 64, 1, 4, scheduler="dpm", guidance=1.0,
    ),
    # 1.5: temporal patches, patch_bias false, "slice" rotary grid, three latent frames padded to four at the front
    "v15_ddim": case(
        dict(num_attention_heads=2, attention_head_dim=16, num_layers=2, use_rotary_positional_embeddings=True,
             sample_width=10, sample_height=8, sample_frames=9, time_embed_dim=16, text_embed_dim=20, in_channels=8,
             out_channels=8, max_text_seq_length=12, patch_size_t=2, patch_bias=False),
        dict(block_out_channels=(8, 8, 8, 12), layers_per_block=1), 48, 32, 9, 3, negative="blue", invert_scale=True,
    ),
}


def build(name, options, folder, generator):
    """A pipeline with drawn weights, saved to `folder`, then widened to f32."""
    sizes = options["transformer"]
    tokenizer_dir = os.path.join(folder, "tokenizer")
    max_length = sizes["max_text_seq_length"]
    pieces = train_spiece(tokenizer_dir, f"spiece {name}", options["full_charsmap"])
    write_tokenizer_config(tokenizer_dir, pieces, max_length)

    # T5 rounds its table up as the released one does: more rows than tokens
    text_encoder = T5EncoderModel(
        T5Config(vocab_size=pieces + 128, d_model=sizes["text_embed_dim"], d_kv=6, d_ff=28, num_layers=2, num_heads=4,
                 relative_attention_num_buckets=32, relative_attention_max_distance=128, feed_forward_proj="gated-gelu",
                 layer_norm_epsilon=1e-6, is_encoder_decoder=False, use_cache=False, dropout_rate=0.0)
    ).eval()
    randomise(text_encoder, generator, 1.25)
    transformer = CogVideoXTransformer3DModel(**sizes).eval()
    randomise(transformer, generator)
    vae = AutoencoderKLCogVideoX(
        in_channels=3, out_channels=3, down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4, latent_channels=sizes["in_channels"], norm_num_groups=4,
        temporal_compression_ratio=4, scaling_factor=options["scaling"], invert_scale_latents=options["invert_scale"],
        sample_height=sizes["sample_height"] * 8, sample_width=sizes["sample_width"] * 8, **options["vae"],
    ).eval()
    randomise(vae, generator, 0.6)
    cls = {"ddim": CogVideoXDDIMScheduler, "dpm": CogVideoXDPMScheduler}[options["scheduler"]]
    pipeline = CogVideoXPipeline(
        tokenizer=T5Tokenizer.from_pretrained(tokenizer_dir), text_encoder=text_encoder, vae=vae, transformer=transformer,
        scheduler=scheduler(cls, options["snr_shift"]),
    )
    pipeline.set_progress_bar_config(disable=True)

    for part in (text_encoder, transformer, vae):
        part.to(options["dtype"])
    pipeline.save_pretrained(folder, safe_serialization=True)
    if options["shard_size"]:
        os.remove(os.path.join(folder, "transformer", "diffusion_pytorch_model.safetensors"))
        transformer.save_pretrained(os.path.join(folder, "transformer"), max_shard_size=options["shard_size"])
    # saving with transformers 5 adds tokenizer.json and rewrites the settings; released folders hold neither
    os.remove(os.path.join(tokenizer_dir, "tokenizer.json"))
    write_tokenizer_config(tokenizer_dir, pieces, max_length)
    for part in (text_encoder, transformer, vae):
        part.to(torch.float32)
    return pipeline


@torch.no_grad()
def make(name, options, out, seed):
    folder = os.path.join(out, name)
    shutil.rmtree(folder, ignore_errors=True)
    generator = torch.Generator().manual_seed(seed)
    pipeline = build(name, options, folder, generator)
    transformer, vae = pipeline.transformer, pipeline.vae
    height, width, frames = options["height"], options["width"], options["frames"]
    max_length = transformer.config.max_text_seq_length
    rng = random.Random(seed)
    prompt, negative = " ".join(rng.choice(WORDS) for _ in range(4)) + ", café!", options["negative"]

    latent_frames = (frames - 1) // 4 + 1
    padding = -latent_frames % (transformer.config.patch_size_t or 1)
    shape = (1, latent_frames + padding, transformer.config.in_channels, height // 8, width // 8)
    latents = torch.randn(shape, generator=generator)
    video = torch.rand(1, 3, frames, height, width, generator=generator) * 2 - 1

    prompt_embeds, negative_embeds = pipeline.encode_prompt(prompt, negative, True, max_sequence_length=max_length)
    with RecordedNoise(generator) as noise:
        result = pipeline(
            prompt=prompt, negative_prompt=negative, height=height, width=width, num_frames=frames,
            num_inference_steps=options["steps"], guidance_scale=options["guidance"], use_dynamic_cfg=options["dynamic"],
            latents=latents.clone(), max_sequence_length=max_length, output_type="latent",
            callback_on_step_end=noise.next_step if options["scheduler"] == "dpm" else None,
            callback_on_step_end_tensor_inputs=["latents"],
        ).frames
    decoded = pipeline.decode_latents(result[:, padding:])
    posterior = vae.encode(video).latent_dist
    rotary = None
    if transformer.config.use_rotary_positional_embeddings:
        rotary = pipeline._prepare_rotary_positional_embeddings(height, width, shape[1], torch.device("cpu"))

    def velocity(timestep):
        return transformer(hidden_states=latents, encoder_hidden_states=prompt_embeds, timestep=torch.tensor([timestep]),
                           image_rotary_emb=rotary, return_dict=False)[0]

    ids = pipeline.tokenizer([prompt, negative], padding="max_length", max_length=max_length, truncation=True).input_ids
    inputs = {"latents": latents, "video_in": video[0].permute(1, 0, 2, 3)}
    if noise.draws:
        assert len(noise.draws) == options["steps"]
        inputs["sde_noise"] = torch.stack(noise.draws)
    pipeline.scheduler.set_timesteps(options["steps"])
    expected = {
        "token_ids": torch.tensor(ids),
        "prompt_embeds": prompt_embeds,
        "negative_prompt_embeds": negative_embeds,
        "transformer_t517": velocity(517),
        "velocity_first_step": velocity(int(pipeline.scheduler.timesteps[0])),
        "latents": result,
        "frames": (decoded / 2 + 0.5).clamp(0, 1)[0].permute(1, 0, 2, 3),
        "vae_mean": posterior.mean,
        "vae_logvar": posterior.logvar,
    }
    write_tensors(os.path.join(folder, "inputs.safetensors"), inputs)
    write_tensors(os.path.join(folder, "expected.safetensors"), expected)
    write_json(os.path.join(folder, "case.json"), dict(
        prompt=prompt, negative_prompt=negative, height=height, width=width, frames=frames, steps=options["steps"],
        guidance=options["guidance"], dynamic_guidance=options["dynamic"], scheduler=options["scheduler"],
        sde_noise=bool(noise.draws)))
    out_frames = expected["frames"]
    saturated = float(((out_frames == 0) | (out_frames == 1)).float().mean())
    print(f"{name}: latents std {result.std():.3f}, frames {tuple(out_frames.shape)} std {out_frames.std():.3f}, "
          f"clamped {saturated:.2f}, velocity std {expected['transformer_t517'].std():.3f}, ids {ids[0][:8]}")


if __name__ == "__main__":
    out, wanted = sys.argv[1], sys.argv[2:] or list(CASES)
    for index, (name, options) in enumerate(CASES.items()):
        if name in wanted:
            make(name, options, out, 7000 + index)
