//! From a photo to a vector that says who it is: [`detector`] finds faces, [`align`] cuts them out upright, a
//! [`recogniser`] describes them.
//!
//! Photos are 8-bit pixels here ([`detector::RgbPixels`]); reading, rotating and cropping files is left to others.

pub mod align;
pub mod curricularface;
pub mod detector;
pub mod dlib;
pub mod iresnet;
mod layers;
pub mod mobilefacenet;
pub mod mtcnn;
mod onnx;
pub mod recogniser;
