//! Prompts to embeddings: the tokenizer and the encoder of T5 v1.1 (arXiv 1910.10683); and CLIP's tokenizer, for
//! [`crate::vision::clip`] and [`crate::vision::viclip`].
//!
//! Source: transformers 5.23, `models/t5`, as diffusers' `CogVideoXPipeline` calls it: prompts padded to a fixed length,
//! and no attention mask, so padding is attended to.

mod clip_tokenizer;
mod t5;
mod tokenizer;

pub use clip_tokenizer::ClipTokenizer;
pub use t5::{T5Config, T5ConfigError, T5Encoder};
pub use tokenizer::{Encoding, Tokenizer, TokenizerError};
