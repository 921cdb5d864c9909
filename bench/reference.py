"""Times diffusers' CogVideoX pipeline on CPU, stage by stage, on a mid-size checkpoint with drawn weights.

Usage: python reference.py FOLDER [--height 240 --width 368 --frames 9 --steps 3 --threads 2]

FOLDER receives an ordinary pipeline folder (0.8 GB, f32) on the first run and is reused after; another implementation can be
timed on the same folder, prompt and size. Prints one JSON object; progress goes to stderr. Peak memory is that of the process
during the stage (Linux: VmHWM, reset before each), weights included.
Written for torch 2.9.0, diffusers 0.42.1, transformers 5.23.0; times of other versions are not comparable.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel

TOKENIZER = Path(__file__).resolve().parent.parent / "goldens" / "t5" / "tokenizer"
PROMPT, NEGATIVE = "a woman walking in the park at sunset, soft light.", ""


def make_checkpoint(folder):
    """5B's layout, smaller: 12 layers of 12 heads, VAE at half width, T5 of 8 layers."""
    torch.manual_seed(0)
    text_encoder = transformers.T5EncoderModel(transformers.T5Config(
        vocab_size=32128, d_model=512, d_kv=64, d_ff=1280, num_layers=8, num_heads=8, feed_forward_proj="gated-gelu",
        is_encoder_decoder=False, use_cache=False, dropout_rate=0.0))
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=12, attention_head_dim=64, num_layers=12, time_embed_dim=256, text_embed_dim=512,
        use_rotary_positional_embeddings=True)
    vae = AutoencoderKLCogVideoX(
        block_out_channels=(64, 128, 128, 256), layers_per_block=3, latent_channels=16, scaling_factor=0.7,
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4)
    scheduler = CogVideoXDDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=1.0, timestep_spacing="trailing")
    tokenizer = transformers.T5Tokenizer.from_pretrained(TOKENIZER)
    CogVideoXPipeline(tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer,
                      scheduler=scheduler).save_pretrained(folder)
    # released folders hold spiece.model and no tokenizer.json
    shutil.rmtree(Path(folder) / "tokenizer")
    shutil.copytree(TOKENIZER, Path(folder) / "tokenizer")


def peak_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


@contextmanager
def stage(name, report):
    print(name, file=sys.stderr)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    start = time.perf_counter()
    yield
    report["seconds"][name] = round(time.perf_counter() - start, 3)
    report["peak_bytes"][name] = peak_bytes()


@torch.no_grad()
def measure(options):
    torch.set_num_threads(options.threads)
    report = {
        "torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__,
        "threads": options.threads, "height": options.height, "width": options.width, "frames": options.frames,
        "steps": options.steps, "seconds": {}, "peak_bytes": {},
    }
    with stage("load", report):
        pipeline = CogVideoXPipeline.from_pretrained(options.folder)
        pipeline.set_progress_bar_config(disable=True)
    with stage("text_encode", report):
        embeds, negative = pipeline.encode_prompt(PROMPT, NEGATIVE, True)
    ends = []

    def step_end(*_):
        ends.append(time.perf_counter())
        print(f"step {len(ends)}", file=sys.stderr)
        return {}

    with stage("denoise", report):
        start = time.perf_counter()
        latents = pipeline(
            prompt_embeds=embeds, negative_prompt_embeds=negative, height=options.height, width=options.width,
            num_frames=options.frames, num_inference_steps=options.steps, guidance_scale=6.0, output_type="latent",
            generator=torch.Generator().manual_seed(0), callback_on_step_end=step_end,
            callback_on_step_end_tensor_inputs=["latents"]).frames
    report["step_seconds"] = [round(end - begin, 3) for begin, end in zip([start, *ends], ends)]
    with stage("decode", report):
        frames = pipeline.decode_latents(latents)
    report["video_tokens"] = latents.shape[1] * latents.shape[3] * latents.shape[4] // 4
    report["decoded_shape"] = list(frames.shape)
    report["peak_bytes"]["overall"] = max(report["peak_bytes"].values())
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--width", type=int, default=368)
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--make-only", action="store_true", help="write the checkpoint and stop")
    options = parser.parse_args()
    if options.make_only:
        make_checkpoint(options.folder)
        return
    if not os.path.exists(os.path.join(options.folder, "model_index.json")):
        # in a process of its own, so that its memory is not counted
        subprocess.run([sys.executable, __file__, options.folder, "--make-only"], check=True, stdout=sys.stderr)
    print(json.dumps(measure(options)))


if __name__ == "__main__":
    main()
