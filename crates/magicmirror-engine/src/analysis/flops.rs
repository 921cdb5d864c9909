//! Floating-point operations of the networks of a generation, counted from their sizes: two for each product of a matrix
//! multiplication or convolution. Norms, activations and sums are left out; they are less than a hundredth.

use magicmirror_models::adapter::AdapterConfig;
use magicmirror_models::dit::DitConfig;
use magicmirror_models::text::T5Config;
use magicmirror_models::vae::VaeConfig;

/// `rows × inputs` times `inputs × outputs`.
fn linear(rows: usize, inputs: usize, outputs: usize) -> f64 {
    2.0 * rows as f64 * inputs as f64 * outputs as f64
}

/// Scores and their sum over values, for all heads together.
fn attention(queries: usize, keys: usize, width: usize) -> f64 {
    4.0 * queries as f64 * keys as f64 * width as f64
}

/// One call on `video` video tokens; with an adapter, on so many face tokens too.
pub(super) fn transformer_call(config: &DitConfig, video: usize, adapter: Option<(&AdapterConfig, usize)>) -> f64 {
    let (width, time) = (config.width(), config.time_embed_dim);
    let text = config.max_text_seq_length;
    let patch = config.patch_size * config.patch_size * config.patch_size_t.unwrap_or(1);
    let around = linear(text, config.text_embed_dim, width)
        + linear(video, patch * config.in_channels, width)
        + linear(video, width, patch * config.out_channels)
        + linear(1, width, time)
        + linear(1, time, time)
        + linear(1, time, 2 * width);
    let block = |face: usize| {
        let tokens = text + video + face;
        // Query, key, value and output; the two layers of the feed-forward part, four times as wide between them.
        linear(tokens, width, 12 * width) + attention(tokens, tokens, width) + 2.0 * linear(1, time, 6 * width)
    };
    let blocks: f64 = (0..config.num_layers)
        .map(|layer| match adapter {
            Some((adapter, references)) if adapter.adapter_layers.contains(&layer) => {
                let face =
                    if adapter.modules.structure_branch { references * adapter.face_perceiver.tokens } else { 0 };
                block(face) + adapter_layer(adapter, text + video + face, face)
            }
            _ => block(0),
        })
        .sum();
    around + blocks
}

/// What the adapter computes by itself in one of its layers.
fn adapter_layer(config: &AdapterConfig, tokens: usize, face: usize) -> f64 {
    let (width, time) = (config.width(), config.time_embed_dim);
    let mut sum = 0.0;
    if config.modules.can {
        let hidden = config.can.hidden_dim;
        sum += linear(1, config.can.id_proj_dim + time + width, hidden) + linear(1, hidden, 12 * width);
    }
    if face > 0 {
        sum += linear(face, width, 2 * width) + attention(tokens, face, width);
        if config.modules.face_modulation {
            let hidden = config.face_modulation.hidden_dim;
            sum += linear(1, time, hidden) + linear(1, hidden, 6 * width);
        }
    }
    sum
}

/// One prompt of so many tokens, padding included.
pub(super) fn text_encoder(config: &T5Config, tokens: usize) -> f64 {
    let (width, inner) = (config.d_model, config.num_heads * config.d_kv);
    // Query, key and value, then the output; the gated feed-forward layer has three matrices.
    let block = linear(tokens, width, 3 * inner)
        + attention(tokens, tokens, inner)
        + linear(tokens, inner, width)
        + linear(tokens, width, 3 * config.d_ff);
    config.num_layers as f64 * block
}

/// Latents of a height and width to frames, without tiles, whose overlaps are decoded several times. Convolutions count all
/// their taps, those over what lies before the first frame too.
pub(super) fn decoder(config: &VaeConfig, latent_frames: usize, [height, width]: [usize; 2]) -> f64 {
    /// A causal convolution's, and that of a single frame.
    const TAPS: [usize; 2] = [27, 9];
    let latents = latent_frames * height * width;
    // Each norm takes a scale and a shift from the latents, before these are repeated.
    let norm = |channels: usize| linear(latents, config.latent_channels, 2 * channels);
    let resnet = |inputs: usize, outputs: usize, pixels: usize| {
        let shortcut = if inputs == outputs { 0.0 } else { linear(pixels, inputs, outputs) };
        norm(inputs) + norm(outputs) + shortcut + linear(pixels, TAPS[0] * (inputs + outputs), outputs)
    };
    let widths: Vec<usize> = config.block_out_channels.iter().rev().copied().collect();
    let temporal_levels = config.temporal_compression_ratio.ilog2() as usize;
    let (mut frames, mut area) = (latent_frames, height * width);
    let mut channels = widths[0];
    let mut sum =
        linear(latents, TAPS[0] * config.latent_channels, channels) + 2.0 * resnet(channels, channels, latents);
    for (level, &outputs) in widths.iter().enumerate() {
        for _ in 0..=config.layers_per_block {
            sum += resnet(channels, outputs, frames * area);
            channels = outputs;
        }
        if level + 1 < widths.len() {
            if level < temporal_levels {
                // The first of an odd number stays one.
                frames = 2 * frames - frames % 2;
            }
            area *= 4;
            sum += linear(frames * area, TAPS[1] * channels, channels);
        }
    }
    sum + norm(channels) + linear(frames * area, TAPS[0] * channels, config.out_channels)
}

#[cfg(test)]
mod tests {
    use magicmirror_models::adapter::BackboneSizes;

    use super::*;

    /// 49 frames of 480×720 are 13 · 30 · 45 patches. By hand, for each of the 42 blocks and 17,776 tokens of width 3072:
    /// 24 · 17,776 · 3072² for the linear layers, 4 · 17,776² · 3072 for the attention.
    #[test]
    fn the_5b_model_at_full_size() {
        let config = DitConfig::cogvideox_5b();
        let found = transformer_call(&config, 13 * 30 * 45, None);
        let blocks = 42.0 * (24.0 * 17_776.0 * 3072f64.powi(2) + 4.0 * 17_776f64.powi(2) * 3072.0);
        assert!((found / blocks - 1.0).abs() < 1e-3, "{found:.4e} {blocks:.4e}");
        assert!((3.2e14..3.4e14).contains(&found), "{found:.4e}");
    }

    /// Half of the blocks see 32 tokens more, and have a cross-attention to them: less than a hundredth.
    #[test]
    fn the_adapter_adds_little() {
        let config = DitConfig::cogvideox_5b();
        let sizes = BackboneSizes {
            num_layers: config.num_layers,
            num_attention_heads: config.num_attention_heads,
            attention_head_dim: config.attention_head_dim,
            time_embed_dim: config.time_embed_dim,
            text_embed_dim: config.text_embed_dim,
        };
        let adapter = AdapterConfig::for_backbone(&sizes);
        let plain = transformer_call(&config, 17_550, None);
        let share = transformer_call(&config, 17_550, Some((&adapter, 1))) / plain - 1.0;
        assert!((0.001..0.01).contains(&share), "{share}");
    }

    /// Two layers of 3 heads of 4: by hand 2 · 5 · 8 · 36 for query, key and value, 4 · 5² · 12 for the attention,
    /// 2 · 5 · 12 · 8 for the output and 2 · 5 · 8 · 60 for the rest.
    #[test]
    fn a_small_text_encoder_by_hand() {
        let config = T5Config::from_json(
            r#"{"vocab_size": 99, "d_model": 8, "d_kv": 4, "d_ff": 20, "num_layers": 2, "num_heads": 3,
                "feed_forward_proj": "gated-gelu"}"#,
        );
        let found = text_encoder(&config.expect("a valid configuration"), 5);
        assert_eq!(found.to_bits(), (2.0 * f64::from(2880 + 1200 + 960 + 4800)).to_bits());
    }

    /// Two levels of 6 and 4 channels, one of them doubling the frames: 3 latent frames of 2×1 become 5 frames of 4×2.
    #[test]
    fn a_small_decoder_by_hand() {
        let config = VaeConfig {
            block_out_channels: vec![4, 6],
            latent_channels: 3,
            layers_per_block: 1,
            temporal_compression_ratio: 2,
            ..VaeConfig::cogvideox()
        };
        let products = [
            27 * 3 * 6 * 6,                                           // conv_in, 6 latent pixels
            4 * (2 * 27 * 6 * 6 * 6 + 4 * 3 * 6 * 6),                 // middle and first level: 2 convolutions, 2 norms
            9 * 6 * 6 * 40,                                           // to 40 pixels
            27 * (6 + 4) * 4 * 40 + 6 * 4 * 40 + 2 * 3 * (6 + 4) * 6, // 6 to 4 channels, with a shortcut
            27 * (4 + 4) * 4 * 40 + 4 * 3 * 4 * 6,
            2 * 3 * 4 * 6 + 27 * 4 * 3 * 40, // norm_out, conv_out
        ];
        let found = decoder(&config, 3, [2, 1]);
        assert_eq!(found.to_bits(), f64::from(2 * products.iter().sum::<i32>()).to_bits());
    }
}
