//! The networks of MagicMirror (arXiv 2501.03931): tensors in, tensors out.
//!
//! The main path of one generation, in order: [`text`] turns a prompt into embeddings, [`face`] and [`vision`] turn
//! photos into identity features, [`adapter`] turns these into conditions for the transformer in [`dit`], which
//! [`diffusion`] calls once a step, and [`vae`] decodes the latents to frames. [`weights`] reads and writes them all.
//! Evaluation adds [`flow`], and of [`vision`] and [`text`] the networks that judge pictures by themselves and by prompts.
//!
//! Deliberately not here: files (outside [`weights`]), images and video, progress, the command line.

pub mod adapter;
pub mod diffusion;
pub mod dit;
pub mod face;
pub mod flow;
pub mod nn;
pub mod text;
pub mod vae;
pub mod vision;
pub mod weights;
