//! People who do not exist, shown in any pose, expression, light and place: identity-consistent synthetic data.
//!
//! The main path: [`Person::from_seed`] makes an identity; a [`Scene`] puts it somewhere, in clothes and light; a
//! [`Moment`](scene::Moment) says how head, face and camera stand; [`Set::new`] prepares all that stays the same in a scene, and
//! [`Set::shoot`] draws a [`Picture`](scene::Picture) with the true box, landmarks and mask of the face.
//!
//! [`SceneGraph`](graph::SceneGraph) chooses what is to be seen, [`Clip`](motion::Clip) moves it, and
//! [`caption`](captions::caption) says it in English.
//!
//! Everything is deterministic: equal seeds give equal bytes on every machine (`libm` instead of the platform's
//! functions, no fused multiply-add, randomness from ChaCha). Not here: files and video (`magicmirror-media`), data sets
//! (`magicmirror-engine`).

mod attire;
pub mod backdrop;
mod body;
pub mod captions;
pub mod colour;
pub mod development;
pub mod figure;
pub mod graph;
pub mod head;
pub mod light;
pub mod motion;
pub mod person;
pub mod render;
pub mod scene;
mod set;
pub mod space;

pub use person::Person;
pub use set::{Scene, Set};
