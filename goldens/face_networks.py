"""Readers and PyTorch networks for the face recognisers, each checked by make_faces.py against the original program."""
import json
import re

import numpy as np
import torch
import torch.nn.functional as F

DLIB_MEANS = (122.782, 117.001, 104.298)
# the residual blocks from the input on: width, whether the block halves the resolution
DLIB_BLOCKS = [(32, False)] * 3 + [(64, True)] + [(64, False)] * 3 + [(128, True)] + [(128, False)] * 2 + \
              [(256, True)] + [(256, False)] * 2 + [(256, True)]


def dlib_names():
    """(convolution, affine) name pairs in file order; every convolution is followed by its affine layer."""
    yield "stem.conv", "stem.affine"
    for i in range(len(DLIB_BLOCKS)):
        for j in (1, 2):
            yield f"blocks.{i}.conv{j}", f"blocks.{i}.affine{j}"


def read_dlib_dat(path):
    """The parameters of `dlib_face_recognition_resnet_model_v1.dat`.

    dlib writes an integer as a control byte (low nibble: length, high bit: sign) and little-endian bytes, a string as
    its length and characters, and a tensor as version 2, four sizes, and raw little-endian f32. The layers stand in
    order from the input; each layer with weights is its kind's name followed by one flat tensor (a convolution: filters
    [out, in, h, w], then biases).
    """
    data = open(path, "rb").read()

    def integer(at):
        size = data[at] & 0x0F
        value = int.from_bytes(data[at + 1:at + 1 + size], "little")
        return (-value if data[at] & 0x80 else value), at + 1 + size

    def tensor(at):
        header = []
        for _ in range(5):
            value, at = integer(at)
            header.append(value)
        assert header[0] == 2
        return np.frombuffer(data, "<f4", int(np.prod(header[1:])), at).copy(), at + 4 * int(np.prod(header[1:]))

    found = []
    for m in re.finditer(rb"\x01(?:\x05con_4|\x07affine_|\x04fc_2)", data):
        at = m.end()
        kind = m.group()[2:]
        if kind == b"con_4":
            params, at = tensor(at)
            fields = []
            for _ in range(7):  # filters, kernel rows and columns, strides, paddings
                value, at = integer(at)
                fields.append(value)
            found.append((kind, params, fields))
        elif kind == b"affine_":
            found.append((kind, tensor(at)[0], None))
        else:
            outputs, at = integer(at)
            inputs, at = integer(at)
            found.append((kind, tensor(at)[0], (outputs, inputs)))
    out = {}
    layers = iter(found)
    for conv, affine in dlib_names():
        kind, params, fields = next(layers)
        assert kind == b"con_4", kind
        count, rows, columns = fields[:3]
        weights = params[:len(params) - count].reshape(count, -1, rows, columns)
        out[conv + ".weight"], out[conv + ".bias"] = weights, params[-count:]
        kind, params, _ = next(layers)
        assert kind == b"affine_" and len(params) == 2 * count
        out[affine + ".weight"], out[affine + ".bias"] = params[:count], params[count:]
    kind, params, (outputs, inputs) = next(layers)
    assert kind == b"fc_2" and next(layers, None) is None
    out["fc.weight"] = params.reshape(inputs, outputs).T.copy()  # stored [in, out]
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in out.items()}


def read_dlib_u8(manifest, shards):
    """The same network from the 8-bit copy that face-api.js made (per-tensor scale and minimum)."""
    raw, at, arrays = open(shards, "rb").read(), 0, []
    for group in json.load(open(manifest)):
        for w in group["weights"]:
            count = int(np.prod(w["shape"]))
            q = w.get("quantization")
            if q:
                values = np.frombuffer(raw, q["dtype"], count, at).astype(np.float32) * np.float32(q["scale"]) + np.float32(q["min"])
                at += count * np.dtype(q["dtype"]).itemsize
            else:
                values = np.frombuffer(raw, "<f4", count, at).copy()
                at += 4 * count
            arrays.append((w["name"], values.reshape(w["shape"])))
    assert at == len(raw)
    out, arrays = {}, iter(arrays)
    for conv, affine in dlib_names():
        for name, transpose in ((conv + ".weight", True), (conv + ".bias", False), (affine + ".weight", False), (affine + ".bias", False)):
            values = next(arrays)[1]
            out[name] = values.transpose(3, 2, 0, 1) if transpose else values
    name, values = next(arrays)
    assert name == "fc" and next(arrays, None) is None
    out["fc.weight"] = values.T
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in out.items()}


def dlib_embed(w, chips):
    """128 numbers per 150x150 RGB chip. `chips` is [N, 3, 150, 150] in 0..255."""
    def conv(name, x, stride, padding):
        x = F.conv2d(x, w[name + ".weight"], w[name + ".bias"], stride, padding)
        name = name.replace("conv", "affine")
        return x * w[name + ".weight"][:, None, None] + w[name + ".bias"][:, None, None]

    x = (chips - torch.tensor(DLIB_MEANS)[:, None, None]) / 256
    x = F.max_pool2d(F.relu(conv("stem.conv", x, 2, 0)), 3, 2)
    for i, (_, down) in enumerate(DLIB_BLOCKS):
        y = F.relu(conv(f"blocks.{i}.conv1", x, 2 if down else 1, 0 if down else 1))
        y = conv(f"blocks.{i}.conv2", y, 1, 1)
        if down:
            x = F.avg_pool2d(x, 2, 2)
        # the sum has the larger of both sizes, zeros where one side has nothing
        size = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:])]
        x, y = (F.pad(v, (0, size[2] - v.shape[3], 0, size[1] - v.shape[2], 0, size[0] - v.shape[1])) for v in (x, y))
        x = F.relu(x + y)
    return x.mean((2, 3)) @ w["fc.weight"].T


def shrink_dlib(w):
    """The shipped form: f16, except the filters of the 256-wide blocks, which are 8-bit with a scale and minimum per filter."""
    out = {}
    for name, v in w.items():
        wide = name.endswith(".weight") and v.ndim == 4 and name.startswith("blocks.") and int(name.split(".")[1]) >= 10
        if wide:
            rows = v.flatten(1)
            low = rows.min(1)[0]
            scale = (rows.max(1)[0] - low) / 255
            out[name] = torch.round((rows - low[:, None]) / scale[:, None]).to(torch.uint8).view_as(v)
            out[name + "_scale"], out[name + "_minimum"] = scale, low
        else:
            out[name] = v.half() if v.ndim > 1 else v
    return out


def grow_dlib(w):
    """Undoes `shrink_dlib`, in f32."""
    out = {}
    for name, v in w.items():
        if name.endswith(("_scale", "_minimum")):
            continue
        if v.dtype == torch.uint8:
            shape = (-1, 1, 1, 1)
            v = v.float() * w[name + "_scale"].view(shape) + w[name + "_minimum"].view(shape)
        out[name] = v.float()
    return out


# (block name, stride) of MobileFaceNet from the input on; blocks of stride 1 add their input
MOBILE_BLOCKS = [("Conv2d_2_InvResBlock_0", 2)] + [(f"Conv2d_2_InvResBlock_{i}", 1) for i in range(1, 5)] + \
                [("Conv2d_3_InvResBlock_0", 2)] + [(f"Conv2d_4_InvResBlock_{i}", 1) for i in range(6)] + \
                [("Conv2d_5_InvResBlock_0", 2)] + [(f"Conv2d_6_InvResBlock_{i}", 1) for i in range(2)]


def mobilefacenet_embed(w, images):
    """192 numbers per 112x112 RGB face, not normalised. `images` is [N, 3, 112, 112] in 0..255.

    `w` has the constants of MobileFaceNet.tflite under their names: convolutions [out, h, w, in], depthwise ones
    [1, h, w, channels], batch norms already folded into weights and biases.
    """
    root, inner = "MobileFaceNet/", "MobileFaceNet/MobileFaceNet/"

    def same(x, kernel, stride):
        # TensorFlow's "SAME": the odd pixel of padding goes to the bottom and the right
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return F.pad(x, pads)

    def conv(x, weights, bias, stride=1):
        k = w[weights].permute(0, 3, 1, 2)
        return F.conv2d(same(x, k.shape[2], stride), k, w[bias], stride)

    def depthwise(x, weights, bias, stride=1, pad=True):
        k = w[weights].permute(3, 0, 1, 2)
        return F.conv2d(same(x, k.shape[2], stride) if pad else x, k, w[bias], stride, groups=len(k))

    def prelu(x, half_slope):
        return F.relu(x) + w[half_slope][:, None, None] * (x - x.abs())

    def numbered(kind, i):
        suffix = "depthwise_weights/read" if kind == "SeparableConv2d" else "weights/read"
        return f"{root}{kind}{'' if i == 0 else f'_{i}'}/{suffix}"

    x = (images - 127.5) / 128
    x = prelu(conv(x, root + "Conv2d_0/weights/read", inner + "Conv2d_0/Conv2D_bias", 2), inner + "Conv2d_0/mul")
    x = prelu(depthwise(x, numbered("SeparableConv2d", 0), inner + "SeparableConv2d/depthwise_bias"), inner + "SeparableConv2d/mul")
    x = conv(x, numbered("Conv", 0), inner + "Conv/Conv2D_bias")
    for i, (name, stride) in enumerate(MOBILE_BLOCKS):
        b = inner + name
        y = prelu(conv(x, numbered("Conv", 2 * i + 1), b + "/Conv/Conv2D_bias"), b + "/Conv/mul")
        y = prelu(depthwise(y, numbered("SeparableConv2d", i + 1), b + "/SeparableConv2d/depthwise_bias", stride), b + "/SeparableConv2d/mul")
        y = conv(y, numbered("Conv", 2 * i + 2), b + "/Conv_1/Conv2D_bias")
        x = x + y if stride == 1 else y
    x = prelu(conv(x, root + "Conv2d_7/weights/read", inner + "Conv2d_7/Conv2D_bias"), inner + "Conv2d_7/mul")
    logits = root + "Logits/"
    x = depthwise(x, logits + "SeparableConv2d/depthwise_weights/read", logits + "SeparableConv2d/depthwise_bias", pad=False)
    x = conv(x, logits + "Conv/weights/read", logits + "Conv/Conv2D_bias")
    return conv(x, logits + "LinearConv1x1/weights/read", logits + "LinearConv1x1/Conv2D_bias").flatten(1)


class IResBlock(torch.nn.Module):
    """InsightFace's residual block: norm, convolution, norm, PReLU, convolution (stride), norm."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        nn = torch.nn
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2, self.prelu = nn.BatchNorm2d(outputs), nn.PReLU(outputs)
        self.conv2, self.bn3 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + (x if self.downsample is None else self.downsample(x))


class IResNet(torch.nn.Module):
    """InsightFace's ArcFace backbone at any width: 112x112, (x - 127.5) / 127.5, RGB."""

    def __init__(self, widths, depths, features):
        super().__init__()
        nn = torch.nn
        self.conv1, self.bn1, self.prelu = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])
        inputs = widths[0]
        for i, (width, depth) in enumerate(zip(widths[1:], depths)):
            blocks = [IResBlock(inputs if j == 0 else width, width, 2 if j == 0 else 1) for j in range(depth)]
            setattr(self, f"layer{i + 1}", nn.Sequential(*blocks))
            inputs = width
        self.bn2, self.fc = nn.BatchNorm2d(inputs), nn.Linear(inputs * 49, features)
        self.features = nn.BatchNorm1d(features)

    def forward(self, x):
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(torch.flatten(self.bn2(x), 1)))
