"""Times MagicMirror against diffusers on the same checkpoint, prompt and size, one process after the other, on CPU.

Usage: python compare.py FOLDER [--height 240 --width 368 --frames 9 --steps 3 --threads 2]

FOLDER receives the checkpoint (see reference.py). Prints a Markdown table. Needs what reference.py needs, and the program
built (`cargo build --release`). diffusers loads all parts before the first stage, which is not counted; MagicMirror loads each part in its stage.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from reference import NEGATIVE, PROMPT

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "target" / "release" / "magicmirror"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder")
    for name, default in [("height", 240), ("width", 368), ("frames", 9), ("steps", 3), ("threads", 2)]:
        arguments.add_argument(f"--{name}", type=int, default=default)
    given = arguments.parse_args()
    size = [item for name in ("height", "width", "frames", "steps") for item in (f"--{name}", str(getattr(given, name)))]

    command = [sys.executable, str(ROOT / "bench" / "reference.py"), given.folder, *size, "--threads", str(given.threads)]
    theirs = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "video.mp4"
        command = [str(PROGRAM), "generate", "--backbone", given.folder, "--prompt", PROMPT, "--negative-prompt", NEGATIVE,
                   *size, "--device", "cpu", "--vae-tiling", "off", "--output", str(output)]
        environment = dict(os.environ, RAYON_NUM_THREADS=str(given.threads))
        subprocess.run(command, check=True, env=environment)
        ours = json.loads(Path(f"{output}.json").read_text())

    seconds = ours["seconds"]
    rows = [
        ("two prompts (MagicMirror: loading the text encoder included)", theirs["seconds"]["text_encode"], seconds["encode_prompt"]),
        ("transformer, per step", theirs["seconds"]["denoise"] / given.steps, seconds["denoise"] / given.steps),
        ("VAE decoder", theirs["seconds"]["decode"], seconds["decode"]),
    ]
    print(f"{given.height}×{given.width}, {given.frames} frames, {given.steps} steps, {given.threads} threads, f32; "
          f"torch {theirs['torch']}, diffusers {theirs['diffusers']}\n")
    print("| stage | diffusers, s | MagicMirror, s | ratio |\n| --- | --- | --- | --- |")
    for name, their, our in rows:
        print(f"| {name} | {their:.2f} | {our:.2f} | {our / their:.2f} |")
    peaks = theirs["peak_bytes"]["overall"], ours["peak_memory_bytes"]
    print(f"| peak memory, GiB | {peaks[0] / 2**30:.2f} | {peaks[1] / 2**30:.2f} | {peaks[1] / peaks[0]:.2f} |")


if __name__ == "__main__":
    main()
