//! Detector, alignment, recognisers and the readers of their files.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use magicmirror_models::face::align::{ARCFACE_TEMPLATE, Chip, DLIB_EYES, Sampler, similarity};
use magicmirror_models::face::detector::{Face, FaceDetector, RgbPixels};
use magicmirror_models::face::dlib::DlibResNet;
use magicmirror_models::face::iresnet::IResNet;
use magicmirror_models::face::mtcnn::{Mtcnn, MtcnnConfig, MtcnnNets};
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_models::weights::{Checkpoint, Names, Precision, WeightsError, save_safetensors};
use magicmirror_testkit::{ONE_CALL, Values, assert_close, golden, repository};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

fn asset(path: &str) -> PathBuf {
    repository().join("assets").join(path)
}

fn mtcnn() -> Mtcnn {
    Mtcnn::load(&asset("face/mtcnn.safetensors"), MtcnnConfig::default(), &Device::flex()).unwrap()
}

fn astronaut() -> image::RgbImage {
    image::open(asset("photos/astronaut.png")).unwrap().into_rgb8()
}

fn pixels(image: &image::RgbImage) -> RgbPixels<'_> {
    RgbPixels::new(image.width() as usize, image.height() as usize, image.as_raw())
}

/// Faces that the reference implementation finds.
fn reference_faces(path: &Path) -> Vec<Face> {
    let numbers = |value: &Value| -> Vec<f32> {
        value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
    };
    let json: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let faces = json.as_array().unwrap().iter().map(|face| Face {
        bounds: numbers(&face["box"]).try_into().unwrap(),
        score: face["score"].as_f64().unwrap() as f32,
        landmarks: std::array::from_fn(|point| numbers(&face["landmarks"][point]).try_into().unwrap()),
    });
    faces.collect()
}

fn coordinates(face: &Face) -> impl Iterator<Item = f32> {
    face.bounds.into_iter().chain(face.landmarks.into_iter().flatten())
}

fn worst_distance(found: &Face, expected: &Face) -> f32 {
    coordinates(found).zip(coordinates(expected)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// `[height, width, 3]` bytes as a batch of one.
fn chip(values: &Values, name: &str, size: usize) -> Tensor<4> {
    let bytes = values.bytes(name);
    RgbPixels::new(size, size, &bytes).to_tensor(&Device::flex()).unsqueeze()
}

#[test]
fn each_net_of_the_detector_agrees_with_facenet_pytorch() {
    let checkpoint = Checkpoint::open_file(&asset("face/mtcnn.safetensors")).unwrap();
    let (nets, _) = checkpoint.load(Names::default(), Precision::F32, &Device::flex(), MtcnnNets::new).unwrap();
    let expected = Values::open("mtcnn_nets.safetensors");
    let (bounds, probability) = nets.pnet.forward(expected.tensor("pnet.input"));
    assert_close("pnet.box", bounds.into_data(), &expected.data("pnet.box"), ONE_CALL);
    assert_close("pnet.probability", probability.into_data(), &expected.data("pnet.probability"), ONE_CALL);
    let (bounds, probability) = nets.rnet.forward(expected.tensor("rnet.input"));
    assert_close("rnet.box", bounds.into_data(), &expected.data("rnet.box"), ONE_CALL);
    assert_close("rnet.probability", probability.into_data(), &expected.data("rnet.probability"), ONE_CALL);
    let (bounds, landmarks, probability) = nets.onet.forward(expected.tensor("onet.input"));
    assert_close("onet.box", bounds.into_data(), &expected.data("onet.box"), ONE_CALL);
    assert_close("onet.landmarks", landmarks.into_data(), &expected.data("onet.landmarks"), ONE_CALL);
    assert_close("onet.probability", probability.into_data(), &expected.data("onet.probability"), ONE_CALL);
}

#[test]
fn detector_agrees_with_facenet_pytorch_on_a_photo() {
    let photo = astronaut();
    let found = mtcnn().detect(&pixels(&photo));
    let expected = reference_faces(&golden("mtcnn_astronaut.json"));
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        let distance = worst_distance(found, expected);
        assert!(distance < 0.01, "{distance} pixels from the reference");
        assert!((found.score - expected.score).abs() < 1e-4);
    }
}

#[test]
fn mirrored_photo_has_mirrored_faces() {
    let photo = astronaut();
    let mirrored = image::imageops::flip_horizontal(&photo);
    let detector = mtcnn();
    let (face, other) = (detector.detect(&pixels(&photo))[0], detector.detect(&pixels(&mirrored))[0]);
    let width = photo.width() as f32;
    let turned = |[x, y]: [f32; 2]| [width - 1.0 - x, y];
    let [left, top, right, bottom] = other.bounds;
    let [left_eye, right_eye, nose, left_mouth, right_mouth] = other.landmarks.map(turned);
    let back = Face {
        bounds: [width - 1.0 - right, top, width - 1.0 - left, bottom],
        score: other.score,
        landmarks: [right_eye, left_eye, nose, right_mouth, left_mouth],
    };
    // The windows of the first network do not mirror: the boxes agree to a few per cent of their size.
    let size = face.bounds[2] - face.bounds[0];
    assert!(worst_distance(&back, &face) < 0.08 * size, "{back:?} is not {face:?}");
}

#[test]
fn face_cut_off_by_the_edge_keeps_its_landmarks() {
    let photo = astronaut();
    let detector = mtcnn();
    let face = detector.detect(&pixels(&photo))[0];
    let size = face.bounds[2] - face.bounds[0];
    let (left_eye, right_eye) = (face.landmarks[0], face.landmarks[1]);
    // The edge goes through one eye, so that a fifth of the face is gone.
    let (left, right) = (left_eye[0] as u32, right_eye[0] as u32);
    for (x0, width) in [(left, photo.width() - left), (0, right)] {
        let cut = image::imageops::crop_imm(&photo, x0, 0, width, photo.height()).to_image();
        let expected = face.landmarks.map(|[x, y]| [x - x0 as f32, y]);
        let off = |found: &Face| {
            let apart = found.landmarks.iter().zip(expected).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1]));
            apart.fold(0f32, f32::max) / size
        };
        let (plain, whole) = (detector.detect(&pixels(&cut)), detector.detect_whole(&pixels(&cut)));
        let (plain, whole) = (off(&plain[0]), off(&whole[0]));
        assert!(plain > 0.2, "without a second look {plain} of the face's width");
        assert!(whole < 0.1, "after it {whole}");
    }
    assert_eq!(detector.detect_whole(&pixels(&photo)), detector.detect(&pixels(&photo)), "nothing is cut off here");
}

#[test]
fn images_without_faces_have_none() {
    let detector = mtcnn();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    for (width, height) in [(1, 1), (1, 90), (11, 12), (19, 300), (20, 20), (21, 23), (64, 40), (200, 33)] {
        let grey = vec![128; 3 * width * height];
        assert_eq!(detector.detect(&RgbPixels::new(width, height, &grey)), [], "grey {width}×{height}");
        let noise: Vec<u8> = (0..3 * width * height).map(|_| random.random()).collect();
        // Only that it ends: noise may look like anything.
        let _ = detector.detect(&RgbPixels::new(width, height, &noise));
    }
}

#[test]
fn larger_minimum_size_drops_smaller_faces() {
    let photo = astronaut();
    let config = MtcnnConfig { min_face_size: 400.0, ..MtcnnConfig::default() };
    let mut detector = mtcnn();
    detector.set_config(config);
    assert_eq!(detector.detect(&pixels(&photo)), [], "the face is about 100 pixels wide");
}

#[test]
fn similarity_brings_a_moved_template_back() {
    let (cos, sin, x, y) = (1.7 * 0.4f64.cos(), 1.7 * 0.4f64.sin(), 30.0, -12.0);
    let moved = ARCFACE_TEMPLATE.map(|[a, b]| [cos * a - sin * b + x, sin * a + cos * b + y]);
    let [[a, b, c], [d, e, f]] = similarity(&moved, &ARCFACE_TEMPLATE).unwrap();
    for (point, expected) in moved.iter().zip(&ARCFACE_TEMPLATE) {
        let found = [a * point[0] + b * point[1] + c, d * point[0] + e * point[1] + f];
        assert!((found[0] - expected[0]).abs() < 1e-9 && (found[1] - expected[1]).abs() < 1e-9);
    }
    assert!(similarity(&[[3.0, 4.0]; 5], &ARCFACE_TEMPLATE).is_none());
    assert!(similarity(&[[f64::NAN, 4.0], [1.0, 2.0]], &DLIB_EYES).is_none());
}

#[test]
fn chips_agree_with_the_reference_warp() {
    let photo = astronaut();
    let face = reference_faces(&golden("mtcnn_astronaut.json"))[0];
    let expected = Values::open("faces_astronaut.safetensors");
    for (kind, name) in [(Chip::ArcFace, "arcface.crop"), (Chip::Dlib, "dlib.chip")] {
        let found = kind.cut(&pixels(&photo), &face.landmarks, &Device::flex()).unwrap().unsqueeze::<4>();
        let worst = (found - chip(&expected, name, kind.size())).abs().max().into_scalar::<f32>();
        // The reference is rounded to whole numbers.
        assert!(worst < 0.501, "{name}: {worst}");
    }
}

#[test]
fn sampling_of_tensors_and_of_pixels_is_the_same() {
    let photo = astronaut();
    let device = Device::flex();
    // Reaches outside on all sides.
    let sampler = Sampler::new(&[[0.05, 0.02, 6.0], [-0.02, 0.05, 9.0]], 40, 512, 512).unwrap();
    let from_pixels = sampler.sample_pixels(&pixels(&photo), &device);
    let from_tensor = sampler.sample(pixels(&photo).to_tensor(&device));
    assert_close("samples", from_tensor.into_data(), &from_pixels.clone().into_data(), 1e-6);
    let corner = from_pixels.slice([0..3, 0..1, 0..1]).into_data().try_into_vec::<f32>().unwrap();
    assert_eq!(corner, [0.0; 3], "black outside");
    assert!(Sampler::new(&[[0.0; 3]; 2], 40, 512, 512).is_none());
}

#[test]
fn gradient_of_sampling_is_the_weight_of_each_pixel() {
    let device = Device::flex().autodiff();
    let sampler = Sampler::new(&[[1.0, 0.0, -1.25], [0.0, 1.0, -1.5]], 2, 5, 5).unwrap();
    let image = Tensor::<3>::ones([1, 5, 5], &device).require_grad();
    let gradients = sampler.sample(image.clone()).sum().backward();
    let gradient = image.grad(&gradients).unwrap().into_data().try_into_vec::<f32>().unwrap();
    let rows = [0.0, 0.5, 1.0, 0.5, 0.0];
    let columns = [0.0, 0.75, 1.0, 0.25, 0.0];
    for (place, found) in gradient.iter().enumerate() {
        let expected = rows[place / 5] * columns[place % 5];
        assert!((found - expected).abs() < 1e-6, "pixel {place}: {found}, not {expected}");
    }
}

#[test]
fn dlib_agrees_with_dlib() {
    let net = Recogniser::load(&asset("face/dlib_resnet.safetensors"), &Device::flex()).unwrap();
    assert_eq!((net.name(), net.embedding_size(), net.chip()), ("dlib", 128, Chip::Dlib));
    let expected = Values::open("faces_astronaut.safetensors");
    let found = net.embed(chip(&expected, "dlib.chip", 150)).squeeze_dim::<1>(0);
    // The network with the shipped weights; then with dlib's own, of which the shipped ones are a shorter copy.
    let exact = expected.data("dlib.shipped_descriptor");
    assert_close("descriptor", found.clone().into_data(), &exact, ONE_CALL);
    let distance = (found - expected.tensor::<1>("dlib.descriptor")).powf_scalar(2.0).sum().sqrt().into_scalar::<f32>();
    assert!(distance < 0.01, "{distance} from dlib's descriptor");
}

/// What `Recogniser::mean` is for: most of a stranger's vector, too, is what all faces have in common.
#[test]
fn a_face_is_mostly_dlibs_mean() {
    let net = Recogniser::load(&asset("face/dlib_resnet.safetensors"), &Device::flex()).unwrap();
    let mean = Tensor::<1>::from_data(net.mean().unwrap(), &Device::flex());
    let face = Values::open("faces_astronaut.safetensors").tensor::<1>("dlib.descriptor");
    let dot = |a: &Tensor<1>, b: &Tensor<1>| (a.clone() * b.clone()).sum().into_scalar::<f32>();
    let cosine = dot(&mean, &face) / (dot(&mean, &mean) * dot(&face, &face)).sqrt();
    assert!(cosine > 0.75 && cosine < 0.95, "{cosine}");
}

/// An integer in dlib's format.
fn dlib_integer(value: usize) -> Vec<u8> {
    let bytes = value.to_le_bytes();
    let length = 8 - value.leading_zeros() as usize / 8;
    [&[length as u8], &bytes[..length]].concat()
}

fn dlib_tensor(values: &[f32]) -> Vec<u8> {
    let sizes = [2, values.len(), 1, 1, 1].map(dlib_integer).concat();
    [sizes, values.iter().flat_map(|value| value.to_le_bytes()).collect()].concat()
}

/// The weights as dlib would write them.
fn dlib_file(weights: &Checkpoint) -> Vec<u8> {
    let values = |name: &str| weights.read(name, Precision::F32).unwrap();
    let numbers = |name: &str| values(name).try_into_vec::<f32>().unwrap();
    let mut file = b"\x01\x01\x01\x0dloss_metric_2".to_vec();
    let blocks = (0..14).flat_map(|i| [1, 2].map(|n| (format!("blocks.{i}.conv{n}"), format!("blocks.{i}.affine{n}"))));
    for (conv, affine) in std::iter::once(("stem.conv".to_owned(), "stem.affine".to_owned())).chain(blocks) {
        let shape = values(&format!("{conv}.weight")).shape().to_vec();
        file.extend(b"\x01\x05con_4");
        file.extend(dlib_tensor(&[numbers(&format!("{conv}.weight")), numbers(&format!("{conv}.bias"))].concat()));
        file.extend([shape[0], shape[2], shape[3], 1, 1, 0, 0].map(dlib_integer).concat());
        file.extend(b"\x01\x07affine_");
        file.extend(dlib_tensor(&[numbers(&format!("{affine}.weight")), numbers(&format!("{affine}.bias"))].concat()));
        file.extend(b"\x01\x05relu_");
    }
    let fc = values("fc.weight");
    let (outputs, inputs) = (fc.shape()[0], fc.shape()[1]);
    let fc = fc.try_into_vec::<f32>().unwrap();
    let columns: Vec<f32> = (0..inputs * outputs).map(|i| fc[i % outputs * inputs + i / outputs]).collect();
    file.extend(b"\x01\x04fc_2");
    file.extend([outputs, inputs].map(dlib_integer).concat());
    file.extend(dlib_tensor(&columns));
    file
}

/// Random weights under the names and shapes of dlib's network, as floats.
fn dlib_floats(folder: &Path) -> Checkpoint {
    let quantised = Checkpoint::open_file(&asset("face/dlib_resnet.safetensors")).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let tensors: Vec<(String, TensorData)> = quantised
        .entries()
        .iter()
        .filter(|(name, _)| !name.ends_with("_scale") && !name.ends_with("_minimum"))
        .map(|(name, entry)| {
            let values: Vec<f32> = (0..entry.elements()).map(|_| random.random_range(-0.1..0.1)).collect();
            (name.clone(), TensorData::new(values, entry.shape.clone()))
        })
        .collect();
    let path = folder.join("floats.safetensors");
    save_safetensors(&path, &tensors).unwrap();
    Checkpoint::open_file(&path).unwrap()
}

#[test]
fn dlib_formats_hold_the_same_network() {
    let folder = tempfile::tempdir().unwrap();
    let floats = dlib_floats(folder.path());
    let path = folder.path().join("net.dat");
    fs::write(&path, dlib_file(&floats)).unwrap();
    let device = Device::flex();
    let chips = chip(&Values::open("faces_astronaut.safetensors"), "dlib.chip", 150);
    let expected = DlibResNet::load(&folder.path().join("floats.safetensors"), &device).unwrap().forward(chips.clone());
    let found = DlibResNet::load(&path, &device).unwrap().forward(chips);
    assert_eq!(found.into_data(), expected.into_data());
}

#[test]
fn damaged_dlib_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let whole = dlib_file(&dlib_floats(folder.path()));
    let path = folder.path().join("net.dat");
    let mut random = ChaCha8Rng::seed_from_u64(4);
    for _ in 0..12 {
        let cut = random.random_range(0..whole.len());
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(DlibResNet::load(&path, &device).is_err(), "cut at {cut}");
    }
    for _ in 0..20 {
        // The first layer's header: sizes that do not fit, negative, or huge.
        let mut bytes = whole[..200].to_vec();
        for byte in &mut bytes[16..50] {
            if random.random_bool(0.3) {
                *byte = random.random();
            }
        }
        fs::write(&path, &bytes).unwrap();
        assert!(DlibResNet::load(&path, &device).is_err());
    }
    for name in ["net.json", "net.safetensors"] {
        let path = folder.path().join(name);
        for text in ["", "{}", "[]", r#"[{"weights": [{"name": "fc", "shape": [9999999999, 9999999999]}]}]"#] {
            fs::write(&path, text).unwrap();
            fs::write(path.with_extension("bin"), [0; 64]).unwrap();
            assert!(DlibResNet::load(&path, &device).is_err(), "{name}: {text}");
        }
    }
}

/// The crop and its mirror image.
fn both_crops() -> Tensor<4> {
    let crop = chip(&Values::open("faces_astronaut.safetensors"), "arcface.crop", 112);
    Tensor::cat(vec![crop.clone(), crop.flip([3])], 0)
}

#[test]
fn arcface_agrees_with_onnxruntime() {
    for case in ["iresnet_folded", "iresnet_separate", "iresnet_float_data"] {
        let net = Recogniser::load(&golden(case).join("model.onnx"), &Device::flex()).unwrap();
        assert_eq!((net.name(), net.embedding_size(), net.chip()), ("arcface", 20, Chip::ArcFace));
        let expected = Values::open(&format!("{case}/expected.safetensors")).data("output");
        assert_close(case, net.embed(both_crops()).into_data(), &expected, ONE_CALL);
    }
}

/// Slopes of a weighted sum of the embedding of `chips` along their gradient, and along random directions.
fn check_gradient(chips: &Tensor<4>, width: usize, embed: impl Fn(Tensor<4>) -> Tensor<2>) {
    let dims = chips.dims();
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let mut direction = || {
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| random.random_range(-1.0..1.0)).collect();
        Tensor::<4>::from_data(TensorData::new(values, dims), &Device::flex())
    };
    let weights: Vec<f32> = (0..width).map(|i| 1.0 - 0.1 * (i % 20) as f32).collect();
    let value = |chips: Tensor<4>| {
        let embedding = embed(Tensor::from_inner(chips)).into_data().try_into_vec::<f32>().unwrap();
        embedding.iter().zip(&weights).map(|(a, b)| f64::from(a * b)).sum::<f64>()
    };
    let input = Tensor::from_inner(chips.clone()).require_grad();
    let weighted = embed(input.clone()) * Tensor::<1>::from_floats(weights.as_slice(), &input.device()).unsqueeze();
    let gradient = input.grad(&weighted.sum().backward()).unwrap();
    let length = f64::from(gradient.clone().powf_scalar(2.0).sum().sqrt().into_scalar::<f32>());
    // Along the gradient itself, where the slope is its length, and along random directions.
    let mut tried = vec![gradient.clone() * (100.0 / length)];
    tried.extend([(); 3].map(|()| direction()));
    for direction in tried {
        let along = f64::from((gradient.clone() * direction.clone()).sum().into_scalar::<f32>());
        let step = 0.01;
        let difference = value(chips.clone() + direction.clone() * step) - value(chips.clone() - direction * step);
        let numeric = difference / (2.0 * step);
        // Rectifiers bend within the step, and f32 leaves few digits of the difference.
        assert!(
            (along - numeric).abs() < 0.02 * length.max(numeric.abs()),
            "{along} is not {numeric}, the gradient is {length} long"
        );
    }
}

#[test]
fn gradient_of_arcface_agrees_with_finite_differences() {
    let net = IResNet::load(&golden("iresnet_folded/model.onnx"), &Device::flex().autodiff()).unwrap();
    check_gradient(&both_crops().narrow(0, 0, 1), 20, |chips| net.forward(chips));
}

#[test]
fn gradient_of_dlibs_network_agrees_with_finite_differences() {
    let net = DlibResNet::load(&asset("face/dlib_resnet.safetensors"), &Device::flex().autodiff()).unwrap();
    let chips = chip(&Values::open("faces_astronaut.safetensors"), "dlib.chip", 150);
    check_gradient(&chips.narrow(0, 0, 1), 128, |chips| net.forward(chips));
}

#[test]
fn mobilefacenet_agrees_with_the_reference() {
    let net = Recogniser::load(&golden("mobilefacenet_tiny.safetensors"), &Device::flex()).unwrap();
    assert_eq!((net.name(), net.embedding_size(), net.chip()), ("mobilefacenet", 16, Chip::ArcFace));
    let crop = chip(&Values::open("faces_astronaut.safetensors"), "arcface.crop", 112);
    let expected = Values::open("mobilefacenet_tiny_expected.safetensors").data("output");
    assert_close("embedding", net.embed(crop).into_data(), &expected, ONE_CALL);
}

#[test]
fn damaged_onnx_files_are_errors() {
    let whole = fs::read(golden("iresnet_separate/model.onnx")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    let device = Device::flex();
    let mut random = ChaCha8Rng::seed_from_u64(6);
    for _ in 0..100 {
        let cut = random.random_range(0..whole.len());
        fs::write(&path, &whole[..cut]).unwrap();
        assert!(IResNet::load(&path, &device).is_err(), "cut at {cut}");
    }
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..random.random_range(1..4) {
            // Nodes come first, weights behind them.
            let place = random.random_range(0..12_000);
            bytes[place] = random.random();
        }
        fs::write(&path, &bytes).unwrap();
        let _ = IResNet::load(&path, &device);
    }
}

#[test]
fn another_network_is_refused_by_the_name_of_its_node() {
    let whole = fs::read(golden("iresnet_folded/model.onnx")).unwrap();
    // The operation of the first rectifier (field 4 of its node) becomes another one of the same length.
    let place = whole.windows(7).position(|window| window == b"\x22\x05PRelu").unwrap() + 2;
    let mut bytes = whole;
    bytes[place..place + 5].copy_from_slice(b"Gelu_");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.onnx");
    fs::write(&path, &bytes).unwrap();
    let error = IResNet::load(&path, &Device::flex()).unwrap_err();
    assert!(matches!(error, WeightsError::Unsupported { .. }));
    let text = error.to_string();
    assert!(text.contains("PRelu is expected here") && text.contains("Gelu_"), "{text}");
}

#[test]
fn unknown_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.pt");
    fs::write(&path, "x").unwrap();
    assert!(matches!(Recogniser::load(&path, &Device::flex()), Err(WeightsError::Unsupported { .. })));
    let adapter = golden("mobilefacenet_tiny_expected.safetensors");
    let error = Recogniser::load(&adapter, &Device::flex()).unwrap_err();
    assert!(error.to_string().contains("no MobileFaceNet"), "{error}");
}
