//! Dense features of a face: CLIP's vision transformer ([`vit`]) and what it wants images to be ([`preprocess`]).
//!
//! And the networks that judge whole pictures and videos: [`clip`], [`viclip`], [`inception`].

pub mod clip;
pub mod inception;
pub mod preprocess;
pub mod viclip;
pub mod vit;
