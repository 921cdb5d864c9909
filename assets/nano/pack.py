"""Copies the small model here: python3 assets/nano/pack.py PIPELINE [ADAPTER]

PIPELINE is the model folder of a `train backbone` run; ADAPTER that of a `train video` run.
"""

import shutil
import sys
from pathlib import Path

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
print(f"{sum(path.stat().st_size for path in here.rglob('*')) / 1e6:.1f} MB")
