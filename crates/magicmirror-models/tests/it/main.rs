//! The networks against reference values.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod adapter;
mod diffusion;
mod dit;
mod face;
mod fuzz;
mod judges;
mod text;
mod vae;
mod vision;
