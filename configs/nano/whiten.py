"""Starts an adapter so that its recogniser's vectors come in whitened: whiten.py CACHE ADAPTER

Most of a vector of dlib's recogniser is what all faces have in common, which drowns the person in a fresh adapter's first layer. CACHE is
the folder of a run's `data.cache` with the faces of its photos; what whitens their vectors is multiplied into the
first layer of ADAPTER's identity branch, so that an adapter is read as before. Needs numpy and safetensors.
"""

import sys
from pathlib import Path

import numpy
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

NAME = "id_perceiver.token_proj.0"
# Added to the variances, which go down to 1e-12: noise is not to be blown up.
LEAST_VARIANCE = 3e-4

cache, adapter = map(Path, sys.argv[1:])
vectors = []
for path in sorted(cache.rglob("*.safetensors")):
    with safe_open(path, "numpy") as file:
        if "id_embeds" in file.keys():
            vectors.append(file.get_tensor("id_embeds"))
vectors = numpy.concatenate(vectors).astype(numpy.float64)
mean = vectors.mean(0)
variances, axes = numpy.linalg.eigh(numpy.cov((vectors - mean).T))
whitening = axes / numpy.sqrt(variances.clip(0) + LEAST_VARIANCE) @ axes.T

path = adapter / "model.safetensors"
weights = load_file(path)
matrix = weights[f"{NAME}.weight"] @ whitening
weights[f"{NAME}.weight"] = matrix.astype(numpy.float32)
weights[f"{NAME}.bias"] = (weights[f"{NAME}.bias"] - matrix @ mean).astype(numpy.float32)
aside = path.with_suffix(".partial")
save_file(weights, aside, metadata={"format": "pt"})
aside.rename(path)
print(f"whitened by {len(vectors)} vectors")
