"""Copies the small model here: python3 assets/nano/pack.py PIPELINE [ADAPTER]

PIPELINE is the model folder of a `train backbone` run; ADAPTER that of a `train video` run, whose matrices are rounded to half
precision, as the pipeline's are. Needs numpy and safetensors.
"""

import shutil
import sys
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

FILES = {
    "": [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/spiece.model",
        "tokenizer/tokenizer_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ],
    "adapter": [
        "adapter_config.json",
        "model.safetensors",
        "vision/config.json",
        "vision/model.safetensors",
    ],
}

here = Path(__file__).parent
for (folder, names), source in zip(FILES.items(), sys.argv[1:3], strict=False):
    for name in names:
        target = here / folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(Path(source) / name, target)
adapter = here / "adapter" / "model.safetensors"
if adapter.exists():
    weights = load_file(adapter)
    halved = {name: w.astype(numpy.float16) if w.ndim > 1 else w for name, w in weights.items()}
    save_file(halved, adapter, metadata={"format": "pt"})
print(f"{sum(path.stat().st_size for path in here.rglob('*')) / 1e6:.1f} MB")
