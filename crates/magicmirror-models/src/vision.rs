//! Dense features of a face: CLIP's vision transformer ([`vit`]) and what it wants images to be ([`preprocess`]).

pub mod preprocess;
pub mod vit;
