//! Vectors and rotations in space: right in the picture, up, towards the viewer; metres.

/// A point, an offset or a direction.
pub type Vec3 = [f32; 3];
/// A rotation, by rows.
pub type Rotation = [Vec3; 3];

/// The rotation that turns nothing.
pub const UPRIGHT: Rotation = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// The largest integer that is not above `value`, which is within `i32`. Processors of old, for which programs are
/// compiled, have no instruction for `f32::floor`, and the function that replaces it is slow.
pub fn floor(value: f32) -> i32 {
    let towards_zero = value as i32;
    towards_zero - i32::from(value < towards_zero as f32)
}

/// `a + b`.
pub fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// `a - b`.
pub fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// `a · factor`.
pub fn scaled(a: Vec3, factor: f32) -> Vec3 {
    [a[0] * factor, a[1] * factor, a[2] * factor]
}

/// Scalar product.
pub fn dot(a: Vec3, b: Vec3) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
pub fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Length.
pub fn length(a: Vec3) -> f32 {
    dot(a, a).sqrt()
}

/// The direction of `a`; a vector of no length stays as it is.
pub fn unit(a: Vec3) -> Vec3 {
    let length = length(a);
    if length > 1e-20 { scaled(a, 1.0 / length) } else { a }
}

/// `a` where `amount` is 0, `b` where it is 1.
pub fn between(a: Vec3, b: Vec3, amount: f32) -> Vec3 {
    add(a, scaled(sub(b, a), amount))
}

/// Mean of three by weights.
pub fn weighted(values: [Vec3; 3], weights: Vec3) -> Vec3 {
    [0, 1, 2].map(|axis| values[0][axis] * weights[0] + values[1][axis] * weights[1] + values[2][axis] * weights[2])
}

/// `rotation` applied to `a`.
pub fn rotated(rotation: &Rotation, a: Vec3) -> Vec3 {
    [dot(rotation[0], a), dot(rotation[1], a), dot(rotation[2], a)]
}

/// The inverse of `rotation` applied to `a`.
pub fn unrotated(rotation: &Rotation, a: Vec3) -> Vec3 {
    weighted(*rotation, a)
}

/// Rotation by `angle` (radians, right-handed) about the unit vector `axis`.
pub fn about(axis: Vec3, angle: f32) -> Rotation {
    let (sin, cos) = (libm::sinf(angle), libm::cosf(angle));
    let k = scaled(axis, 1.0 - cos);
    let [x, y, z] = axis;
    [
        [k[0] * x + cos, k[0] * y - sin * z, k[0] * z + sin * y],
        [k[1] * x + sin * z, k[1] * y + cos, k[1] * z - sin * x],
        [k[2] * x - sin * y, k[2] * y + sin * x, k[2] * z + cos],
    ]
}

/// First `first`, then `then`.
pub fn after(then: &Rotation, first: &Rotation) -> Rotation {
    then.map(|row| weighted(*first, row))
}

/// 0 below `low`, 1 above `high`, smooth between them; falls instead where `low > high`.
pub fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
