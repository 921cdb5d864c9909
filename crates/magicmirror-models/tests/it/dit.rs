use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor};
use magicmirror_models::dit::{Dit, DitConfig, DitInput, Positions, Unconditioned};
use magicmirror_models::weights::{Checkpoint, Names, Precision};
use magicmirror_testkit::{ONE_CALL, Values, assert_close, golden, relative_error};

fn load(case: &str) -> (DitConfig, Dit) {
    let folder = golden(case).join("transformer");
    let config: DitConfig =
        serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    config.validate().unwrap();
    let checkpoint = Checkpoint::open_folder(&folder, "diffusion_pytorch_model").unwrap();
    let (dit, _) = checkpoint
        .load(Names::default(), Precision::Stored, &Device::flex(), |params| Dit::new(&config, params))
        .unwrap();
    (config, dit)
}

fn velocity(config: &DitConfig, dit: &Dit, latents: Tensor<5>, text: Tensor<3>, timestep: f64) -> Tensor<5> {
    let [batch, frames, _, height, width] = latents.dims();
    let positions = Positions::new(config, frames, height, width, &Device::flex()).unwrap();
    let timesteps = vec![timestep; batch];
    let input = DitInput { latents, text, timesteps: &timesteps, positions: &positions };
    dit.forward(input, &Unconditioned, &mut |_| ControlFlow::Continue(())).unwrap()
}

/// With rotary and with absolute positions.
#[test]
fn some_frames_keep_their_places_in_time() {
    for case in ["rope_ddim", "sincos_ddim"] {
        let (config, _) = load(&format!("backbone/{case}"));
        let [height, width] = [config.sample_height, config.sample_width];
        let table = |positions: &Positions| match positions {
            Positions::Rotary(rotary) => Tensor::cat(vec![rotary.cos.clone(), rotary.sin.clone()], 1),
            Positions::Absolute(table) => table.clone(),
        };
        let of = |frames| Positions::new(&config, frames, height, width, &Device::flex()).unwrap();
        let (three, each) = (of(3), table(&of(1)).dims()[0]);
        assert_eq!(table(&of(3).of_frames(3, &[0, 1])).into_data(), table(&of(2)).into_data(), "{case}");
        let last = table(&three.of_frames(3, &[2]));
        assert_eq!(last.into_data(), table(&three).narrow(0, 2 * each, each).into_data(), "{case}");
    }
}

#[test]
fn one_call_equals_diffusers() {
    for case in ["rope_ddim", "rope_dpm_dyn", "sincos_ddim", "v15_ddim", "image_rope", "sincos_irregular"] {
        let (config, dit) = load(&format!("backbone/{case}"));
        let inputs = Values::open(&format!("backbone/{case}/inputs.safetensors"));
        let expected = Values::open(&format!("backbone/{case}/expected.safetensors"));
        let actual = velocity(&config, &dit, inputs.tensor("latents"), expected.tensor("prompt_embeds"), 517.0);
        assert_close(case, actual.into_data(), &expected.data("transformer_t517"), ONE_CALL);
    }
}

/// Without any block the tokens reach the last norm as they were embedded, and without the last it is another velocity.
#[test]
fn blocks_can_be_left_out() {
    let (config, dit) = load("backbone/rope_ddim");
    let inputs = Values::open("backbone/rope_ddim/inputs.safetensors");
    let expected = Values::open("backbone/rope_ddim/expected.safetensors");
    let latents: Tensor<5> = inputs.tensor("latents");
    let [_, frames, _, height, width] = latents.dims();
    let positions = Positions::new(&config, frames, height, width, &Device::flex()).unwrap();
    let input = || DitInput {
        latents: latents.clone(),
        text: expected.tensor("prompt_embeds"),
        timesteps: &[517.0],
        positions: &positions,
    };
    let without = |skipped: &[usize]| {
        dit.forward_without(skipped, input(), &Unconditioned, &mut |_| ControlFlow::Continue(())).unwrap()
    };
    let all: Vec<usize> = (0..config.num_layers).collect();
    let (streams, context) = dit.embed(input(), &Unconditioned);
    let grid = [frames, height / config.patch_size, width / config.patch_size];
    assert_eq!(without(&all).into_data(), dit.project(streams.video, &context, grid).into_data());
    assert_close("none", without(&[]).into_data(), &expected.data("transformer_t517"), ONE_CALL);
    let last = without(&[config.num_layers - 1]);
    assert!(relative_error(last.into_data(), &expected.data("transformer_t517")) > 1e-3);
}

#[test]
fn one_of_a_batch_equals_a_batch_of_one() {
    let (config, dit) = load("backbone/rope_ddim");
    let inputs = Values::open("backbone/rope_ddim/inputs.safetensors");
    let expected = Values::open("backbone/rope_ddim/expected.safetensors");
    let (latents, text) = (inputs.tensor::<5>("latents"), expected.tensor::<3>("prompt_embeds"));
    let other = text.clone() * 0.5 + 0.1;
    let both = velocity(
        &config,
        &dit,
        Tensor::cat(vec![latents.clone(), latents.clone() * -1.0], 0),
        Tensor::cat(vec![text, other.clone()], 0),
        300.0,
    );
    let single = velocity(&config, &dit, latents * -1.0, other, 300.0);
    assert_close("second of two", both.narrow(0, 1, 1).into_data(), &single.into_data(), 1e-5);
}

#[test]
fn only_rotary_positions_need_heads_of_sixteenths() {
    let rotary = DitConfig { attention_head_dim: 8, num_attention_heads: 4, ..DitConfig::tiny() };
    rotary.validate().unwrap_err();
    let absolute = DitConfig { use_rotary_positional_embeddings: false, ..rotary };
    absolute.validate().unwrap();
    // The width, too, is cut into a quarter and twice three eighths, each of pairs.
    DitConfig { num_attention_heads: 3, ..absolute }.validate().unwrap_err();
}
