//! The body's own layers: skin, eyes, teeth, tongue, lashes.

mod atlas;
mod eye;
mod features;
mod mouth;
mod noise;
mod shading;
mod skin;

use crate::figure::Figure;
use crate::person::Person;
use crate::render::Layer;

/// Skin, eyes, teeth, tongue and lashes of `person`.
pub(crate) fn layers(person: &Person, figure: &Figure) -> Vec<Layer> {
    let mut layers = vec![skin::layer(person, figure)];
    layers.extend(eye::layers(person, figure));
    layers.extend(mouth::layers(figure));
    layers.push(eye::lashes(person, figure));
    layers
}
