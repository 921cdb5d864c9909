use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::DType;
use magicmirror_models::adapter::AdapterConfig;
use magicmirror_models::diffusion::SchedulerConfig;
use magicmirror_models::face::recogniser::Recogniser;
use magicmirror_models::vae::{VaeConfig, VaeDecoder};
use magicmirror_models::weights::{Init, initialise};
use magicmirror_testkit::golden;

use super::*;
use crate::train::drawn::{direction, stir};
use crate::train::loss::cosine_distance;
use crate::train::random::{Draw, normal};
use crate::train::whitening::Whitening;
use crate::train::{LearningRate, Optimiser, OptimiserConfig, Parameter};

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    initialise(seed, &Device::flex().autodiff(), |params| params.tensor("x", shape, Init::Normal(1.0)).val()).0
}

/// A tiny backbone and adapter; nothing in the adapter is zero.
fn networks(config: AdapterConfig) -> (Networks, ParameterSet, Vec<Parameter>) {
    let device = Device::flex().autodiff();
    let dit_config = DitConfig::tiny();
    let dit = initialise(1, &device, |params| Dit::new(&dit_config, params)).0.no_grad();
    let adapter = Adapter::initialise(&config, 2, &device).unwrap();
    let (set, mut parameters) = ParameterSet::new(&adapter, adapter.param_names());
    stir(&mut parameters);
    let adapter = set.load(adapter, &parameters);
    let vae = VaeConfig { latent_channels: 8, ..VaeConfig::tiny() };
    let decoder = initialise(3, &device, |params| VaeDecoder::new(&vae, params)).0.no_grad();
    let recogniser = Recogniser::load(&golden("mobilefacenet_tiny.safetensors"), &device).unwrap();
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    let identity = Some(IdentityLoss { decoder, vae, recogniser, whitening: None });
    (Networks { dit, dit_config, schedule, adapter, identity, recompute: true, device }, set, parameters)
}

/// By vectors that are random walks from 1: no axis varies as another does, or by itself.
fn whitening(identity: &IdentityLoss) -> Option<Whitening> {
    let people: Vec<Vec<f32>> = (0..100)
        .map(|person| {
            let mut sum = 1.0;
            let mut walk = normal(identity.recogniser.embedding_size(), 5, person, 0, Draw::Noise);
            for value in &mut walk {
                sum += *value;
                *value = sum;
            }
            walk
        })
        .collect();
    Whitening::of(&people, &Device::flex().autodiff())
}

/// A sample with one reference; every part of the loss applies where asked for.
fn sample(networks: &Networks, frames: usize, seed: u64, region: bool, face: bool) -> Sample {
    let shape = [1, frames, 8, 6, 8];
    let identity = networks.identity.as_ref().unwrap();
    let mut class_token_mask = vec![false; 18];
    class_token_mask[3..5].fill(true);
    let mut inside = vec![0.0; frames * 48];
    for cell in inside.iter_mut().skip(10).step_by(3) {
        *cell = 0.5;
    }
    let region = region
        .then(|| Tensor::from_data(burn::tensor::TensorData::new(inside, [1, frames, 1, 6, 8]), &networks.device));
    let (latent_frames, frame) = FaceTarget::window(&identity.vae, 4 * (frames - 1));
    Sample {
        frames: None,
        latents: random(shape, seed),
        noise: random(shape, seed + 1),
        timestep: 300 + 100 * seed as usize,
        text: random([1, 18, 20], seed + 2),
        class_token_mask,
        features: FaceFeatures {
            id_embeds: random([1, 12], seed + 3),
            vision_last: random([1, 5, 14], seed + 4),
            vision_penultimate: random([1, 5, 14], seed + 5),
        },
        region,
        face: face.then(|| FaceTarget {
            latent_frames,
            frame,
            landmarks: [[20.0, 18.0], [41.0, 17.0], [31.0, 28.0], [23.0, 36.0], [40.0, 35.0]],
            mirrored: false,
            embeddings: random([1, identity.recogniser.embedding_size()], seed + 6),
        }),
    }
}

fn config(identity_weight: f64) -> LossConfig {
    LossConfig { identity_weight, ..LossConfig::default() }
}

/// Compares each parameter's gradients, relative to its largest one; none may be missing. Below a millionth of the largest of
/// all there is only rounding: the softmax does not feel a bias of all keys.
#[track_caller]
fn assert_same(parameters: &[Parameter], a: MicroBatch, b: MicroBatch, tolerance: f32) {
    assert!((a.losses.mean("loss").unwrap() - b.losses.mean("loss").unwrap()).abs() < 1e-5);
    let (a, b) = (a.gradients.into_values(), b.gradients.into_values());
    let largest_of = |values: &[f32]| values.iter().fold(0f32, |most, value| most.max(value.abs()));
    let rounding = 1e-6 * b.iter().flatten().map(|values| largest_of(values)).fold(0f32, f32::max);
    for ((parameter, a), b) in parameters.iter().zip(a).zip(b) {
        let name = &parameter.name;
        let (a, b) = (a.unwrap_or_else(|| panic!("{name}: none")), b.unwrap_or_else(|| panic!("{name}: none, plain")));
        let largest = largest_of(&b);
        assert!(largest > rounding || name.ends_with("norm_k.bias"), "{name}: the gradient is zero");
        if largest <= rounding {
            continue;
        }
        let worst = a.iter().zip(&b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(worst <= tolerance * largest, "{name}: {worst} of {largest}");
    }
}

#[test]
fn recomputed_gradients_equal_those_of_one_graph() {
    let (mut networks, set, parameters) = networks(AdapterConfig::tiny());
    let samples = [sample(&networks, 3, 1, true, true), sample(&networks, 3, 2, false, true)];
    let recomputed = networks.gradients(&samples, &config(0.5), &set).unwrap();
    networks.recompute = false;
    let plain = networks.gradients(&samples, &config(0.5), &set).unwrap();
    assert_same(&parameters, recomputed, plain, 1e-5);
}

/// All frames are the clip; the same latents further on in it are at other places.
#[test]
fn frames_are_at_their_places_in_time() {
    let (networks, set, _) = networks(AdapterConfig::tiny());
    let loss = |frames: Option<Frames>| {
        let sample = Sample { frames, ..sample(&networks, 2, 1, false, false) };
        networks.gradients(&[sample], &config(0.0), &set).unwrap().losses.mean("loss").unwrap()
    };
    let of_six = |step| Some(Frames::drawn(2, 6, 1, step));
    assert!((loss(Some(Frames::whole(2))) - loss(None)).abs() < 1e-9);
    let others: Vec<f64> = (0..8).map(|step| loss(of_six(step))).collect();
    assert!(others.iter().any(|other| (other - loss(None)).abs() > 1e-6), "{others:?}");
}

/// With parts of the adapter switched off, and in one frame.
#[test]
fn recomputed_gradients_equal_those_of_one_graph_in_ablations() {
    for (identity_branch, structure_branch, face_modulation, can) in [
        (true, false, false, false),
        (false, true, false, false),
        (true, true, true, false),
        (true, false, false, true),
    ] {
        let mut adapter = AdapterConfig::tiny();
        adapter.modules =
            magicmirror_models::adapter::Modules { identity_branch, structure_branch, face_modulation, can };
        let (mut networks, set, parameters) = networks(adapter);
        let samples = [sample(&networks, 1, 1, false, false)];
        let recomputed = networks.gradients(&samples, &config(0.0), &set).unwrap();
        networks.recompute = false;
        let plain = networks.gradients(&samples, &config(0.0), &set).unwrap();
        assert_same(&parameters, recomputed, plain, 1e-5);
    }
}

/// The slope of the whole loss along a random direction of all parameters at once, for each part of the loss.
#[test]
fn gradients_of_a_whole_step_equal_finite_differences() {
    for (region, face, whitened) in
        [(false, false, false), (true, false, false), (false, true, false), (false, true, true)]
    {
        let (mut networks, set, parameters) = networks(AdapterConfig::tiny());
        if let Some(identity) = networks.identity.as_mut().filter(|_| whitened) {
            identity.whitening = whitening(identity);
        }
        let samples = [sample(&networks, 1, 1, region, face)];
        let gradients = networks.gradients(&samples, &config(1.0), &set).unwrap().gradients.into_values();
        let gradient: Vec<f32> = gradients.into_iter().flat_map(Option::unwrap).collect();
        let direction = direction(&gradient);
        let slope: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        let mut at = |step: f32| {
            let mut moved = parameters.clone();
            let values = moved.iter_mut().flat_map(|parameter| &mut parameter.values);
            values.zip(&direction).for_each(|(value, d)| *value += step * d);
            networks.adapter = set.load(networks.adapter.clone(), &moved);
            networks.gradients(&samples, &config(1.0), &set).unwrap().losses.mean("loss").unwrap()
        };
        let step = 1e-3;
        let difference = (at(step) - at(-step)) / f64::from(2.0 * step);
        let error = (slope - difference).abs() / slope.abs().max(difference.abs());
        let what = format!("region {region}, face {face}, whitened {whitened}");
        assert!(error < 1e-2, "{what}: gradient {slope}, finite difference {difference}");
    }
}

/// Checks the gradient of a function of one tensor against a finite difference along a random direction.
#[track_caller]
fn check<const D: usize>(input: Tensor<D>, step: f64, f: impl Fn(Tensor<D>) -> Tensor<1>) {
    let x = recompute::leaf(input.clone());
    let gradient = x.grad(&f(x.clone()).sum().backward()).unwrap();
    let direction = direction(&gradient.to_data().try_to_vec::<f32>().unwrap());
    let direction = Tensor::from_data(burn::tensor::TensorData::new(direction, input.dims()), &Device::flex());
    let slope = f64::from((gradient * direction.clone()).sum().into_scalar::<f32>());
    let at = |step: f64| {
        let moved = input.clone().inner() + direction.clone() * step;
        f64::from(f(moved.autodiff()).sum().into_scalar::<f32>())
    };
    let difference = (at(step) - at(-step)) / (2.0 * step);
    let error = (slope - difference).abs() / slope.abs().max(difference.abs());
    assert!(error < 1e-2, "gradient {slope}, finite difference {difference}");
}

#[test]
fn gradients_of_each_loss_equal_finite_differences() {
    let (mut networks, ..) = networks(AdapterConfig::tiny());
    let other = random([3, 16], 4);
    check(random([3, 16], 3), 1e-3, |x| cosine_distance(x, other.clone()));

    let region = sample(&networks, 2, 1, true, false).region;
    let target = random([2, 2, 8, 6, 8], 5);
    check(random([2, 2, 8, 6, 8], 6), 1e-2, |x| velocity_loss(x, target.clone(), &[None, region.clone()]));

    // Decoder, warp, recogniser and cosine in a row, of raw vectors and of whitened ones.
    for frames in [1, 3] {
        let face = sample(&networks, frames, 1, false, true).face.unwrap();
        let latents = random([1, frames, 8, 6, 8], 7);
        let identity = networks.identity.as_mut().unwrap();
        let raw = each(&identity.forward(latents.clone(), &face, 0).unwrap())[0];
        check(latents.clone(), 1e-3, |x| identity.forward(x, &face, 0).unwrap());
        identity.whitening = whitening(identity);
        let whitened = each(&identity.forward(latents.clone(), &face, 0).unwrap())[0];
        assert!((whitened - raw).abs() > 1e-2, "{whitened} and {raw}");
        check(latents, 1e-3, |x| identity.forward(x, &face, 0).unwrap());
        identity.whitening = None;
    }
}

/// A face of which the recogniser sees columns 8 to 33 and rows 6 to 31, in 48×64 pixels.
#[test]
fn the_identity_term_decodes_a_square_around_the_face() {
    let (networks, ..) = networks(AdapterConfig::tiny());
    let identity = networks.identity.as_ref().unwrap();
    let mut face = sample(&networks, 1, 1, false, true).face.unwrap();
    let template = magicmirror_models::face::align::ARCFACE_TEMPLATE;
    face.landmarks = template.map(|[x, y]| [(8.5 + x * 0.22) as f32, (6.5 + y * 0.22) as f32]);
    let latents = random([1, 1, 8, 6, 8], 7);
    let at = |side| identity.forward(latents.clone(), &face, side);
    let value = |side| each(&at(side).unwrap())[0];
    assert_eq!(value(8).to_bits(), value(0).to_bits(), "as large as the frame");
    assert!(at(3).is_none(), "columns 1 to 4 do not fit");
    check(latents.clone(), 1e-3, |x| identity.forward(x, &face, 5).unwrap());

    let input = recompute::leaf(latents.clone());
    let loss = identity.forward(input.clone(), &face, 4).unwrap();
    let gradient = input.grad(&loss.backward()).unwrap();
    let reached = gradient.abs().sum_dims(&[0, 1, 2]).into_data().try_into_vec::<f32>().unwrap();
    let inside: Vec<usize> = (0..48).filter(|cell| reached[*cell] > 0.0).collect();
    let square: Vec<usize> = (0..4).flat_map(|row| (1..5).map(move |column| row * 8 + column)).collect();
    assert_eq!(inside, square);
    // What is decoded is the latents of the square, and nothing else.
    let alone = input.narrow(3, 0, 4).narrow(4, 1, 4);
    face.landmarks = face.landmarks.map(|[x, y]| [x - 8.0, y]);
    let alone = each(&identity.forward(alone, &face, 0).unwrap())[0];
    assert!((alone - each(&loss)[0]).abs() < 1e-6);
}

#[test]
fn a_moved_face_is_seen_elsewhere_or_mirrored() {
    let (networks, ..) = networks(AdapterConfig::tiny());
    let identity = networks.identity.as_ref().unwrap();
    let face = sample(&networks, 1, 1, false, true).face.unwrap();
    let latents = random([1, 1, 8, 6, 8], 7);
    let value = |face: &FaceTarget| each(&identity.forward(latents.clone(), face, 0).unwrap())[0];
    let moved = |normal: [f32; 11]| face.clone().moved(0.1, &normal);
    let still = value(&face);
    assert_eq!(value(&moved([0.0; 11])).to_bits(), still.to_bits());
    // Twice a tenth of the distance between eyes 21 pixels and one apart.
    let right = moved([2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert!(
        (right.landmarks[0][0] - 20.0 - 0.2 * 442f32.sqrt()).abs() < 1e-5
            && right.landmarks[1..] == face.landmarks[1..]
    );
    let mirrored = moved([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    assert!(!right.mirrored && mirrored.mirrored && mirrored.landmarks == face.landmarks);
    for face in [right, mirrored] {
        assert!((value(&face) - still).abs() > 1e-4);
        check(latents.clone(), 1e-3, |x| identity.forward(x, &face, 0).unwrap());
    }
}

/// diffusers' trainer compares x̂₀ with x₀ and weights by 1/(1 − ᾱ).
#[test]
fn the_velocity_loss_is_cogvideox_loss_of_the_denoised_sample() {
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).unwrap();
    let shape = [1, 2, 3, 4, 4];
    let (clean, noise, predicted) = (random(shape, 1), random(shape, 2), random(shape, 3));
    for timestep in [100, 500, 998, 999] {
        let level = NoiseLevel::at(&schedule, timestep);
        let noisy = level.noisy(clean.clone(), noise.clone());
        let target = level.velocity(clean.clone(), noise.clone());
        let ours = each(&velocity_loss(predicted.clone(), target, &[None]))[0];
        let error = level.denoised(noisy, predicted.clone()) - clean.clone();
        let weight = 1.0 / (1.0 - schedule.alphas_cumprod()[timestep]);
        let theirs = each(&((error.clone() * error).mean() * weight))[0];
        assert!((ours - theirs).abs() < 1e-4 * theirs, "timestep {timestep}: {ours} and {theirs}");
    }
}

#[test]
fn a_region_counts_alone_and_by_its_area() {
    let mut inside = vec![0.0; 48];
    inside[5] = 1.0;
    inside[6] = 0.5;
    let device = Device::flex();
    let region = Tensor::from_data(burn::tensor::TensorData::new(inside, [1, 1, 1, 6, 8]), &device);
    let zeros = || Tensor::<5>::zeros([1, 1, 2, 6, 8], &device);
    let with = |cell: usize, value: f32| {
        let mut values = vec![0.0; 96];
        values[cell] = value;
        Tensor::<5>::from_data(burn::tensor::TensorData::new(values, [1, 1, 2, 6, 8]), &device)
    };
    let loss = |predicted| each(&velocity_loss(predicted, zeros(), &[Some(region.clone())]))[0];
    assert!(loss(with(7, 3.0)).abs() < 1e-12, "outside");
    assert!((loss(with(5, 3.0)) - 9.0 / 3.0).abs() < 1e-6, "one of 2 channels × 1.5 cells");
    assert!((loss(with(48 + 6, 3.0)) - 4.5 / 3.0).abs() < 1e-6, "half inside");
}

/// What the identity term adds reaches every part of the adapter.
#[test]
fn the_identity_term_reaches_the_adapter_and_only_the_adapter() {
    let (networks, set, parameters) = networks(AdapterConfig::tiny());
    let samples = [sample(&networks, 3, 1, false, true)];
    let frozen = (bits(&networks.dit), bits(&networks.identity.as_ref().unwrap().decoder));
    let gradients = |weight| networks.gradients(&samples, &config(weight), &set).unwrap().gradients.into_values();
    for ((parameter, with), without) in parameters.iter().zip(gradients(10.0)).zip(gradients(0.0)) {
        assert!(with.unwrap() != without.unwrap(), "{} does not feel the identity term", parameter.name);
    }
    assert_eq!(trained(&networks.dit), 0);
    assert_eq!(trained(&networks.identity.as_ref().unwrap().decoder), 0);
    assert_eq!(trained(&networks.adapter), parameters.len());
    assert!(frozen == (bits(&networks.dit), bits(&networks.identity.as_ref().unwrap().decoder)));
}

/// One sample, its noise and its timestep fixed: the adapter alone learns it by heart, and the backbone stays as it is.
#[test]
fn one_sample_is_learnt_by_heart() {
    let (mut networks, set, parameters) = networks(AdapterConfig::tiny());
    let before = bits(&networks.dit);
    let mut sample = sample(&networks, 1, 1, false, false);
    // Four patches. Smaller than usual, because the random projection behind the last norm cannot give every velocity.
    let cut = |latents: Tensor<5>| latents.narrow(3, 0, 4).narrow(4, 0, 4) * 0.3;
    (sample.latents, sample.noise) = (cut(sample.latents), cut(sample.noise));
    let mut optimiser = Optimiser::new(fast(), parameters);
    let (mut first, mut last) = (None, 0.0);
    for step in 0..STEPS {
        let MicroBatch { gradients, losses } =
            networks.gradients(std::slice::from_ref(&sample), &config(0.0), &set).unwrap();
        last = losses.mean("loss").unwrap();
        first.get_or_insert(last);
        optimiser.update(&gradients.into_values(), fast().part_of_rate(step, STEPS));
        networks.adapter = set.load(networks.adapter, optimiser.parameters());
    }
    let first = first.unwrap();
    assert!(last < first / 100.0, "{first} to {last}");
    assert!(before == bits(&networks.dit), "frozen weights have changed");
}

const STEPS: u64 = 300;

fn fast() -> OptimiserConfig {
    OptimiserConfig {
        learning_rate: 1e-2,
        warmup_steps: 10,
        schedule: LearningRate::Cosine,
        final_fraction: 0.05,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.0,
        clip_norm: 0.0,
        average_decay: 0.0,
        muon_learning_rate: None,
    }
}

/// All parameters' bits, one after the other.
fn bits<M: Module>(module: &M) -> Vec<u32> {
    struct Bits(Vec<u32>);
    impl ModuleVisitor for Bits {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data().convert_dtype(DType::F32);
            self.0.extend(data.iter::<f32>().map(f32::to_bits));
        }
    }
    let mut bits = Bits(Vec::new());
    module.visit(&mut bits);
    bits.0
}

/// How many parameters are leaves that get a gradient.
fn trained<M: Module>(module: &M) -> usize {
    struct Trained(usize);
    impl ModuleVisitor for Trained {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += usize::from(param.val().is_require_grad());
        }
    }
    let mut trained = Trained(0);
    module.visit(&mut trained);
    trained.0
}
