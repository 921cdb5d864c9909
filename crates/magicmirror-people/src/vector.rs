//! Vectors of three: right in the picture, up, towards the viewer; metres.

/// A point or a direction.
pub(crate) type Vec3 = [f32; 3];

pub(crate) fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

pub(crate) fn minus(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(crate) fn scaled(a: Vec3, factor: f32) -> Vec3 {
    a.map(|axis| axis * factor)
}

pub(crate) fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(crate) fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The vector made one long; zero stays zero.
pub(crate) fn unit(a: Vec3) -> Vec3 {
    scaled(a, 1.0 / dot(a, a).sqrt().max(1e-12))
}

/// `a` at 0, `b` at 1.
pub(crate) fn between(a: Vec3, b: Vec3, part: f32) -> Vec3 {
    [0, 1, 2].map(|axis| a[axis] + (b[axis] - a[axis]) * part)
}
