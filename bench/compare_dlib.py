"""Compares `magicmirror evaluate FOLDER` with dlib's own pipeline on the same photos and videos.

    pip install dlib-bin face_recognition_models "setuptools<81" numpy pillow
    magicmirror evaluate FOLDER --output OUT --frame-stride 4
    python bench/compare_dlib.py FOLDER OUT/results.json

dlib's pipeline: HOG detector (one upsampling), five-point landmarks, its own 150-pixel chip, its descriptor; the largest face of
each photo and frame. Videos are what Pillow opens (GIF, WebP), named NAME_*, photos NAME.*, as `evaluate` takes a folder. Fails
when a clip is more than 0.03 away, or the mean more than 0.01.
"""

import json
import pathlib
import sys

import dlib
import face_recognition_models as models
import numpy as np
from PIL import Image, ImageSequence

detector = dlib.get_frontal_face_detector()
landmarks = dlib.shape_predictor(models.pose_predictor_five_point_model_location())
network = dlib.face_recognition_model_v1(models.face_recognition_model_location())


def descriptor(image):
    pixels = np.ascontiguousarray(image.convert("RGB"))
    faces = detector(pixels, 1)
    if not faces:
        return None
    face = max(faces, key=lambda face: face.area())
    return np.array(network.compute_face_descriptor(pixels, landmarks(pixels, face), 1))


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def main(folder, results):
    folder, results = pathlib.Path(folder), json.loads(pathlib.Path(results).read_text())
    stride = results["settings"]["frame_stride"]
    photos = {}
    ours, theirs = [], []
    print("video                 ours  dlib  difference  (frames with a face: ours, dlib)")
    for video in results["videos"]:
        name = video["identity"]
        if name not in photos:
            photo = next(path for path in folder.iterdir() if path.stem == name and path.suffix in (".png", ".jpg", ".jpeg"))
            photos[name] = descriptor(Image.open(photo))
        # The iterator gives one image again and again: each frame is converted while it is the current one.
        frames = enumerate(ImageSequence.Iterator(Image.open(folder / video["video"])))
        sampled = [frame.convert("RGB") for index, frame in frames if index % stride == 0]
        found = [vector for frame in sampled if (vector := descriptor(frame)) is not None]
        ours.append(video["metrics"]["dlib_cosine"])
        theirs.append(np.mean([cosine(d, photos[name]) for d in found]))
        seen = sum(frame["face"] is not None for frame in video["frames"])
        print(f"{video['video']:20} {ours[-1]:.4f} {theirs[-1]:.4f} {ours[-1] - theirs[-1]:+.4f}  ({seen}, {len(found)} of {len(video['frames'])})")
    difference = np.array(ours) - np.array(theirs)
    print(f"mean                 {np.mean(ours):.4f} {np.mean(theirs):.4f} {difference.mean():+.4f}")
    return 0 if np.abs(difference).max() <= 0.03 and abs(difference.mean()) <= 0.01 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
