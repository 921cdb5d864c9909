"""Copies the small model here: python3 assets/nano/pack.py PIPELINE [ADAPTER]

PIPELINE is the model folder of a `train backbone` run; ADAPTER that of a `train video` run, whose matrices are rounded to half
precision, as the pipeline's are. Needs numpy and safetensors.
"""

import re
import shutil
import sys
from pathlib import Path

import numpy
from safetensors.numpy import load_file, save_file

here = Path(__file__).parent
shipped = (here / "../../crates/magicmirror-engine/src/models/shipped.rs").read_text()
names = re.findall(r'^    "(.+)",$', shipped, re.MULTILINE)
# By whether a file is the adapter's.
sources = dict(zip([False, True], map(Path, sys.argv[1:3]), strict=False))
for name in names:
    source = sources.get(name.startswith("adapter/"))
    if source:
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name.removeprefix("adapter/"), here / name)
adapter = here / "adapter" / "model.safetensors"
if adapter.exists():
    weights = load_file(adapter)
    halved = {name: w.astype(numpy.float16) if w.ndim > 1 else w for name, w in weights.items()}
    save_file(halved, adapter, metadata={"format": "pt"})
print(f"{sum(path.stat().st_size for path in here.rglob('*')) / 1e6:.1f} MB")
