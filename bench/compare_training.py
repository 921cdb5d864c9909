"""Samples a second of training steps: MagicMirror against the same networks in PyTorch, one after the other, on the CPU.

Usage: python compare_training.py FOLDER [--steps 12 --threads 2 --rows vae pictures clips mid image video mid-image]

FOLDER receives a few drawn people and the runs. Both sides make whole steps in f32: forward and backward passes of all
micro-batches, clipping, AdamW, Muon where the configuration has it, and the moving average. (PyTorch's own Muon multiplies in bf16,
which CPUs without instructions for it take 20 times as long for.) PyTorch has the threads in one process,
MagicMirror one replica a thread, as the configurations recommend. Batches, sizes and losses are those of configs/nano-*.toml; `mid` is a
transformer of 12 blocks of 12 heads with a text encoder of 8 layers. The last three train an adapter on a frozen transformer, by the
losses of velocity and region, and compare a velocity of both sides before. PyTorch's data is in memory and drawn; MagicMirror's is read
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
from safetensors.torch import load_file, save_file
from torch.nn import functional

from adapter_torch import TrainedAdapter

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "magicmirror"
CONFIGS = ROOT / "configs"
NANO = ROOT / "assets" / "nano"
WARM_UP = 2
# `mid`: what differs from configs/nano.
MID_TRANSFORMER = {"num_attention_heads": 12, "num_layers": 12, "time_embed_dim": 256, "text_embed_dim": 512}
MID_TEXT = {"d_model": 512, "d_kv": 64, "d_ff": 1280, "num_layers": 8, "num_heads": 8}
# A quarter of the paper's widths.
MID_ADAPTER = {
    "num_attention_heads": 12, "time_embed_dim": 256, "text_embed_dim": 512,
    "id_perceiver": {"dim": 512, "tokens": 2, "depth": 4, "head_dim": 128, "ff_mult": 4, "mlp_ratio": 4},
    "face_perceiver": {"dim": 256, "tokens": 32, "depth": 4, "head_dim": 64, "ff_mult": 4},
    "can": {"id_proj_dim": 128, "hidden_dim": 256}, "face_modulation": {"hidden_dim": 128},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", nargs="+", default=["vae", "pictures", "clips", "mid", "image", "video", "mid-image"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    torch.optim._muon._zeropower_via_newtonschulz = orthogonalise
    lab = Lab(given.folder.resolve(), given.steps, given.threads)
    rows = {
        "vae": ("VAE, crops of 64×64", lab.vae, "nano-vae.toml", CONFIGS / "nano", {}),
        "pictures": ("text encoder and transformer, pictures of 96×144", lab.backbone, "nano-backbone-pictures.toml", CONFIGS / "nano", {}),
        "clips": ("the same, clips of 17 frames", lab.backbone, "nano-backbone-clips.toml", CONFIGS / "nano", {}),
        "mid": ("12 blocks of 12 heads, clips of 17 frames", lab.backbone, "nano-backbone-clips.toml", lab.mid(),
                {"batch": 4, "micro_batch": 2}),
        "image": ("adapter, stage 1: pictures of 96×144", lab.stage, "nano-stage1.toml", CONFIGS / "nano", {}),
        "video": ("adapter, stage 2 without identity term: clips of 17 frames", lab.stage, "nano-stage2.toml", CONFIGS / "nano", {}),
        "mid-image": ("adapter, stage 1, on 12 blocks of 12 heads: pictures of 96×144", lab.stage, "nano-stage1.toml", lab.mid(),
                      {"batch": 8, "micro_batch": 4}),
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
        self.people = folder / "one-photo-people"
        if not self.people.exists():
            self.program("data", "people", "--output", self.people, "--pairs", 64, "--clips", 16, "--identities", 28,
                         "--validation", 0, "--test", 0, "--format", "folder")
            # Clips have several photos, and only samples with equally many can be computed together.
            for path in self.people.glob("*/*.json"):
                about = read_json(path)
                path.write_text(json.dumps(about | {"references": about["references"][:1]}))
        if not (folder / "vae" / "model").exists():
            self.train("vae", "vae", CONFIGS / "nano-vae.toml", {"vae": CONFIGS / "nano" / "vae", "data.folder": self.people})

    def mid(self):
        """A pipeline folder of another size; like configs/nano it has no weights yet."""
        folder = self.folder / "mid-pipeline"
        if not folder.exists():
            subprocess.run(["cp", "-r", CONFIGS / "nano", folder], check=True)
            for part, changes in [("transformer", MID_TRANSFORMER), ("text_encoder", MID_TEXT)]:
                path = folder / part / "config.json"
                path.write_text(json.dumps(read_json(path) | changes))
        return folder

    def with_weights(self, pipeline):
        """What an adapter is trained on: the shipped model, or drawn weights of another size."""
        if pipeline == CONFIGS / "nano":
            return NANO
        folder = self.folder / "mid-backbone"
        if not folder.exists():
            subprocess.run(["cp", "-r", pipeline, folder], check=True)
            subprocess.run(["cp", "-r", NANO / "vae", folder], check=True)
            for part, network in zip(("text_encoder", "transformer"), drawn(pipeline)):
                network.save_pretrained(folder / part)
        return folder

    def adapter(self, name, backbone):
        folder, config = self.folder / f"{name}-adapter", self.folder / f"{name}-adapter.json"
        if not folder.exists():
            sizes = read_json(CONFIGS / "nano" / "adapter_config.json") | ({} if backbone == NANO else MID_ADAPTER)
            config.write_text(json.dumps(sizes))
            self.program("models", "init-adapter", "--backbone", backbone, "--config", config, "--output", folder)
            subprocess.run(["cp", "-r", NANO / "adapter" / "vision", folder], check=True)
            # A fresh adapter changes nothing: what starts at zero is drawn too, so that the comparison sees it.
            weights = load_file(folder / "model.safetensors")
            weights = {key: value if value.any() else 0.02 * torch.randn(value.shape) for key, value in weights.items()}
            save_file(weights, folder / "model.safetensors")
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
        settings = settings | {f"run.{key}": value for key, value in run.items()}
        flags = [item for key, value in settings.items() for item in ("--set", f"{key}={toml(value)}")]
        self.program("train", kind, "--config", config, "--run", run_folder, "--device", ",".join(["cpu"] * self.threads), *flags)
        lines = (run_folder / "metrics.jsonl").read_text().splitlines()
        return [line["seconds"] for line in map(json.loads, lines) if "seconds" in line]

    def vae(self, name, config):
        ours = self.train("vae", name, config["name"], {"vae": f"{config['pipeline']}/vae", "data.folder": self.people})
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
        settings = {"data.folder": self.people, "data.picture_share": float(pictures), "pipeline": config["pipeline"],
                    "vae": self.folder / "vae" / "model" / "vae", "data.cache": self.folder / "cache", "validation.prompts": []}
        run = {key: config["run"][key] for key in ("batch", "micro_batch")}
        ours = self.train("backbone", name, config["name"], settings, run)
        text_encoder, transformer = drawn(Path(config["pipeline"]))
        latents, noise, rotary = samples(transformer.config, config["run"]["batch"], pictures)
        ids = torch.randint(text_encoder.config.vocab_size, (len(latents), transformer.config.max_text_seq_length))

        def loss(positions):
            timesteps, noisy, target = noised(latents[positions], noise[positions])
            text = text_encoder(ids[positions]).last_hidden_state
            velocity = transformer(noisy, text, timesteps, image_rotary_emb=rotary).sample
            return functional.mse_loss(velocity, target)

        return self.rates(config, [text_encoder, transformer], loss, ours)

    def stage(self, name, config):
        kind, backbone = "video" if name == "video" else "image", self.with_weights(Path(config["pipeline"]))
        folder = self.adapter(name, backbone)
        transformer = CogVideoXTransformer3DModel.from_pretrained(backbone / "transformer").requires_grad_(False)
        adapter, shape = TrainedAdapter.load(folder), transformer.config
        adapter.attach(transformer)
        batch, sizes, vision = config["run"]["batch"], adapter.config, read_json(folder / "vision" / "config.json")
        latents, noise, rotary = samples(shape, batch, kind == "image")
        text = torch.randn(batch, shape.max_text_seq_length, shape.text_embed_dim)
        mask = (torch.arange(shape.max_text_seq_length) // sizes["id_perceiver"]["tokens"] == 1).expand(batch, -1)
        image_tokens = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
        features = {"id_embeds": torch.randn(batch, sizes["id_embed_dim"])}
        for key in ("vision_last", "vision_penultimate"):
            features[key] = torch.randn(batch, image_tokens, sizes["vision_hidden_size"])
        self.compare_velocity(name, backbone, adapter, noise[:1], rotary, {key: value[:1] for key, value in features.items()})

        people = [{"path": self.people}]
        settings = {"model.backbone": backbone, "model.adapter": folder, "data.cache": self.folder / "cache", "loss.identity_weight": 0}
        settings |= {"data.images": people} if kind == "image" else {"data.clips": people, "data.images": [], "data.image_share": 0}
        ours = self.train(kind, name, config["name"], settings, {key: config["run"][key] for key in ("batch", "micro_batch")})
        regions = (torch.rand_like(latents[:, :, :1]) < 0.2).float()
        regions[torch.rand(batch) >= config["loss"]["region_probability"]] = 1
        weights = regions / (regions.sum((1, 2, 3, 4), keepdim=True) * shape.in_channels)

        def loss(positions):
            timesteps, noisy, target = noised(latents[positions], noise[positions])
            of_people = {key: value[positions] for key, value in features.items()}
            velocity = adapter.velocity(noisy, text[positions], mask[positions], timesteps, rotary, **of_people)
            return ((velocity - target) ** 2 * weights[positions]).sum((1, 2, 3, 4)).mean()

        return self.rates(config, [adapter], loss, ours)

    @torch.no_grad()
    def compare_velocity(self, name, backbone, adapter, latents, rotary, features):
        """Both sides must predict the same, with the weights that they are trained from."""
        folder = self.folder / f"{name}-velocity"
        folder.mkdir(exist_ok=True)
        save_file(features, folder / "identity.safetensors")
        save_file({"latents": latents}, folder / "latents.safetensors")
        given = {"backbone": backbone, "adapter": self.folder / f"{name}-adapter", "identity": folder / "identity.safetensors",
                 "prompt": "a woman img in a park", "frames": latents.shape[1], "steps": 1, "guidance": 1, "device": "cpu", "dtype": "f32",
                 "latents": folder / "latents.safetensors", "tensors": folder / "tensors.safetensors", "output": folder / "frames"}
        self.program("generate", *(item for key, value in given.items() for item in (f"--{key}", value)))
        ours = load_file(folder / "tensors.safetensors")
        velocity, mask = ours["velocity_first_step"], ours["class_token_mask"].bool()
        theirs = adapter.velocity(latents, ours["prompt_embeds"], mask, torch.tensor([999]), rotary, **features)
        difference = ((theirs - velocity).abs().max() / velocity.abs().max()).item()
        print(f"{name}: velocities differ by {difference:.1e} of the largest", file=sys.stderr)
        assert difference < 1e-4

    def rates(self, config, modules, loss, ours):
        """Samples a second of PyTorch's steps and of ours."""
        run, options = config["run"], config["optimiser"]
        named = [pair for module in modules for pair in module.named_parameters()]
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


def orthogonalise(matrix, coefficients, steps, epsilon):
    """What PyTorch's Muon does, in f32."""
    a, b, c = coefficients
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp(min=epsilon)
    for _ in range(steps):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def is_hidden_matrix(name, parameter):
    """Which parameters Muon updates: those of crates/magicmirror-engine/src/train/optimiser.rs."""
    t5 = "SelfAttention" in name or "DenseReluDense" in name
    return parameter.dim() == 2 and not t5 and any(part.isdigit() for part in name.split("."))


def drawn(pipeline):
    """A text encoder and a transformer."""
    text = read_json(pipeline / "text_encoder" / "config.json") | {"dropout_rate": 0.0}
    text_encoder = transformers.T5EncoderModel(transformers.T5Config(**text))
    return text_encoder, CogVideoXTransformer3DModel.from_config(read_json(pipeline / "transformer" / "config.json"))


def samples(shape, batch, pictures):
    """Latents, noise, and positions."""
    frames = 1 if pictures else (shape.sample_frames - 1) // shape.temporal_compression_ratio + 1
    height, width = shape.sample_height, shape.sample_width
    latents, noise = [torch.randn(batch, frames, shape.in_channels, height, width) for _ in range(2)]
    grid = (height // shape.patch_size, width // shape.patch_size)
    return latents, noise, get_3d_rotary_pos_embed(shape.attention_head_dim, ((0, 0), grid), grid, frames)


def noised(latents, noise):
    """Timesteps, what the transformer sees, and the velocity that it should predict."""
    timesteps = torch.randint(1000, (len(latents),))
    level = (timesteps / 1000).view(-1, 1, 1, 1, 1)
    signal, rest = (1 - level).sqrt(), level.sqrt()
    return timesteps, latents * signal + noise * rest, noise * signal - latents * rest


def read_json(path):
    return json.loads(path.read_text())


def toml(value):
    return json.dumps(value, separators=(", ", " = "), default=str)


if __name__ == "__main__":
    main()
