"""Shipped face weights, and the reference results for the detector and the recognisers.

usage: make_faces.py weights  --mtcnn PNET_RNET_ONET.safetensors --dlib dlib_face_recognition_resnet_model_v1.dat
       make_faces.py goldens  --dlib dlib_face_recognition_resnet_model_v1.dat [--mobilefacenet MobileFaceNet.tflite]
needs: torch, torchvision, facenet-pytorch==2.6.0, dlib, onnx, onnxruntime, pillow, safetensors; ai-edge-litert for --mobilefacenet

`weights` writes assets/face/*.safetensors. `goldens` writes, beside this script:
  mtcnn_astronaut.json       boxes, scores, landmarks that facenet-pytorch finds in assets/photos/astronaut.png
  mtcnn_nets.safetensors     inputs and outputs of the three nets
  faces_astronaut.safetensors  dlib's own descriptor of a chip; the 112x112 crop (and its MobileFaceNet embedding)
  iresnet_<kind>/            a narrow InsightFace backbone as ONNX (norms folded as in the released files, left
                             separate, or folded with float_data instead of raw_data), and onnxruntime's output for
                             the crop above and its mirror image
  mobilefacenet_tiny.safetensors  a narrow MobileFaceNet: constants under the TFLite names; ..._expected: output for the crop above
"""
import argparse
import json
import os

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import face_networks as nets

HERE = os.path.dirname(os.path.abspath(__file__))
ASSETS = os.path.join(HERE, "..", "assets")
PHOTO = os.path.join(ASSETS, "photos", "astronaut.png")
# ArcFace's 112x112 template: left eye, right eye, nose, mouth corners
TEMPLATE = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]


def dlib_eyes():
    """Eye centres in the 150x150 chip: dlib's mean shape with padding 0.25."""
    return [(150 * (0.25 + x) / 1.5, 150 * (0.25 + y) / 1.5) for x, y in ((0.22733, 0.22140), (0.75281, 0.22123))]


def similarity(source, target):
    """(a, t) of the least-squares map z -> a z + t, points as complex numbers."""
    s, d = (np.array([complex(*p) for p in points]) for points in (source, target))
    sc, dc = s - s.mean(), d - d.mean()
    a = (sc.conj() @ dc) / (sc.conj() @ sc)
    return a, d.mean() - a * s.mean()


def warp(image, landmarks, template, size):
    """Bilinear crop with zeros outside; pixel (x, y) of the crop samples the photo at the inverse similarity. f32 [H, W, 3]."""
    a, t = similarity(landmarks, template)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float64)
    z = (columns + 1j * rows - t) / a
    x, y = z.real, z.imag
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    height, width = image.shape[:2]

    def at(r, c):
        inside = ((r >= 0) & (r < height) & (c >= 0) & (c < width))[..., None]
        return image[np.clip(r, 0, height - 1), np.clip(c, 0, width - 1)] * inside

    top = at(y0, x0) * (1 - fx) + at(y0, x0 + 1) * fx
    bottom = at(y0 + 1, x0) * (1 - fx) + at(y0 + 1, x0 + 1) * fx
    return (top * (1 - fy) + bottom * fy).astype(np.float32)


def rounded(crop):
    return np.clip(np.rint(crop), 0, 255).astype(np.uint8)


def detect(path):
    from facenet_pytorch import MTCNN

    image = Image.open(path).convert("RGB")
    boxes, scores, landmarks = MTCNN(keep_all=True, device="cpu").detect(image, landmarks=True)
    faces = [] if boxes is None else [
        {"box": [float(v) for v in b], "score": float(s), "landmarks": [[float(v) for v in p] for p in l]}
        for b, s, l in zip(boxes, scores, landmarks)]
    return np.asarray(image).astype(np.float64), faces


def write_weights(mtcnn, dlib_dat):
    from facenet_pytorch import ONet, PNet, RNet

    weights = load_file(mtcnn)
    for prefix, net in (("pnet", PNet()), ("rnet", RNet()), ("onet", ONet())):
        for name, value in net.state_dict().items():
            assert torch.equal(weights[f"{prefix}.{name}"], value), name
    os.makedirs(os.path.join(ASSETS, "face"), exist_ok=True)
    save_file(weights, os.path.join(ASSETS, "face", "mtcnn.safetensors"))
    save_file(nets.shrink_dlib(nets.read_dlib_dat(dlib_dat)), os.path.join(ASSETS, "face", "dlib_resnet.safetensors"))


def detector_goldens():
    from facenet_pytorch import ONet, PNet, RNet

    _, faces = detect(PHOTO)
    with open(os.path.join(HERE, "mtcnn_astronaut.json"), "w") as f:
        json.dump(faces, f, indent=1)
    g, out = torch.Generator().manual_seed(5), {}
    for name, net, size in (("pnet", PNet(), (1, 3, 17, 24)), ("rnet", RNet(), (3, 3, 24, 24)), ("onet", ONet(), (2, 3, 48, 48))):
        x = torch.rand(size, generator=g) * 2 - 1
        with torch.no_grad():
            result = net(x)
        keys = ("box", "probability") if len(result) == 2 else ("box", "landmarks", "probability")
        out[name + ".input"] = x
        out.update({f"{name}.{k}": v for k, v in zip(keys, result)})
    # the detector's resize: shrinking, and enlarging by windows of one or two pixels
    x = torch.rand(1, 3, 13, 10, generator=g) * 255
    out["resize.input"] = x
    for height, width in ((5, 7), (24, 24)):
        out[f"resize.{height}x{width}"] = torch.nn.functional.interpolate(x, size=(height, width), mode="area")
    save_file({k: v.contiguous() for k, v in out.items()}, os.path.join(HERE, "mtcnn_nets.safetensors"))
    return faces


def recogniser_goldens(face, dlib_dat, tflite):
    import dlib

    image = np.asarray(Image.open(PHOTO).convert("RGB")).astype(np.float64)
    chip = rounded(warp(image, face["landmarks"][:2], dlib_eyes(), 150))
    crop = warp(image, face["landmarks"], TEMPLATE, 112)
    descriptor = torch.tensor(np.array(dlib.face_recognition_model_v1(dlib_dat).compute_face_descriptor(chip))).float()
    pixels = torch.from_numpy(chip).permute(2, 0, 1)[None].float()
    exact = nets.dlib_embed(nets.read_dlib_dat(dlib_dat), pixels)[0]
    assert (exact - descriptor).abs().max() < 1e-5
    shipped = nets.dlib_embed(nets.grow_dlib(load_file(os.path.join(ASSETS, "face", "dlib_resnet.safetensors"))), pixels)[0]
    print("shipped dlib weights: L2 distance to the original's descriptor", float((shipped - descriptor).norm()))
    out = {"dlib.chip": torch.from_numpy(chip), "dlib.descriptor": descriptor, "dlib.shipped_descriptor": shipped,
           "arcface.crop": torch.from_numpy(rounded(crop))}
    if tflite:
        from ai_edge_litert.interpreter import Interpreter

        net = Interpreter(tflite)
        net.allocate_tensors()
        x = (rounded(crop).astype(np.float32) - 127.5) / 128
        net.set_tensor(net.get_input_details()[0]["index"], np.stack([x, x]))
        net.invoke()
        out["mobilefacenet.embedding"] = torch.tensor(net.get_tensor(net.get_output_details()[0]["index"])[0])
    save_file(out, os.path.join(HERE, "faces_astronaut.safetensors"))


def export_onnx(model, path, training):
    """The exporter that InsightFace used; with `training` kept as it is, it does not fold the norms."""
    torch.onnx.export(model, torch.zeros(1, 3, 112, 112), path, input_names=["data"], keep_initializers_as_inputs=False,
                      opset_version=11, dynamo=False, training=training)


def iresnet_goldens():
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    g = torch.Generator().manual_seed(11)
    model = nets.IResNet([6, 6, 8, 8, 12], [1, 2, 2, 1], 20).eval()
    with torch.no_grad():
        for name, p in list(model.named_parameters()) + list(model.named_buffers()):
            if not p.is_floating_point():
                continue
            noise = torch.randn(p.shape, generator=g)
            if p.ndim > 1:
                p.copy_(noise / p[0].numel() ** 0.5)
            elif name.endswith("running_var"):
                p.copy_(0.5 + torch.rand(p.shape, generator=g))
            elif "prelu" in name:
                p.copy_(0.25 + 0.1 * noise)
            else:
                p.copy_(0.2 * noise + (1.0 if name.endswith("weight") else 0.0))
    crop = load_file(os.path.join(HERE, "faces_astronaut.safetensors"))["arcface.crop"].permute(2, 0, 1).float()
    x = (torch.stack([crop, crop.flip(2)]) - 127.5) / 127.5
    modes = torch.onnx.TrainingMode
    for kind, training, floats in (("folded", modes.EVAL, False), ("separate", modes.PRESERVE, False), ("float_data", modes.EVAL, True)):
        folder = os.path.join(HERE, "iresnet_" + kind)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "model.onnx")
        export_onnx(model, path, training)
        graph = onnx.load(path)
        graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "None"
        graph.graph.output[0].type.tensor_type.shape.dim[0].dim_param = "None"
        if floats:
            for tensor in graph.graph.initializer:
                values = numpy_helper.to_array(tensor)
                if values.dtype == np.float32:
                    tensor.ClearField("raw_data")
                    tensor.float_data.extend(values.ravel().tolist())
        onnx.checker.check_model(graph)
        onnx.save(graph, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        result = torch.from_numpy(session.run(None, {graph.graph.input[0].name: x.numpy()})[0])
        with torch.no_grad():
            assert (model(x) - result).abs().max() < 1e-4
        save_file({"output": result}, os.path.join(folder, "expected.safetensors"))
        print(kind, [n.op_type for n in graph.graph.node][:8], len(graph.graph.node), os.path.getsize(path))


def mobilefacenet_golden():
    g, w, inner = torch.Generator().manual_seed(13), {}, "MobileFaceNet/MobileFaceNet/"

    def conv(weights, bias, outputs, kernel, inputs):
        w[weights] = torch.randn(outputs, kernel, kernel, inputs, generator=g) / (kernel * inputs ** 0.5)
        w[bias] = 0.2 * torch.randn(outputs, generator=g)

    def depthwise(weights, bias, channels, kernel):
        w[weights] = torch.randn(1, kernel, kernel, channels, generator=g) / kernel
        w[bias] = 0.2 * torch.randn(channels, generator=g)

    def slope(name, channels):
        w[name] = 0.15 * torch.rand(channels, generator=g)

    root = "MobileFaceNet/"
    conv(root + "Conv2d_0/weights/read", inner + "Conv2d_0/Conv2D_bias", 6, 3, 3)
    slope(inner + "Conv2d_0/mul", 6)
    depthwise(root + "SeparableConv2d/depthwise_weights/read", inner + "SeparableConv2d/depthwise_bias", 6, 3)
    slope(inner + "SeparableConv2d/mul", 6)
    conv(root + "Conv/weights/read", inner + "Conv/Conv2D_bias", 4, 1, 6)
    inputs = 4
    for i, (name, _) in enumerate(nets.MOBILE_BLOCKS):
        outputs = 4 if "Conv2d_2" in name else 6
        hidden = 8 if i % 2 else 10
        b = inner + name
        conv(f"{root}Conv_{2 * i + 1}/weights/read", b + "/Conv/Conv2D_bias", hidden, 1, inputs)
        slope(b + "/Conv/mul", hidden)
        depthwise(f"{root}SeparableConv2d_{i + 1}/depthwise_weights/read", b + "/SeparableConv2d/depthwise_bias", hidden, 3)
        slope(b + "/SeparableConv2d/mul", hidden)
        conv(f"{root}Conv_{2 * i + 2}/weights/read", b + "/Conv_1/Conv2D_bias", outputs, 1, hidden)
        inputs = outputs
    conv(root + "Conv2d_7/weights/read", inner + "Conv2d_7/Conv2D_bias", 12, 1, inputs)
    slope(inner + "Conv2d_7/mul", 12)
    logits = root + "Logits/"
    depthwise(logits + "SeparableConv2d/depthwise_weights/read", logits + "SeparableConv2d/depthwise_bias", 12, 7)
    conv(logits + "Conv/weights/read", logits + "Conv/Conv2D_bias", 12, 1, 12)
    conv(logits + "LinearConv1x1/weights/read", logits + "LinearConv1x1/Conv2D_bias", 16, 1, 12)
    save_file(w, os.path.join(HERE, "mobilefacenet_tiny.safetensors"))
    crop = load_file(os.path.join(HERE, "faces_astronaut.safetensors"))["arcface.crop"].permute(2, 0, 1)[None].float()
    save_file({"output": nets.mobilefacenet_embed(w, crop)}, os.path.join(HERE, "mobilefacenet_tiny_expected.safetensors"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["weights", "goldens"])
    for flag in ("--mtcnn", "--dlib", "--mobilefacenet"):
        parser.add_argument(flag)
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.what == "weights":
        write_weights(args.mtcnn, args.dlib)
    else:
        found = detector_goldens()
        recogniser_goldens(found[0], args.dlib, args.mobilefacenet)
        iresnet_goldens()
        mobilefacenet_golden()
