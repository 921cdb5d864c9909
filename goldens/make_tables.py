"""Scheduler, guidance and position tables as diffusers computes them.

Usage: python make_tables.py OUT.safetensors      (the repository's copy: python make_tables.py tables.safetensors)

Keys (snrS: snr_shift_scale S; N: number of inference steps):
  timesteps.N                    i64, "trailing"
  snrS.alphas_cumprod            f64 [1000]: diffusers keeps this table in f64 and casts a coefficient only where it meets
                                 an f32 tensor
  snrS.ddim.N.{sample,velocity}  f64 [N]: x_next = sample * x + velocity * v
  snrS.dpm.N.{lambda,lambda_next,h,r,mult1,mult2,mult3,mult4,noise}
                                 f64 [N]; r, mult3 and mult4 are NaN on the first step, which has no step behind it
                                 x_next = mult1 * x - mult2 * (mult3 * x0 - mult4 * x0_before) + noise * e
                                 infinities at t = 999 (signal 0) and where the step lands on signal 1 are diffusers' own
  snrS.path.{ddim,dpm}.N.{start,velocities,noise,states}
                                 f32: a sample driven by drawn velocities; states[i] is the sample after step i
  guidance.N                     f64 [N]: the guidance of each step with use_dynamic_cfg and guidance_scale 6
  rotary.<case>.{cos,sin}        f32 [rows, head_dim]; .rows i64: which rows of the whole table (absent: all of them)
  sincos.<case>.table            f32 [rows, dim], video tokens only (no text rows); .rows as above

For 62 of the step counts 1..1000 (61, 103, 121, 122, 201, ...) diffusers 0.42.1 yields N + 1 timesteps, the last of them -1:
`np.arange(1000, 0, -1000 / N)` runs one element over. None of those counts is in the table.
The settings behind the rotary and sincos cases are in tables.json.
"""

import sys

import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from diffusers.models.embeddings import CogVideoXPatchEmbed
from reference import RecordedNoise, scheduler, write_json, write_tensors

# 16 and 400 divide 1000 with halves, which numpy rounds to even
STEP_COUNTS = [1, 2, 3, 4, 7, 10, 16, 30, 50, 100, 400, 999, 1000]
COEFFICIENT_COUNTS = [4, 7, 10, 50]
PATHS = [(1.0, 10), (3.0, 7)]


def ddim_coefficients(shift, steps):
    """The step is linear in sample and velocity: probe it with ones and zeros."""
    ddim = scheduler(CogVideoXDDIMScheduler, shift)
    ddim.set_timesteps(steps)
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    rows = [[ddim.step(v, t, x, return_dict=False)[0] for t in ddim.timesteps] for v, x in ((zero, one), (one, zero))]
    return {"sample": torch.cat(rows[0]), "velocity": torch.cat(rows[1])}


def dpm_coefficients(shift, steps):
    """What `get_variables` and `get_mult` return along one run."""
    dpm = scheduler(CogVideoXDPMScheduler, shift)
    dpm.set_timesteps(steps)
    nan = torch.tensor(float("nan"), dtype=torch.float64)
    rows = []
    for i, t in enumerate(dpm.timesteps):
        before = t - 1000 // steps
        alpha = dpm.alphas_cumprod[t]
        alpha_next = dpm.alphas_cumprod[before] if before >= 0 else dpm.final_alpha_cumprod.double()
        alpha_back = dpm.alphas_cumprod[dpm.timesteps[i - 1]] if i else None
        h, r, current, following = dpm.get_variables(alpha, alpha_next, alpha_back)
        mult = list(dpm.get_mult(h, r, alpha, alpha_next, alpha_back)) + ([] if i else [nan, nan])
        noise = (1 - alpha_next) ** 0.5 * (1 - (-2 * h).exp()) ** 0.5
        rows.append(torch.stack([current, following, h, nan if r is None else r, *mult, noise]))
    names = ["lambda", "lambda_next", "h", "r", "mult1", "mult2", "mult3", "mult4", "noise"]
    return dict(zip(names, torch.stack(rows, dim=1)))


def path(cls, shift, steps, generator):
    """A whole run in f32 driven by drawn velocities."""
    sampler = scheduler(cls, shift)
    sampler.set_timesteps(steps)
    sample = torch.randn(1, 2, 3, 2, 4, generator=generator)
    velocities = torch.randn(steps, *sample.shape, generator=generator)
    result = {"start": sample, "velocities": velocities}
    states, before = [], None
    with RecordedNoise(generator) as noise:
        for i, t in enumerate(sampler.timesteps):
            if cls is CogVideoXDDIMScheduler:
                sample = sampler.step(velocities[i], t, sample, return_dict=False)[0]
            else:
                back = sampler.timesteps[i - 1] if i else None
                sample, before = sampler.step(velocities[i], before, t, back, sample, return_dict=False)
            noise.next_step()
            states.append(sample)
    if noise.draws:
        result["noise"] = torch.stack(noise.draws)
    return result | {"states": torch.stack(states)}


def pipeline_for(transformer):
    """A pipeline without text encoder and VAE: the transformer's sizes are all that its tables depend on."""
    pipeline = CogVideoXPipeline(tokenizer=None, text_encoder=None, vae=None, transformer=transformer,
                                 scheduler=scheduler(CogVideoXDDIMScheduler, 1.0))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def small_transformer(**sizes):
    defaults = dict(num_attention_heads=1, attention_head_dim=16, num_layers=1, time_embed_dim=4, text_embed_dim=4,
                    in_channels=4, out_channels=4, max_text_seq_length=2, use_rotary_positional_embeddings=True)
    return CogVideoXTransformer3DModel(**(defaults | sizes)).eval()


@torch.no_grad()
def guidance(steps):
    pipeline = pipeline_for(small_transformer(sample_height=2, sample_width=2, sample_frames=1))
    seen = []

    def record(running, *_):
        seen.append(running.guidance_scale)
        return {}

    embeds = torch.zeros(1, 2, 4)
    pipeline(prompt_embeds=embeds, negative_prompt_embeds=embeds, height=16, width=16, num_frames=1,
             num_inference_steps=steps, guidance_scale=6.0, use_dynamic_cfg=True, output_type="latent",
             callback_on_step_end=record, callback_on_step_end_tensor_inputs=["latents"])
    return torch.tensor(seen, dtype=torch.float64)


# height and width in pixels, frames in latent frames; sample sizes as in transformer/config.json
ROTARY = {
    "native_5b": dict(height=480, width=720, frames=13, head_dim=64, sample_height=60, sample_width=90, rows=40),
    "small": dict(height=64, width=96, frames=3, head_dim=16, sample_height=60, sample_width=90),
    "wide": dict(height=64, width=256, frames=2, head_dim=16, sample_height=60, sample_width=90),
    "tall": dict(height=208, width=80, frames=1, head_dim=16, sample_height=60, sample_width=90),
    "large_5b": dict(height=768, width=1360, frames=21, head_dim=64, sample_height=60, sample_width=90, rows=40),
    "v15": dict(height=768, width=1360, frames=22, head_dim=64, sample_height=96, sample_width=170, patch_size_t=2, rows=40),
    "v15_small": dict(height=64, width=96, frames=4, head_dim=32, sample_height=96, sample_width=170, patch_size_t=2),
}
# sizes in latent units; the sample sizes are those of 2B throughout, so "native" alone uses the precomputed table
SINCOS = {
    "native_2b": dict(height=60, width=90, frames=49, dim=1920, rows=10),
    "small": dict(height=8, width=12, frames=9, dim=48),
    "wide": dict(height=4, width=20, frames=5, dim=64),
}


def pick_rows(count, wanted, generator):
    """The first and last rows and some between."""
    middle = torch.randint(1, count - 1, (wanted - 2,), generator=generator)
    return torch.cat([torch.tensor([0]), middle.sort().values, torch.tensor([count - 1])])


def rotary(options, generator):
    pipeline = pipeline_for(small_transformer(
        attention_head_dim=options["head_dim"], sample_height=options["sample_height"], sample_width=options["sample_width"],
        patch_size_t=options.get("patch_size_t"), patch_bias="patch_size_t" not in options))
    cos, sin = pipeline._prepare_rotary_positional_embeddings(
        options["height"], options["width"], options["frames"], torch.device("cpu"))
    if "rows" not in options:
        return {"cos": cos, "sin": sin}
    rows = pick_rows(len(cos), options["rows"], generator)
    return {"cos": cos[rows], "sin": sin[rows], "rows": rows}


def sincos(options, generator):
    embed = CogVideoXPatchEmbed(embed_dim=options["dim"], text_embed_dim=4, sample_height=4, sample_width=4, sample_frames=1,
                                max_text_seq_length=3, use_learned_positional_embeddings=False)
    table = embed._get_positional_embeddings(options["height"], options["width"], options["frames"])[0]
    assert not table[:3].any()
    table = table[3:].float()  # kept in f64 and cast to the activations' type where it is added
    if "rows" not in options:
        return {"table": table}
    rows = pick_rows(len(table), options["rows"], generator)
    return {"table": table[rows], "rows": rows}


def main(out):
    generator = torch.Generator().manual_seed(7100)
    tensors = {}

    def add(prefix, values):
        tensors.update({f"{prefix}.{name}": value for name, value in values.items()})

    for steps in STEP_COUNTS:
        sampler = scheduler(CogVideoXDDIMScheduler, 1.0)
        sampler.set_timesteps(steps)
        tensors[f"timesteps.{steps}"] = sampler.timesteps
    for shift in (1.0, 3.0):
        table = scheduler(CogVideoXDDIMScheduler, shift).alphas_cumprod
        assert table.dtype == torch.float64
        add(f"snr{shift:.0f}", {"alphas_cumprod": table})
        for steps in COEFFICIENT_COUNTS:
            add(f"snr{shift:.0f}.ddim.{steps}", ddim_coefficients(shift, steps))
            add(f"snr{shift:.0f}.dpm.{steps}", dpm_coefficients(shift, steps))
    for shift, steps in PATHS:
        add(f"snr{shift:.0f}.path.ddim.{steps}", path(CogVideoXDDIMScheduler, shift, steps, generator))
        add(f"snr{shift:.0f}.path.dpm.{steps}", path(CogVideoXDPMScheduler, shift, steps, generator))
    for steps in (10, 50):
        tensors[f"guidance.{steps}"] = guidance(steps)
    for name, options in ROTARY.items():
        add(f"rotary.{name}", rotary(options, generator))
    for name, options in SINCOS.items():
        add(f"sincos.{name}", sincos(options, generator))
    write_tensors(out, tensors)
    write_json(out.removesuffix(".safetensors") + ".json", {"rotary": ROTARY, "sincos": SINCOS})


if __name__ == "__main__":
    main(sys.argv[1])
