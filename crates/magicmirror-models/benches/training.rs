//! Seconds of forward and backward passes at the sizes of the small model, on the CPU back-end:
//! `cargo bench --bench training`. Arguments choose rows by the start of their name.
//!
//! CPU seconds are those of all threads together, so that other programs on the machine disturb them little.
#![expect(clippy::print_stdout, reason = "the table is what this program is for")]

use std::time::Instant;

use burn::module::Module;
use burn::tensor::module::{conv2d, conv3d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Distribution, Int, Tensor};
use magicmirror_models::dit::{Dit, DitConfig, DitInput, Positions, Unconditioned};
use magicmirror_models::nn;
use magicmirror_models::text::{T5Config, T5Encoder};
use magicmirror_models::vae::{CausalState, Vae, VaeConfig};
use magicmirror_models::vision::vit::{VisionConfig, VisionTransformer};
use magicmirror_models::weights::{Params, initialise};

/// How long each row is repeated.
const SECONDS: f64 = 2.0;

struct Table(Vec<String>);

impl Table {
    fn row<T>(&self, name: &str, size: &str, run: impl Fn() -> T) {
        if !self.0.is_empty() && !self.0.iter().any(|start| name.starts_with(start)) {
            return;
        }
        std::hint::black_box(run());
        let (start, cpu) = (Instant::now(), cpu_seconds());
        let mut runs = 0;
        while start.elapsed().as_secs_f64() < SECONDS || runs < 2 {
            std::hint::black_box(run());
            runs += 1;
        }
        let (wall, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        let each = |seconds: f64| seconds / f64::from(runs) * 1e3;
        println!("{name:22} {size:44} {:>10.1} {:>10.1}", each(wall), each(cpu));
    }
}

/// User and system time of this process: fields 14 and 15 of Linux's `/proc/self/stat`, in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) / 100.0
}

fn trained<M: Module>(seed: u64, build: impl FnOnce(&mut Params<'_, '_>) -> M) -> M {
    initialise(seed, &Device::flex().autodiff(), build).0.set_require_grad(true)
}

fn random<const D: usize>(dims: [usize; D]) -> Tensor<D> {
    Tensor::random(dims, Distribution::Normal(0.0, 1.0), &Device::flex().autodiff())
}

fn main() {
    let table = Table(std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect());
    println!("{:22} {:44} {:>10} {:>10}", "forward + backward", "size", "wall/ms", "CPU/ms");
    convolutions(&table);
    vae(&table);
    transformers(&table);
}

fn convolutions(table: &Table) {
    for (channels, size) in [(32, [1, 96, 144]), (64, [1, 48, 72]), (128, [1, 12, 18]), (32, [5, 96, 144])] {
        let [frames, height, width] = size;
        let text = format!("{channels} channels, {frames} x {height} x {width}");
        let x = random([1, channels, frames, height, width]).require_grad();
        let weight = random([channels, channels, 3, 3, 3]).require_grad();
        let planes = random([1, channels, height, width]).require_grad();
        let kernel = random([channels, channels, 3, 3]).require_grad();
        table.row("conv2d, Burn", &text, || {
            conv2d(planes.clone(), kernel.clone(), None, ConvOptions::new([1; 2], [1; 2], [1; 2], 1)).sum().backward()
        });
        table.row("conv3d, Burn", &text, || {
            let first = x.clone().narrow(2, 0, 1);
            let x = Tensor::cat(vec![first.clone(), first, x.clone()], 2);
            conv3d(x, weight.clone(), None, ConvOptions::new([1; 3], [0, 1, 1], [1; 3], 1)).sum().backward()
        });
        let ours = trained(0, |params| nn::Conv3d::new(params, "conv", channels, channels, 3).with_spatial_padding(1));
        table.row("conv3d, ours", &text, || ours.forward_from_first(x.clone()).sum().backward());
        let fixed = random([1, channels, frames, height, width]);
        table.row("conv3d, no dx", &text, || ours.forward_from_first(fixed.clone()).sum().backward());
        let build = |params: &mut Params<'_, '_>| nn::Conv3d::new(params, "conv", channels, channels, 3);
        let frozen = initialise(0, &Device::flex(), build).0;
        let frozen = frozen.with_spatial_padding(1);
        let inner = fixed.clone().inner();
        table.row("conv3d, forward", &text, || frozen.forward_from_first(inner.clone()));
        let norm = trained(0, |params| nn::GroupNorm::new(params, "norm", 8, channels, 1e-6));
        table.row("group_norm, silu", &text, || norm.forward_silu(x.clone()).sum().backward());
        table.row("silu", &text, || nn::silu(x.clone()).sum().backward());
        table.row("sum", &text, || (x.clone() + 1.0).sum().backward());
    }
}

fn vae(table: &Table) {
    for (widths, layers) in [([16, 32, 64, 64], 1), ([32, 64, 64, 128], 1), ([32, 64, 64, 128], 2)] {
        let config = VaeConfig {
            block_out_channels: widths.to_vec(),
            layers_per_block: layers,
            norm_num_groups: 8,
            ..VaeConfig::cogvideox()
        };
        let vae = trained(0, |params| Vae::new(&config, params));
        for [frames, height, width] in [[1, 96, 144], [1, 64, 64], [9, 64, 64]] {
            let size = format!("{widths:?} x {layers}, {frames} x {height} x {width}");
            let x = random([1, 3, frames, height, width]);
            table.row("vae encoder", &size, || {
                let moments = vae.encoder.forward(x.clone(), &mut CausalState::new(1));
                moments.sum().backward()
            });
            let latents = random([1, 16, frames.div_ceil(4), height / 8, width / 8]);
            table.row("vae decoder", &size, || {
                vae.decoder.forward(latents.clone(), &mut CausalState::new(1)).sum().backward()
            });
        }
    }
}

fn transformers(table: &Table) {
    for (heads, layers, batch, frames) in [(6, 8, 4, 1), (6, 8, 1, 5), (4, 8, 4, 1), (4, 8, 1, 5)] {
        let config = DitConfig {
            num_attention_heads: heads,
            attention_head_dim: 64,
            num_layers: layers,
            time_embed_dim: 128,
            text_embed_dim: 192,
            sample_height: 12,
            sample_width: 18,
            sample_frames: 17,
            max_text_seq_length: 48,
            ..DitConfig::cogvideox_5b()
        };
        let dit = trained(0, |params| Dit::new(&config, params));
        let latents = random([batch, frames, 16, 12, 18]);
        let text = random([batch, 48, 192]);
        let positions = Positions::new(&config, frames, 12, 18, &Device::flex().autodiff()).expect("a valid size");
        let timesteps = vec![500.0; batch];
        let size = format!("width {}, {layers} blocks, {batch} of {frames} x 12 x 18", heads * 64);
        table.row("transformer", &size, || {
            let input =
                DitInput { latents: latents.clone(), text: text.clone(), timesteps: &timesteps, positions: &positions };
            let out = dit.forward(input, &Unconditioned, &mut |_| std::ops::ControlFlow::Continue(()));
            out.expect("never stopped").sum().backward()
        });
    }
    let config = r#"{"vocab_size": 1024, "d_model": 192, "d_kv": 32, "d_ff": 512, "num_layers": 4, "num_heads": 6,
                     "feed_forward_proj": "gated-gelu"}"#;
    let encoder = trained(0, |params| T5Encoder::new(&T5Config::from_json(config).expect("valid"), params));
    let ids = Tensor::<2, Int>::ones([4, 48], &Device::flex().autodiff());
    table.row("text encoder", "width 192, 4 layers, 4 of 48", || encoder.forward(ids.clone()).sum().backward());
    let config = VisionConfig {
        hidden_size: 192,
        intermediate_size: 768,
        num_hidden_layers: 6,
        num_attention_heads: 3,
        image_size: 112,
        patch_size: 14,
        ..VisionConfig::default()
    };
    let tower = trained(0, |params| VisionTransformer::new(&config, params));
    let pixels = random([4, 3, 112, 112]);
    table.row("vision", "width 192, 6 layers, 4 of 112 x 112", || tower.forward(pixels.clone()).last.sum().backward());
}
