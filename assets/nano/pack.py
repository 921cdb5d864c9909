#!/usr/bin/env python3
"""Copies a trained small model here as it is shipped: a pipeline folder, and in it the adapter, its matrices in f16.

    pip install numpy safetensors
    python assets/nano/pack.py runs/nano-backbone-clips/model runs/nano-stage2/model
"""

import pathlib
import shutil
import sys

import numpy
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent


def main():
    pipeline, adapter = map(pathlib.Path, sys.argv[1:])
    for part in ["scheduler", "text_encoder", "tokenizer", "transformer", "vae"]:
        shutil.copytree(pipeline / part, HERE / part, dirs_exist_ok=True)
    shutil.copy(pipeline / "model_index.json", HERE)
    shutil.copytree(adapter, HERE / "adapter", dirs_exist_ok=True)
    for path in HERE.glob("**/*.safetensors"):
        tensors = load_file(path)
        # Vectors are few, and biases and norms want their precision.
        halves = {name: tensor.astype(numpy.float16) if tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
        save_file(halves, path, metadata={"format": "pt"})
    total = sum(path.stat().st_size for path in HERE.glob("**/*") if path.is_file())
    print(f"{total / 1e6:.1f} MB")


main()
