//! Floating-point operations of a call of the transformer, counted from its sizes: two for each product of a matrix
//! multiplication. Norms, activations and sums are left out; they are less than a hundredth.

use magicmirror_models::adapter::AdapterConfig;
use magicmirror_models::dit::DitConfig;

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
}
