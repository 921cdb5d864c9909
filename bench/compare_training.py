"""Samples a second of training steps: MagicMirror against the same networks in PyTorch, one after the other, on the CPU.

Usage: python compare_training.py FOLDER [--steps 12 --threads 2 --rows vae pictures clips mid]

FOLDER receives a few drawn people and the runs. Both sides make whole steps in f32: forward and backward passes of all
micro-batches, clipping, AdamW, Muon where the configuration has it, and the moving average. PyTorch has the threads in one process,
MagicMirror one replica a thread, as the configurations recommend. Batches, sizes and losses are those of configs/nano-*.toml; `mid` is a
transformer of 12 blocks of 12 heads with a text encoder of 8 layers. PyTorch's data is in memory and drawn; MagicMirror's is read
as when training. A rate is the batch by the median step, the first two steps left out. Prints a Markdown table.
The machine must be idle: PyTorch's threads wait for each other in busy loops, and where another program takes one of their cores
a step takes many times as long. One thread (`--threads 1`) is not disturbed so.
Needs torch, diffusers and transformers (written for 2.9.0, 0.42.1, 5.23.0), and the program built (`cargo build --release`).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed
from torch.nn import functional

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "magicmirror"
CONFIGS = ROOT / "configs"
WARM_UP = 2
# `mid`: what differs from configs/nano.
MID_TRANSFORMER = {"num_attention_heads": 12, "num_layers": 12, "time_embed_dim": 256, "text_embed_dim": 512}
MID_TEXT = {"d_model": 512, "d_kv": 64, "d_ff": 1280, "num_layers": 8, "num_heads": 8}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", nargs="+", default=["vae", "pictures", "clips", "mid"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    lab = Lab(given.folder.resolve(), given.steps, given.threads)
    rows = {
        "vae": ("VAE, crops of 64×64", lab.vae, "nano-vae.toml", CONFIGS / "nano", {}),
        "pictures": ("text encoder and transformer, pictures of 96×144", lab.backbone, "nano-backbone-pictures.toml", CONFIGS / "nano", {}),
        "clips": ("the same, clips of 17 frames", lab.backbone, "nano-backbone-clips.toml", CONFIGS / "nano", {}),
        "mid": ("12 blocks of 12 heads, clips of 17 frames", lab.backbone, "nano-backbone-clips.toml", lab.mid(),
                {"batch": 4, "micro_batch": 2}),
    }
    print(f"{given.threads} threads, f32, {given.steps} steps; torch {torch.__version__}, diffusers {diffusers.__version__}; "
          f"load before: {os.getloadavg()[0]:.1f}\n")
    print("| step | batch | PyTorch, samples/s | MagicMirror, samples/s | MagicMirror / PyTorch |\n| --- | --- | --- | --- | --- |")
    for row in given.rows:
        name, compare, config, pipeline, run = rows[row]
        config = tomllib.loads((CONFIGS / config).read_text()) | {"name": CONFIGS / config, "pipeline": str(pipeline)}
        config["run"] |= run
        theirs, ours = compare(row, config)
        print(f"| {name} | {config['run']['batch']} | {theirs:.2f} | {ours:.2f} | {ours / theirs:.2f} |", flush=True)


class Lab:
    def __init__(self, folder, steps, threads):
        self.folder, self.steps, self.threads = folder, steps, threads
        self.people = folder / "people"
        if not (self.people / "dataset.json").exists():
            self.program("data", "people", "--output", self.people, "--pairs", 64, "--clips", 16, "--identities", 28,
                         "--validation", 0, "--test", 0)
        if not (folder / "vae" / "model").exists():
            self.train("vae", "vae", CONFIGS / "nano-vae.toml", {"vae": CONFIGS / "nano" / "vae"})

    def mid(self):
        """A pipeline folder of another size; like configs/nano it has no weights yet."""
        folder = self.folder / "mid-pipeline"
        if not folder.exists():
            subprocess.run(["cp", "-r", CONFIGS / "nano", folder], check=True)
            for part, changes in [("transformer", MID_TRANSFORMER), ("text_encoder", MID_TEXT)]:
                path = folder / part / "config.json"
                path.write_text(json.dumps(read_json(path) | changes))
        return folder

    def program(self, *arguments):
        # The allocator's settings that the configurations recommend.
        environment = dict(os.environ, RAYON_NUM_THREADS=str(self.threads), MALLOC_MMAP_THRESHOLD_="4294967296",
                           MALLOC_TRIM_THRESHOLD_="17179869184")
        subprocess.run([PROGRAM, *map(str, arguments)], check=True, env=environment, stdout=sys.stderr)

    def train(self, kind, name, config, settings, run=None):
        """Seconds of each step."""
        run_folder = self.folder / name
        subprocess.run(["rm", "-rf", run_folder], check=True)
        run = {"steps": self.steps, "checkpoint_every": self.steps, "validate_every": 0, **(run or {})}
        settings = settings | {"data.folder": self.people} | {f"run.{key}": value for key, value in run.items()}
        flags = [item for key, value in settings.items() for item in ("--set", f"{key}={toml(value)}")]
        self.program("train", kind, "--config", config, "--run", run_folder, "--device", ",".join(["cpu"] * self.threads), *flags)
        lines = (run_folder / "metrics.jsonl").read_text().splitlines()
        return [line["seconds"] for line in map(json.loads, lines) if "seconds" in line]

    def vae(self, name, config):
        ours = self.train("vae", name, config["name"], {"vae": f"{config['pipeline']}/vae"})
        batch, (height, width) = config["run"]["batch"], config["data"]["crop"]
        vae = AutoencoderKLCogVideoX.from_config(read_json(Path(config["pipeline"]) / "vae" / "config.json"))
        frames = torch.rand(batch, 3, 1, height, width) * 2 - 1
        weights = torch.ones(batch, 1, 1, height, width)

        def loss(positions):
            posterior = vae.encode(frames[positions]).latent_dist
            error = vae.decode(posterior.sample()).sample - frames[positions]
            planes, mass = [x.expand_as(error).flatten(1, 2) for x in (error, weights[positions])]
            hue = (error - error.mean(1, keepdim=True)).abs() * weights[positions]
            total = (planes.abs() * mass).mean() + config.get("loss", {}).get("colour", 0.0) * hue.mean()
            for scale in range(3):
                if scale:
                    planes, mass = [functional.avg_pool2d(x, 2) for x in (planes, mass)]
                for axis in (2, 3):
                    total = total + (planes.diff(dim=axis).abs() * mass.narrow(axis, 1, mass.shape[axis] - 1)).mean() / 3
            return total + 1e-4 * posterior.kl().mean() / posterior.mean[0].numel()

        return self.rates(config, [vae], loss, ours)

    def backbone(self, name, config):
        pictures = name == "pictures"
        settings = {"data.picture_share": float(pictures), "pipeline": config["pipeline"],
                    "vae": self.folder / "vae" / "model" / "vae", "data.cache": self.folder / "cache", "validation.prompts": []}
        run = {key: config["run"][key] for key in ("batch", "micro_batch")}
        ours = self.train("backbone", name, config["name"], settings, run)
        pipeline = Path(config["pipeline"])
        shape = read_json(pipeline / "transformer" / "config.json")
        transformer = CogVideoXTransformer3DModel.from_config(shape)
        text = read_json(pipeline / "text_encoder" / "config.json") | {"dropout_rate": 0.0}
        text_encoder = transformers.T5EncoderModel(transformers.T5Config(**text))
        batch = config["run"]["batch"]
        frames = 1 if pictures else (shape["sample_frames"] - 1) // shape["temporal_compression_ratio"] + 1
        height, width = shape["sample_height"], shape["sample_width"]
        latents, noise = [torch.randn(batch, frames, shape["in_channels"], height, width) for _ in range(2)]
        ids = torch.randint(text_encoder.config.vocab_size, (batch, shape["max_text_seq_length"]))
        grid = (height // shape["patch_size"], width // shape["patch_size"])
        rotary = get_3d_rotary_pos_embed(shape["attention_head_dim"], ((0, 0), grid), grid, frames)

        def loss(positions):
            timesteps = torch.randint(1000, (len(positions),))
            level = (timesteps / 1000).view(-1, 1, 1, 1, 1)
            noisy = latents[positions] * (1 - level).sqrt() + noise[positions] * level.sqrt()
            target = noise[positions] * (1 - level).sqrt() - latents[positions] * level.sqrt()
            text = text_encoder(ids[positions]).last_hidden_state
            velocity = transformer(noisy, text, timesteps, image_rotary_emb=rotary).sample
            return functional.mse_loss(velocity, target)

        return self.rates(config, [text_encoder, transformer], loss, ours)

    def rates(self, config, modules, loss, ours):
        """Samples a second of PyTorch's steps and of ours."""
        run, options = config["run"], config["optimiser"]
        named = [pair for module in modules for pair in module.train().named_parameters()]
        parameters = [parameter for _, parameter in named]
        hidden = [parameter for name, parameter in named if "muon_learning_rate" in options and is_hidden_matrix(name, parameter)]
        others = [parameter for parameter in parameters if not any(parameter is other for other in hidden)]
        matrices = [parameter for parameter in others if parameter.dim() > 1]
        vectors = [parameter for parameter in others if parameter.dim() <= 1]
        decay, beta1 = options.get("weight_decay", 0.0), options.get("beta1", 0.9)
        groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
        optimisers = [torch.optim.AdamW(groups, lr=options["learning_rate"], betas=(beta1, options["beta2"]))]
        if hidden:
            optimisers.append(torch.optim.Muon(hidden, lr=options["muon_learning_rate"], weight_decay=decay, momentum=beta1,
                                               adjust_lr_fn="match_rms_adamw"))
        average = [parameter.detach().clone() for parameter in parameters]
        seconds = []
        for _ in range(self.steps):
            start = time.perf_counter()
            for first in range(0, run["batch"], run["micro_batch"]):
                positions = list(range(first, min(first + run["micro_batch"], run["batch"])))
                (loss(positions) * (len(positions) / run["batch"])).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            for optimiser in optimisers:
                optimiser.step()
                optimiser.zero_grad()
            with torch.no_grad():
                torch._foreach_lerp_(average, parameters, 1 - options["average_decay"])
            seconds.append(time.perf_counter() - start)
        return [run["batch"] / statistics.median(times[WARM_UP:]) for times in (seconds, ours)]


def is_hidden_matrix(name, parameter):
    """Which parameters Muon updates: those of crates/magicmirror-engine/src/train/optimiser.rs."""
    t5 = "SelfAttention" in name or "DenseReluDense" in name
    return parameter.dim() == 2 and not t5 and any(part.isdigit() for part in name.split("."))


def read_json(path):
    return json.loads(path.read_text())


def toml(value):
    return json.dumps(str(value)) if isinstance(value, Path) else json.dumps(value)


if __name__ == "__main__":
    main()
