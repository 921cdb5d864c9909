//! People who do not exist, shown in any pose, expression, light and place: identity-consistent synthetic data.
//!
//! The main path: [`Person::from_seed`] makes an identity; a [`Scene`] puts it somewhere, in clothes and light; a
//! [`Moment`] says how head, face and camera stand; [`Set::new`] prepares all that stays the same in a scene, and
//! [`Set::shoot`] draws a [`Picture`] with the true box, landmarks and mask of the face.
//!
//! Everything is deterministic: equal seeds give equal bytes on every machine (`libm` instead of the platform's
//! functions, no fused multiply-add, randomness from ChaCha). Not here: files and video (`magicmirror-media`), data sets
//! (`magicmirror-engine`).

pub mod captions;
pub mod graph;
pub mod motion;
pub mod scene;

pub mod backdrop;
mod colour;
pub mod light;
