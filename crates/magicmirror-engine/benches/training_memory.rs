//! Memory and time of the parts of a training step at full size, with random weights: what `train --plan` reckons with.
//!
//! ```sh
//! cargo bench -p magicmirror-engine --bench training_memory -- blocks 1 1     # latent frames, blocks of 5B
//! cargo bench -p magicmirror-engine --bench training_memory -- decoder 1 96   # latent frames, side in pixels
//! ```

#![expect(clippy::print_stdout, reason = "the numbers are what this program is for")]

use std::path::Path;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use half::bf16;
use magicmirror_engine::memory::peak;
use magicmirror_engine::models::write_tiny;
use magicmirror_engine::train::{LossConfig, Networks, ParameterSet, Sample, StageConfig, VideoData, load_config};
use magicmirror_models::adapter::{Adapter, AdapterConfig, BackboneSizes, FaceFeatures};
use magicmirror_models::diffusion::{NoiseSchedule, SchedulerConfig};
use magicmirror_models::dit::{Dit, DitConfig};
use magicmirror_models::vae::{CausalState, VaeConfig, VaeDecoder};
use magicmirror_models::weights::{Init, Params, TensorSource};

/// Numbers without a pattern that matters, quickly; matrices in bf16. Counts the bytes.
#[derive(Default)]
struct Arbitrary(usize);

impl TensorSource for Arbitrary {
    fn tensor(&mut self, _name: &str, shape: &[usize], init: Init) -> Option<TensorData> {
        let count: usize = shape.iter().product();
        let (mean, spread) = match init {
            Init::Zeros => (0.0, 0.01),
            Init::Ones => (1.0, 0.0),
            Init::Normal(deviation) => (0.0, 1.7 * deviation),
        };
        let value = |i: usize| mean + spread * ((i as u32).wrapping_mul(2_654_435_769) as f32 / 2f32.powi(31) - 1.0);
        self.0 += count * if shape.len() > 1 { 2 } else { 4 };
        Some(if shape.len() > 1 {
            TensorData::new((0..count).map(|i| bf16::from_f32(value(i))).collect::<Vec<_>>(), shape.to_vec())
        } else {
            TensorData::new((0..count).map(value).collect::<Vec<_>>(), shape.to_vec())
        })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize| arguments.get(index).and_then(|argument| argument.parse().ok());
    match (arguments.first().map(String::as_str), number(1), number(2)) {
        (Some("blocks"), Some(frames), Some(layers)) => blocks(frames, layers),
        (Some("decoder"), Some(frames), Some(side)) => decoder(frames, side),
        _ => eprintln!("say `blocks LATENT_FRAMES LAYERS` or `decoder FRAMES SIDE`"),
    }
}

fn blocks(frames: usize, layers: usize) {
    let device = Device::flex().autodiff();
    let dit_config = DitConfig { num_layers: layers, ..DitConfig::cogvideox_5b() };
    let mut frozen = Arbitrary::default();
    let dit = Params::build(&mut frozen, &device, |params| Dit::new(&dit_config, params)).0.no_grad();
    let adapter_config = AdapterConfig::for_backbone(&BackboneSizes::from(&dit_config));
    let planned = planned(frames, layers, &adapter_config);
    let adapter = Adapter::initialise(&adapter_config, 1, &device).expect("the paper's sizes are valid");
    let (set, parameters) = ParameterSet::new(&adapter, adapter.param_names());
    let adapter = set.load(adapter, &parameters);
    let trained: usize = parameters.iter().map(|parameter| parameter.values.len()).sum();
    drop(parameters);
    let schedule = NoiseSchedule::new(&SchedulerConfig::default()).expect("the released schedule is valid");
    let networks =
        Networks { dit, dit_config, schedule, adapter, identity: None, recompute: true, device: device.clone() };
    let random = |shape: [usize; 5]| arbitrary(shape, &device);
    let shape = [1, frames, 16, 60, 90];
    let mut class_token_mask = vec![false; 226];
    class_token_mask[2..4].fill(true);
    let sample = Sample {
        frames: None,
        latents: random(shape),
        noise: random(shape),
        timestep: 500,
        text: arbitrary([1, 226, 4096], &device),
        class_token_mask,
        features: FaceFeatures {
            id_embeds: arbitrary([1, 512], &device),
            vision_last: arbitrary([1, 257, 1024], &device),
            vision_penultimate: arbitrary([1, 257, 1024], &device),
        },
        region: None,
        face: None,
    };
    let start = Instant::now();
    forget_peak();
    let result = networks.gradients(&[sample], &LossConfig::default(), &set).expect("the size divides into patches");
    let tokens = 226 + 32 + frames * 30 * 45;
    let one = (tokens * 3072 * 4) as f64;
    let weights = (frozen.0 + 4 * trained) as f64;
    let peak = peak().unwrap_or_default() as f64;
    println!(
        "{layers} block(s) of 5B, {frames} latent frames, {tokens} tokens: loss {:.4}, {:.1} s; planned {:.2} GiB, peak {:.2} GiB, of which \
         weights {:.2} GiB; the rest is at most {:.1} times tokens × width (at small sizes the perceivers' gradients)",
        result.losses.mean("loss").unwrap_or(f64::NAN),
        start.elapsed().as_secs_f64(),
        planned / GIB,
        peak / GIB,
        weights / GIB,
        (peak - weights) / one,
    );
}

/// Bytes that `train video --plan` says a device needs for this step of the paper's recipe; it reckons with four photos, not one.
fn planned(frames: usize, layers: usize, adapter: &AdapterConfig) -> f64 {
    let folder = tempfile::tempdir().expect("the system has a folder for what passes");
    let at = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("it can be written to");
    write_tiny(folder.path(), 0).expect("it can be written to");
    write(
        "backbone/transformer/config.json",
        &format!(r#"{{"num_attention_heads": 48, "num_layers": {layers}, "use_rotary_positional_embeddings": true}}"#),
    );
    write("backbone/vae/config.json", r#"{"scaling_factor": 0.7}"#);
    let text = std::fs::read_to_string(at("backbone/text_encoder/config.json")).expect("it was written");
    write("backbone/text_encoder/config.json", &text.replace(r#""d_model": 32"#, r#""d_model": 4096"#));
    write("adapter/adapter_config.json", &adapter.to_json());
    let recipe = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/paper-stage2.toml");
    let changes = [
        format!("model.backbone={}", at("backbone").display()),
        format!("model.adapter={}", at("adapter").display()),
        format!("data.frames={}", 4 * (frames - 1) + 1),
        "loss.identity_weight=0".into(),
        "run.batch=1".into(),
    ];
    let config: StageConfig<VideoData> = load_config(Path::new(recipe), &changes).expect("the recipe is valid");
    config.plan(1).expect("models of the full size").device_total() as f64
}

fn decoder(frames: usize, side: usize) {
    let device = Device::flex().autodiff();
    let config = VaeConfig::cogvideox();
    let decoder =
        Params::build(&mut Arbitrary::default(), &device, |params| VaeDecoder::new(&config, params)).0.no_grad();
    let latents = arbitrary([1, 16, frames, side / 8, side / 8], &device).require_grad();
    let (before, start) = (forget_peak(), Instant::now());
    let decoded = decoder.forward(latents, &mut CausalState::new(1));
    let [_, _, shown, ..] = decoded.dims();
    let gradients = decoded.sum().backward();
    let seconds = start.elapsed().as_secs_f64();
    drop(gradients);
    let one = (shown * config.block_out_channels[0] * side * side * 4) as f64;
    let peak = peak().unwrap_or_default() as f64;
    println!(
        "decoder, {shown} frames of {side}×{side}: {seconds:.1} s; before {:.2} GiB, peak {:.2} GiB; activations are {:.1} \
         times frames × channels",
        before / GIB,
        peak / GIB,
        (peak - before) / one,
    );
}

const GIB: f64 = (1u64 << 30) as f64;

fn arbitrary<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.731).sin()).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Memory that the process holds now, in bytes; from now on the peak is that of what follows (Linux only).
fn forget_peak() -> f64 {
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        eprintln!("the peak includes the start of the program: {error}");
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or_default() * 1024.0
}
