use burn::tensor::{Device, Tensor};
use magicmirror_models::diffusion::{Guidance, Method, NoiseSchedule, Sampler, SchedulerConfig};
use magicmirror_models::dit::{DitConfig, Positions};
use magicmirror_testkit::{Values, assert_close, golden};
use serde_json::Value;

/// f64 against f64: only the order of operations differs.
const SAME_TABLE: f64 = 1e-12;

fn schedule(shift: u32) -> NoiseSchedule {
    NoiseSchedule::new(&SchedulerConfig { snr_shift_scale: f64::from(shift), ..SchedulerConfig::default() }).unwrap()
}

fn sampler(shift: u32, method: Method, steps: usize) -> Sampler {
    Sampler::new(schedule(shift), method, steps).unwrap()
}

#[expect(clippy::float_cmp, reason = "infinities are equal, and have no difference")]
fn assert_table(what: &str, actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths differ");
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let close = actual == expected || (actual - expected).abs() <= SAME_TABLE * expected.abs().max(1e-3);
        assert!(close, "{what}[{i}] is {actual:e}, expected {expected:e}");
    }
}

#[test]
fn noise_table_is_diffusers() {
    let tables = Values::open("tables.safetensors");
    for shift in [1, 3] {
        let expected = tables.doubles(&format!("snr{shift}.alphas_cumprod"));
        assert_table("alphas_cumprod", schedule(shift).alphas_cumprod(), &expected);
    }
}

#[test]
fn timesteps_are_diffusers() {
    let tables = Values::open("tables.safetensors");
    for steps in [1, 2, 3, 4, 7, 10, 16, 30, 50, 100, 400, 999, 1000] {
        let actual: Vec<i64> = schedule(1).timesteps(steps).unwrap().into_iter().map(|t| t as i64).collect();
        assert_eq!(actual, tables.integers(&format!("timesteps.{steps}")), "{steps} steps");
    }
}

#[test]
fn every_step_count_gives_so_many_timesteps() {
    for steps in 1..=1000 {
        let timesteps = schedule(1).timesteps(steps).unwrap();
        assert_eq!(timesteps.len(), steps);
        assert!(timesteps.is_sorted_by(|a, b| a > b), "{steps} steps: {timesteps:?}");
    }
    assert!(schedule(1).timesteps(0).is_err());
    assert!(schedule(1).timesteps(1001).is_err());
}

#[test]
fn ddim_coefficients_are_diffusers() {
    let tables = Values::open("tables.safetensors");
    for (shift, steps) in [(1, 4), (1, 7), (1, 10), (1, 50), (3, 4), (3, 7), (3, 10), (3, 50)] {
        let sampler = sampler(shift, Method::Ddim, steps);
        let all: Vec<_> = (0..steps).map(|step| sampler.coefficients(step)).collect();
        let sample: Vec<f64> = all.iter().map(|c| c.sample + c.clean * c.signal).collect();
        let velocity: Vec<f64> = all.iter().map(|c| -c.clean * c.deviation).collect();
        let key = format!("snr{shift}.ddim.{steps}");
        assert_table(&key, &sample, &tables.doubles(&format!("{key}.sample")));
        assert_table(&key, &velocity, &tables.doubles(&format!("{key}.velocity")));
    }
}

#[test]
fn dpm_coefficients_are_diffusers() {
    let tables = Values::open("tables.safetensors");
    for (shift, steps) in [(1, 4), (1, 7), (1, 10), (1, 50), (3, 4), (3, 7), (3, 10), (3, 50)] {
        let key = format!("snr{shift}.dpm.{steps}");
        let [mult1, mult2, mult3, mult4, noise, next] = ["mult1", "mult2", "mult3", "mult4", "noise", "lambda_next"]
            .map(|name| tables.doubles(&format!("{key}.{name}")));
        let sampler = sampler(shift, Method::Dpm, steps);
        for step in 0..steps {
            let c = sampler.coefficients(step);
            // First order where there is no step before, and where the step lands on the clean sample.
            let first_order = step == 0 || next[step].is_infinite();
            let (clean, previous) =
                if first_order { (-mult2[step], 0.0) } else { (-mult2[step] * mult3[step], mult2[step] * mult4[step]) };
            let expected = [mult1[step], clean, previous, noise[step]];
            assert_table(&format!("{key} step {step}"), &[c.sample, c.clean, c.previous_clean, c.noise], &expected);
        }
    }
}

#[test]
fn paths_are_diffusers() {
    let tables = Values::open("tables.safetensors");
    for (method, name, shift, steps) in [
        (Method::Ddim, "ddim", 1, 10),
        (Method::Dpm, "dpm", 1, 10),
        (Method::Ddim, "ddim", 3, 7),
        (Method::Dpm, "dpm", 3, 7),
    ] {
        let key = format!("snr{shift}.path.{name}.{steps}");
        let at = |name: &str, step: usize| -> Tensor<5> {
            tables.tensor::<6>(&format!("{key}.{name}")).narrow(0, step, 1).squeeze_dim(0)
        };
        let mut sampler = sampler(shift, method, steps);
        let mut latents: Tensor<5> = tables.tensor(&format!("{key}.start"));
        for step in 0..steps {
            let noise = sampler.is_stochastic().then(|| at("noise", step));
            latents = sampler.step(step, latents, at("velocities", step), noise);
            assert_close(&format!("{key} step {step}"), latents.to_data(), &at("states", step).into_data(), 1e-5);
        }
    }
}

#[test]
fn dynamic_guidance_is_diffusers() {
    let tables = Values::open("tables.safetensors");
    for steps in [10, 50] {
        let guidance = Guidance { scale: 6.0, dynamic: true };
        let timesteps = schedule(1).timesteps(steps).unwrap();
        let weights: Vec<f64> = timesteps.into_iter().map(|timestep| guidance.weight(timestep, steps)).collect();
        // π·19⁵ leaves about ten digits of the argument's fraction.
        for (weight, expected) in weights.iter().zip(tables.doubles(&format!("guidance.{steps}"))) {
            assert!((weight - expected).abs() < 1e-7, "{weight}, expected {expected}");
        }
    }
}

#[test]
fn positions_are_diffusers() {
    let tables = Values::open("tables.safetensors");
    let settings: Value = serde_json::from_str(&std::fs::read_to_string(golden("tables.json")).unwrap()).unwrap();
    for kind in ["rotary", "sincos"] {
        for (name, case) in settings[kind].as_object().unwrap() {
            let number =
                |field: &str| case[field].as_u64().unwrap_or_else(|| panic!("{kind}.{name}: {field}")) as usize;
            let rotary = kind == "rotary";
            let config = DitConfig {
                num_attention_heads: 1,
                attention_head_dim: number(if rotary { "head_dim" } else { "dim" }),
                sample_height: case["sample_height"].as_u64().unwrap_or(60) as usize,
                sample_width: case["sample_width"].as_u64().unwrap_or(90) as usize,
                patch_size_t: case["patch_size_t"].as_u64().map(|n| n as usize),
                use_rotary_positional_embeddings: rotary,
                ..DitConfig::default()
            };
            // Rotary cases are in pixels and latent frames, as the pipeline has it; the others in latents and frames.
            let (frames, height, width) = if rotary {
                (number("frames"), number("height") / 8, number("width") / 8)
            } else {
                ((number("frames") - 1) / 4 + 1, number("height"), number("width"))
            };
            let positions = Positions::new(&config, frames, height, width, &Device::flex()).unwrap();
            let rows = |table: Tensor<2>| {
                let key = format!("{kind}.{name}.rows");
                if !tables.names().contains(&key) {
                    return table.into_data();
                }
                let rows = Tensor::from_data(tables.integers(&key).as_slice(), &Device::flex());
                table.select(0, rows).into_data()
            };
            // Angles reach 45: half a unit in the last place of the angle is 2e-6.
            let check = |what: &str, table: Tensor<2>| {
                assert_close(
                    &format!("{kind}.{name}.{what}"),
                    rows(table),
                    &tables.data(&format!("{kind}.{name}.{what}")),
                    5e-6,
                );
            };
            match positions {
                Positions::Rotary(rotary) => {
                    check("cos", rotary.cos);
                    check("sin", rotary.sin);
                }
                Positions::Absolute(table) => check("table", table),
            }
        }
    }
}
