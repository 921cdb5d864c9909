use std::ops::ControlFlow;

use burn::tensor::{Device, Distribution, Tensor, TensorData};
use magicmirror_models::vae::{
    CausalConv3d, CausalState, Posterior, Tiling, Vae, VaeConfig, VaeDecoder, VaeEncoder, VaeError,
    denoiser_layout_from_vae, vae_layout_from_denoiser,
};
use magicmirror_models::weights::{
    Checkpoint, Names, Precision, WeightsError, initialise, named_tensors, save_safetensors,
};
use magicmirror_testkit::{ONE_CALL, Values, assert_close, golden, relative_error};

const BACKBONES: [&str; 6] = ["rope_ddim", "rope_dpm_dyn", "sincos_ddim", "v15_ddim", "image_rope", "sincos_irregular"];

fn load(folder: &str) -> (VaeConfig, Vae) {
    let folder = golden(folder);
    let config: VaeConfig =
        serde_json::from_str(&std::fs::read_to_string(folder.join("config.json")).unwrap()).unwrap();
    config.validate().unwrap();
    let checkpoint = Checkpoint::open_folder(&folder, "diffusion_pytorch_model").unwrap();
    let (vae, _) = checkpoint
        .load(Names::default(), Precision::Stored, &Device::flex(), |params| Vae::new(&config, params))
        .unwrap();
    (config, vae)
}

fn tiny() -> Vae {
    initialise(7, &Device::flex(), |params| Vae::new(&VaeConfig::tiny(), params)).0
}

fn random(shape: [usize; 5]) -> Tensor<5> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &Device::flex())
}

fn on(_done: usize, _total: usize) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn encode(vae: &Vae, frames: Tensor<5>, tiling: Tiling) -> Posterior {
    vae.encoder.encode(frames, tiling, &mut on).unwrap()
}

fn decode(vae: &Vae, latents: Tensor<5>, tiling: Tiling) -> Tensor<5> {
    vae.decoder.decode(latents, tiling, &mut on).unwrap()
}

#[track_caller]
fn assert_same(what: &str, actual: Tensor<5>, expected: Tensor<5>) {
    assert_close(what, actual.into_data(), &expected.into_data(), 0.0);
}

#[test]
fn pipelines_equal_diffusers() {
    for case in BACKBONES {
        let (config, vae) = load(&format!("backbone/{case}/vae"));
        let inputs = Values::open(&format!("backbone/{case}/inputs.safetensors"));
        let expected = Values::open(&format!("backbone/{case}/expected.safetensors"));
        // [frames, channels, height, width]
        let video = inputs.tensor::<4>("video_in").swap_dims(0, 1).unsqueeze();
        let posterior = encode(&vae, video, Tiling::Off);
        assert_close(case, posterior.mean.into_data(), &expected.data("vae_mean"), ONE_CALL);
        assert_close(case, posterior.logvar.into_data(), &expected.data("vae_logvar"), ONE_CALL);

        let [count, ..] = expected.tensor::<4>("frames").dims();
        let latents = vae_layout_from_denoiser(config.unscale(expected.tensor("latents")));
        // Padding frames come first and are not decoded.
        let latent_frames = latents.dims()[2];
        let kept = (1..=latent_frames).find(|&kept| config.decoded_frames(kept) == count).unwrap();
        let frames = decode(&vae, latents.narrow(2, latent_frames - kept, kept), Tiling::Off);
        let frames = denoiser_layout_from_vae((frames / 2.0 + 0.5).clamp(0.0, 1.0)).squeeze_dim::<4>(0);
        assert_close(case, frames.into_data(), &expected.data("frames"), ONE_CALL);
    }
}

#[test]
fn chunks_in_time_equal_diffusers() {
    let (config, vae) = load("vae");
    let values = Values::open("vae/chunks.safetensors");
    for count in 1..=6 {
        let name = format!("decode.{count}");
        let latents = values.tensor::<5>("decode.in").narrow(2, 0, count);
        let frames = decode(&vae, latents, Tiling::Off);
        assert_eq!(frames.dims()[2], config.decoded_frames(count));
        assert_close(&name, frames.into_data(), &values.data(&name), ONE_CALL);
    }
    for count in [1, 5, 8, 9, 13, 16, 17, 21] {
        let frames = values.tensor::<5>("encode.in").narrow(2, 0, count);
        let Posterior { mean, logvar } = encode(&vae, frames, Tiling::Off);
        assert_eq!(mean.dims()[2], config.latent_frames(count));
        for (name, tensor) in [("mean", mean), ("logvar", logvar)] {
            let name = format!("encode.{count}.{name}");
            assert_close(&name, tensor.into_data(), &values.data(&name), ONE_CALL);
        }
    }
}

#[test]
fn tiles_equal_diffusers() {
    let (_, vae) = load("vae");
    let values = Values::open("vae/tiles.safetensors");
    for case in ["both_axes", "width_only", "height_only", "at_the_limit"] {
        let frames = decode(&vae, values.tensor(&format!("decode.{case}.in")), Tiling::Auto);
        let expected = values.tensor::<5>(&format!("decode.{case}.out"));
        assert_close(case, frames.into_data(), &expected.to_data(), ONE_CALL);
        let Posterior { mean, logvar } = encode(&vae, expected, Tiling::Auto);
        for (name, tensor) in [("mean", mean), ("logvar", logvar)] {
            let name = format!("encode.{case}.{name}");
            assert_close(&name, tensor.into_data(), &values.data(&name), ONE_CALL);
        }
    }
}

#[test]
fn one_tile_equals_the_whole_frame() {
    let vae = tiny();
    let latents = random([1, 4, 3, 5, 4]);
    let frames = decode(&vae, latents.clone(), Tiling::Off);
    assert_same("decode", decode(&vae, latents, Tiling::On), frames.clone());
    let whole = encode(&vae, frames.clone(), Tiling::Off).mean;
    assert_same("encode", encode(&vae, frames, Tiling::On).mean, whole);
}

#[test]
fn causal_convolution_in_chunks_equals_it_at_once() {
    let (conv, _) = initialise(1, &Device::flex(), |params| CausalConv3d::new(params, "conv", 3, 5));
    let x = random([2, 3, 7, 6, 5]);
    let whole = conv.forward(x.clone(), &mut CausalState::new(1));
    let mut state = CausalState::new(3);
    let mut parts = Vec::new();
    // A chunk may be shorter than what the convolution remembers.
    for (start, count) in [(0, 4), (4, 1), (5, 2)] {
        parts.push(conv.forward(x.clone().narrow(2, start, count), &mut state));
        state.next_chunk();
    }
    assert_close("chunks", Tensor::cat(parts, 2).into_data(), &whole.into_data(), 1e-6);
}

#[test]
fn later_frames_do_not_change_earlier_chunks() {
    let vae = tiny();
    let latents = random([1, 4, 5, 3, 2]);
    let changed = Tensor::cat(vec![latents.clone().narrow(2, 0, 3), random([1, 4, 2, 3, 2])], 2);
    let (frames, others) = (decode(&vae, latents, Tiling::Off), decode(&vae, changed, Tiling::Off));
    assert_same("first chunk", others.clone().narrow(2, 0, 9), frames.clone().narrow(2, 0, 9));
    let last = relative_error(others.narrow(2, 9, 8).into_data(), &frames.clone().narrow(2, 9, 8).into_data());
    assert!(last > 0.01, "the last chunk is the same: {last:e}");
    let first = encode(&vae, frames.clone().narrow(2, 0, 9), Tiling::Off).mean;
    assert_same("encoder", encode(&vae, frames, Tiling::Off).mean.narrow(2, 0, 3), first);
}

#[test]
fn one_of_a_batch_equals_a_batch_of_one() {
    let vae = tiny();
    let latents = random([2, 4, 3, 3, 2]);
    let frames = decode(&vae, latents.clone(), Tiling::Off);
    let posterior = encode(&vae, frames.clone(), Tiling::Off);
    for i in 0..2 {
        let one = decode(&vae, latents.clone().narrow(0, i, 1), Tiling::Off);
        assert_close("decode", one.clone().into_data(), &frames.clone().narrow(0, i, 1).into_data(), 1e-6);
        let one = encode(&vae, frames.clone().narrow(0, i, 1), Tiling::Off).logvar;
        assert_close("encode", one.into_data(), &posterior.logvar.clone().narrow(0, i, 1).into_data(), 1e-6);
    }
}

#[test]
fn frames_come_chunk_by_chunk() {
    let vae = tiny();
    // The first is cut in two tiles each way, the second is not.
    for (size, tiling, calls) in [([6, 5], Tiling::On, 4 * 3), ([2, 2], Tiling::Off, 3)] {
        let latents = random([1, 4, 7, size[0], size[1]]);
        let whole = decode(&vae, latents.clone(), tiling);
        let (mut parts, mut seen) = (Vec::new(), Vec::new());
        let mut progress = |done, total| {
            seen.push((done, total));
            ControlFlow::Continue(())
        };
        let mut emit = |frames| {
            parts.push(frames);
            ControlFlow::Continue(())
        };
        vae.decoder.decode_each(latents, tiling, &mut progress, &mut emit).unwrap();
        assert_eq!(parts.iter().map(|frames| frames.dims()[2]).collect::<Vec<_>>(), [9, 8, 8]);
        assert_same("joined", Tensor::cat(parts, 2), whole);
        assert_eq!(seen, (1..=calls).map(|done| (done, calls)).collect::<Vec<_>>());
    }
}

#[test]
fn work_stops_when_asked_to() {
    let vae = tiny();
    let mut calls = 0;
    let mut stop = |_, _| {
        calls += 1;
        if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let stopped = vae.decoder.decode(random([1, 4, 9, 2, 2]), Tiling::Off, &mut stop);
    assert!(matches!(stopped, Err(VaeError::Cancelled)));
    assert_eq!(calls, 2);
    let mut emitted = 0;
    let mut emit = |_| {
        emitted += 1;
        ControlFlow::Break(())
    };
    let stopped = vae.decoder.decode_each(random([1, 4, 9, 2, 2]), Tiling::Off, &mut on, &mut emit);
    assert!(matches!(stopped, Err(VaeError::Cancelled)));
    assert_eq!(emitted, 1);
}

#[test]
fn halves_load_alone() {
    let folder = golden("vae");
    let checkpoint = Checkpoint::open_folder(&folder, "diffusion_pytorch_model").unwrap();
    let (config, vae) = load("vae");
    let device = Device::flex();
    let (decoder, _) =
        checkpoint.load(VaeDecoder::NAMES, Precision::F32, &device, |params| VaeDecoder::new(&config, params)).unwrap();
    let (encoder, _) =
        checkpoint.load(VaeEncoder::NAMES, Precision::F32, &device, |params| VaeEncoder::new(&config, params)).unwrap();
    let frames = decoder.decode(random([1, 4, 1, 2, 2]), Tiling::Off, &mut on).unwrap();
    let mean = encode(&vae, frames.clone(), Tiling::Off).mean;
    assert_same("encoder", encoder.encode(frames, Tiling::Off, &mut on).unwrap().mean, mean);
}

#[test]
fn weights_of_another_autoencoder_are_refused_with_every_difference() {
    let (vae, names) = initialise(7, &Device::flex(), |params| Vae::new(&VaeConfig::tiny(), params));
    let mut tensors = named_tensors(&vae, &names);
    tensors.retain(|(name, _)| name != "decoder.conv_in.conv.bias");
    tensors.push(("encoder.extra.weight".into(), TensorData::zeros::<f32, _>([2])));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vae.safetensors");
    save_safetensors(&path, &tensors).unwrap();
    let config = VaeConfig { latent_channels: 3, ..VaeConfig::tiny() };
    let checked = Checkpoint::open_file(&path).unwrap().check(Names::default(), |params| Vae::new(&config, params));
    let Err(WeightsError::Mismatch { mismatch, .. }) = checked else { panic!("accepted") };
    assert_eq!(mismatch.missing, [("decoder.conv_in.conv.bias".to_owned(), vec![8])]);
    assert_eq!(mismatch.extra, [("encoder.extra.weight".to_owned(), vec![2])]);
    let changed: Vec<_> = mismatch.misshapen.iter().map(|shape| shape.name.as_str()).collect();
    let two_for_each_norm = 2 * (2 * (2 + 4 * 2) + 1);
    assert_eq!(changed.len(), 1 + two_for_each_norm + 2, "{changed:?}");
    assert!(changed.contains(&"encoder.conv_out.conv.weight"));
}

#[test]
fn weights_may_have_less_precision_than_activations() {
    let folder = golden("vae");
    let checkpoint = Checkpoint::open_folder(&folder, "diffusion_pytorch_model").unwrap();
    let (config, vae) = load("vae");
    let (halved, _) = checkpoint
        .load(Names::default(), Precision::Bf16, &Device::flex(), |params| Vae::new(&config, params))
        .unwrap();
    let latents = random([1, 4, 2, 2, 2]);
    let error = relative_error(
        decode(&halved, latents.clone(), Tiling::Off).into_data(),
        &decode(&vae, latents, Tiling::Off).into_data(),
    );
    assert!((1e-5..0.1).contains(&error), "{error:e}");
}

#[test]
fn gradients_reach_the_latents() {
    let vae = tiny();
    let (latents, direction) = (random([1, 4, 3, 2, 2]), random([1, 4, 3, 2, 2]));
    let weights = random([1, 3, 9, 16, 16]);
    let loss = |latents: Tensor<5>| (decode(&vae, latents, Tiling::Off) * weights.clone()).sum().into_scalar::<f32>();
    let step = 5e-3;
    let numeric = (loss(latents.clone() + direction.clone() * step) - loss(latents.clone() - direction.clone() * step))
        / (2.0 * step);

    let device = Device::flex().autodiff();
    let (vae, _) = initialise(7, &device, |params| Vae::new(&VaeConfig::tiny(), params));
    let latents = Tensor::<5>::from_data(latents.into_data(), &device).require_grad();
    let weights = Tensor::<5>::from_data(weights.to_data(), &device);
    let gradients = (decode(&vae, latents.clone(), Tiling::Off) * weights).sum().backward();
    let analytic = (latents.grad(&gradients).unwrap() * direction).sum().into_scalar::<f32>();
    // Central differences in f32 are no better than this.
    assert!((analytic - numeric).abs() < 0.01 * numeric.abs(), "{analytic} against {numeric}");
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    let vae = tiny();
    for shape in [[1, 3, 1, 12, 16], [1, 4, 1, 16, 16], [1, 3, 0, 16, 16]] {
        let refused = vae.encoder.encode(Tensor::zeros(shape, &Device::flex()), Tiling::Off, &mut on);
        assert!(matches!(refused, Err(VaeError::Shape { found, .. }) if found == shape), "{shape:?}");
    }
    let refused = vae.decoder.decode(random([1, 3, 1, 2, 2]), Tiling::Off, &mut on);
    assert!(matches!(refused, Err(VaeError::Shape { .. })));
}

#[test]
fn tiles_that_do_not_meet_are_refused() {
    let config = VaeConfig { sample_height: 48, sample_width: 64, ..VaeConfig::tiny() };
    let (vae, _) = initialise(7, &Device::flex(), |params| Vae::new(&config, params));
    let refused = vae.decoder.decode(random([1, 4, 1, 6, 8]), Tiling::Auto, &mut on);
    assert!(matches!(refused, Err(VaeError::Tiles { height: 24, width: 32 })));
}

#[test]
fn released_sizes_are_the_published_ones() {
    struct Count(usize);
    impl magicmirror_models::weights::TensorSource for Count {
        fn tensor(
            &mut self,
            _name: &str,
            shape: &[usize],
            _init: magicmirror_models::weights::Init,
        ) -> Option<TensorData> {
            self.0 += shape.iter().product::<usize>();
            None
        }
    }
    let mut count = Count(0);
    let build = |params: &mut magicmirror_models::weights::Params<'_, '_>| Vae::new(&VaeConfig::cogvideox(), params);
    let _ = magicmirror_models::weights::Params::build(&mut count, &Device::flex(), build);
    assert_eq!(count.0, 215_583_907);
}

#[test]
fn configurations_are_checked() {
    let parse = |text: &str| serde_json::from_str::<VaeConfig>(text).unwrap();
    assert_eq!(parse(r#"{"scaling_factor": 0.7, "something_new": 1}"#), VaeConfig::cogvideox());
    for config in [VaeConfig::cogvideox(), VaeConfig::tiny()] {
        config.validate().unwrap();
    }
    for (text, wrong) in [
        (r#"{"act_fn": "mish"}"#, "act_fn"),
        (r#"{"use_quant_conv": true}"#, "use_quant_conv"),
        (r#"{"use_post_quant_conv": true}"#, "use_post_quant_conv"),
        (r#"{"shift_factor": 0.1}"#, "shift_factor"),
        (r#"{"latents_mean": [0.1]}"#, "latents_mean"),
        (r#"{"down_block_types": ["A", "A", "A", "A"]}"#, "down_block_types"),
    ] {
        let refused = parse(text).validate();
        assert!(matches!(refused, Err(VaeError::Unsupported { field, .. }) if field == wrong), "{text}: {refused:?}");
    }
    for (text, wrong) in [
        (r#"{"block_out_channels": []}"#, "block_out_channels"),
        (r#"{"block_out_channels": [128, 256, 256, 500]}"#, "block_out_channels"),
        (r#"{"block_out_channels": [128, 256]}"#, "down_block_types"),
        (r#"{"norm_num_groups": 0}"#, "norm_num_groups"),
        (r#"{"temporal_compression_ratio": 3}"#, "temporal_compression_ratio"),
        (r#"{"temporal_compression_ratio": 16}"#, "temporal_compression_ratio"),
        (r#"{"temporal_compression_ratio": 0}"#, "temporal_compression_ratio"),
        (r#"{"scaling_factor": 0}"#, "scaling_factor"),
    ] {
        let refused = parse(text).validate();
        assert!(matches!(refused, Err(VaeError::InvalidConfig { field, .. }) if field == wrong), "{text}: {refused:?}");
    }
}

#[test]
fn scaling_is_undone() {
    let config = VaeConfig::cogvideox();
    let latents = random([1, 2, 1, 2, 2]);
    assert_close("0.7", (latents.clone() * 0.7).into_data(), &config.scale(latents.clone()).into_data(), 0.0);
    assert_close("round trip", config.unscale(config.scale(latents.clone())).into_data(), &latents.into_data(), 1e-6);
}
