//! The head: base mesh, shapes and facial actions of MakeHuman, as `assets/people/export_head.py` writes them.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::OnceLock;

use safetensors::{Dtype, SafeTensors};
use thiserror::Error;

use crate::scene::EXPRESSION_UNITS;
use crate::space::Vec3;

/// What can be wrong with a head file.
#[derive(Debug, Error)]
pub enum HeadError {
    /// Not a safetensors file.
    #[error("the head model is no safetensors file\n\nhint: write it again with assets/people/export_head.py")]
    Format(#[source] safetensors::SafeTensorError),
    /// A tensor or an entry of the metadata is missing, of another type or size, or out of range.
    #[error("the head model has no valid {name}\n\nhint: write it again with assets/people/export_head.py")]
    Entry {
        /// Tensor or metadata entry.
        name: String,
    },
}

/// A piece of the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Head, inside of the mouth, neck, chest, upper arms.
    Skin,
    /// The person's left eyeball.
    LeftEye,
    /// The person's right eyeball.
    RightEye,
    /// Both rows of lashes of both eyes.
    Lashes,
    /// Lower teeth.
    LowerTeeth,
    /// Upper teeth.
    UpperTeeth,
    /// Tongue.
    Tongue,
    /// Shell around the scalp, falling down the back: where long hair may go.
    Hair,
    /// Shell around chest and upper arms: where clothes may go.
    Garment,
}

/// A weight per vertex, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mask {
    /// Red of the lips.
    Lips,
    /// Eyelids.
    Eyelids,
    /// Ears.
    Ears,
    /// Inside of the mouth.
    InsideMouth,
    /// Where hair grows.
    Scalp,
    /// Where a beard grows.
    Beard,
    /// The face as `Picture::face_mask` counts it.
    Face,
    /// How far a vertex follows the head's turn: 0 chest, 1 head.
    Bend,
    /// How far a vertex follows the upper arm.
    Arm,
    /// Share of the sky it sees on the base mesh.
    Occlusion,
}

const MASKS: [(Mask, &str); 10] = [
    (Mask::Lips, "lips"),
    (Mask::Eyelids, "eyelids"),
    (Mask::Ears, "ears"),
    (Mask::InsideMouth, "inside_mouth"),
    (Mask::Scalp, "scalp"),
    (Mask::Beard, "beard"),
    (Mask::Face, "face"),
    (Mask::Bend, "bend"),
    (Mask::Arm, "arm"),
    (Mask::Occlusion, "occlusion"),
];

const PARTS: [(Part, &str); 9] = [
    (Part::Skin, "skin"),
    (Part::LeftEye, "left_eye"),
    (Part::RightEye, "right_eye"),
    (Part::Lashes, "lashes"),
    (Part::LowerTeeth, "lower_teeth"),
    (Part::UpperTeeth, "upper_teeth"),
    (Part::Tongue, "tongue"),
    (Part::Hair, "hair"),
    (Part::Garment, "garment"),
];

/// Points inside the body that shapes move along with the surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// Lower end of the neck.
    Neck,
    /// Where the skull turns on the neck.
    Head,
    /// Centre of the person's left eyeball.
    LeftEye,
    /// Centre of the person's right eyeball.
    RightEye,
    /// Left shoulder.
    LeftShoulder,
    /// Right shoulder.
    RightShoulder,
}

/// Offsets of some vertices.
struct Target {
    vertices: Range<usize>,
    scale: f32,
}

/// Base mesh and all that can be done to it. Lengths in metres; the origin lies between the ears at the height of the
/// eyes.
///
/// A *shape* has one position per vertex, then the joints. A *corner* is what triangles refer to: a vertex with a place
/// in the texture.
pub struct HeadModel {
    base: Vec<Vec3>,
    vertices: usize,
    source: Vec<u16>,
    texture: Vec<[f32; 2]>,
    triangles: Vec<[u16; 3]>,
    parts: HashMap<Part, Range<usize>>,
    masks: HashMap<Mask, Vec<f32>>,
    targets: Vec<Target>,
    names: HashMap<String, usize>,
    units: Vec<usize>,
    moved: Vec<u16>,
    offsets: Vec<[i16; 3]>,
}

impl HeadModel {
    /// The model that is built in.
    ///
    /// # Panics
    /// Never: the tests read the built-in file.
    pub fn shared() -> &'static Self {
        static MODEL: OnceLock<HeadModel> = OnceLock::new();
        MODEL.get_or_init(|| {
            Self::read(include_bytes!("../../../assets/people/head.safetensors"))
                .expect("the built-in head model is valid")
        })
    }

    /// Reads the model from the bytes of a file.
    ///
    /// # Errors
    /// When the bytes are not such a file, or are damaged.
    pub fn read(bytes: &[u8]) -> Result<Self, HeadError> {
        let file = File::new(bytes)?;
        let base = file.triples("positions", Dtype::F32, f32::from_le_bytes)?;
        let source = file.numbers("source", Dtype::U16, u16::from_le_bytes)?;
        let texture = file.numbers("texture", Dtype::F32, f32::from_le_bytes)?;
        let triangles = file.triples("triangles", Dtype::U16, u16::from_le_bytes)?;
        let joints = file.words("joints")?;
        let vertices = base.len().saturating_sub(joints.len());
        let masks = MASKS.iter().map(|(mask, name)| {
            let name = format!("mask.{name}");
            let values = file.numbers(&name, Dtype::U8, |[byte]: [u8; 1]| byte as f32 / 255.0)?;
            valid(values.len() == vertices, &name)?;
            Ok((*mask, values))
        });
        let masks = masks.collect::<Result<_, HeadError>>()?;
        valid(joints.starts_with(&["neck", "head", "l-eye", "r-eye", "l-shoulder", "r-shoulder"]), "joints")?;
        valid(base.iter().flatten().all(|value| value.is_finite()), "positions")?;
        valid(source.iter().all(|&vertex| (vertex as usize) < vertices), "source")?;
        valid(texture.len() == 2 * source.len() && texture.iter().all(|value| (0.0..=1.0).contains(value)), "texture")?;
        valid(triangles.iter().flatten().all(|&corner| (corner as usize) < source.len()), "triangles")?;

        let words = file.words("parts")?;
        let parts = PARTS.iter().map(|(part, name)| {
            let at = words.iter().position(|word| word == name);
            let bound = |offset: usize| at.and_then(|at| words.get(at + offset)?.parse::<usize>().ok());
            match (bound(1), bound(2)) {
                (Some(start), Some(end)) if start < end && end <= triangles.len() => Ok((*part, start..end)),
                _ => Err(HeadError::Entry { name: format!("part {name}") }),
            }
        });
        let parts = parts.collect::<Result<_, HeadError>>()?;

        let starts = file.numbers("target_start", Dtype::U32, u32::from_le_bytes)?;
        let scales = file.numbers("target_scale", Dtype::F32, f32::from_le_bytes)?;
        let moved = file.numbers("target_vertex", Dtype::U16, u16::from_le_bytes)?;
        let offsets = file.triples("target_offset", Dtype::I16, i16::from_le_bytes)?;
        let words = file.words("targets")?;
        valid(starts.len() == words.len() + 1 && scales.len() == words.len(), "target_start")?;
        valid(starts.is_sorted() && starts.last().is_some_and(|&end| end as usize == moved.len()), "target_start")?;
        valid(offsets.len() == moved.len(), "target_offset")?;
        valid(moved.iter().all(|&vertex| (vertex as usize) < base.len()), "target_vertex")?;
        let targets: Vec<_> = starts
            .windows(2)
            .zip(scales)
            .map(|(bounds, scale)| Target { vertices: bounds[0] as usize..bounds[1] as usize, scale })
            .collect();
        let names: HashMap<_, _> = words.iter().enumerate().map(|(index, name)| ((*name).to_owned(), index)).collect();
        let units = EXPRESSION_UNITS.iter().map(|unit| {
            let name = format!("unit/{unit}");
            names.get(&name).copied().ok_or(HeadError::Entry { name })
        });
        let units = units.collect::<Result<_, _>>()?;
        let texture = texture.chunks_exact(2).map(|place| [place[0], place[1]]).collect();
        Ok(Self { base, vertices, source, texture, triangles, parts, masks, targets, names, units, moved, offsets })
    }

    /// Number of vertices of a shape, joints left out.
    pub fn vertices(&self) -> usize {
        self.vertices
    }

    /// The mesh without any shape: a grown person of no sex or origin.
    pub fn base(&self) -> &[Vec3] {
        &self.base
    }

    /// Vertex of each corner.
    pub fn source(&self) -> &[u16] {
        &self.source
    }

    /// Place of each corner in the texture, 0 to 1, upwards.
    pub fn texture(&self) -> &[[f32; 2]] {
        &self.texture
    }

    /// Triangles of a part, by corners, counter-clockwise seen from outside.
    pub fn triangles(&self, part: Part) -> &[[u16; 3]] {
        &self.triangles[self.parts[&part].clone()]
    }

    /// A weight of each vertex.
    pub fn mask(&self, mask: Mask) -> &[f32] {
        &self.masks[&mask]
    }

    /// Number of the shape with this name, e.g. `local/nose-hump-incr`.
    pub fn target(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Names of all shapes and units, in no order.
    pub fn target_names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Adds `weight` times target number `target` to `shape`.
    pub fn apply(&self, target: usize, weight: f32, shape: &mut [Vec3]) {
        let Target { vertices, scale } = &self.targets[target];
        let factor = weight * scale;
        for (&vertex, offset) in self.moved[vertices.clone()].iter().zip(&self.offsets[vertices.clone()]) {
            let place = &mut shape[vertex as usize];
            for axis in 0..3 {
                place[axis] += offset[axis] as f32 * factor;
            }
        }
    }

    /// Number of the target of an expression unit.
    pub fn unit(&self, unit: usize) -> usize {
        self.units[unit]
    }

    /// Where a joint stands in a shape.
    pub fn joint(&self, joint: Joint, shape: &[Vec3]) -> Vec3 {
        shape[self.vertices + joint as usize]
    }
}

fn valid(condition: bool, name: &str) -> Result<(), HeadError> {
    if condition { Ok(()) } else { Err(HeadError::Entry { name: name.to_owned() }) }
}

/// Tensors and metadata of a file.
struct File<'a> {
    tensors: SafeTensors<'a>,
    metadata: HashMap<String, String>,
}

impl<'a> File<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, HeadError> {
        let tensors = SafeTensors::deserialize(bytes).map_err(HeadError::Format)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(HeadError::Format)?;
        Ok(Self { tensors, metadata: header.metadata().clone().unwrap_or_default() })
    }

    fn numbers<const N: usize, T>(
        &self,
        name: &str,
        dtype: Dtype,
        decode: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, HeadError> {
        let entry = || HeadError::Entry { name: name.to_owned() };
        let tensor = self.tensors.tensor(name).map_err(|_| entry())?;
        valid(tensor.dtype() == dtype, name)?;
        Ok(tensor.data().as_chunks::<N>().0.iter().map(|&bytes| decode(bytes)).collect())
    }

    fn triples<const N: usize, T: Copy>(
        &self,
        name: &str,
        dtype: Dtype,
        decode: fn([u8; N]) -> T,
    ) -> Result<Vec<[T; 3]>, HeadError> {
        let numbers = self.numbers(name, dtype, decode)?;
        valid(!numbers.is_empty() && numbers.len() % 3 == 0, name)?;
        Ok(numbers.as_chunks::<3>().0.to_vec())
    }

    fn words(&self, name: &str) -> Result<Vec<&str>, HeadError> {
        let entry = self.metadata.get(name).ok_or_else(|| HeadError::Entry { name: name.to_owned() })?;
        Ok(entry.split(' ').collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    const FILE: &[u8] = include_bytes!("../../../assets/people/head.safetensors");

    /// The built-in file with one tensor changed.
    fn changed(name: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let file = SafeTensors::deserialize(FILE).unwrap();
        let (_, header) = SafeTensors::read_metadata(FILE).unwrap();
        let mut data: Vec<_> = file
            .tensors()
            .iter()
            .map(|(name, view)| (name.clone(), view.dtype(), view.shape().to_vec(), view.data().to_vec()))
            .collect();
        data.retain_mut(|(tensor, _, _, bytes)| {
            if tensor == name {
                change(bytes);
            }
            !bytes.is_empty()
        });
        let views = data
            .iter()
            .map(|(name, dtype, shape, bytes)| (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
        safetensors::serialize(views, header.metadata().clone()).unwrap()
    }

    #[test]
    fn built_in_model_is_whole() {
        let model = HeadModel::read(FILE).unwrap();
        assert!(model.target("local/nose-hump-incr").is_some());
        for mask in [Mask::Lips, Mask::Scalp, Mask::Beard, Mask::Face] {
            assert!(model.mask(mask).iter().any(|&weight| weight > 0.9), "{mask:?} is empty");
        }
        for (part, _) in PARTS {
            assert!(!model.triangles(part).is_empty(), "{part:?}");
        }
    }

    #[test]
    fn broken_files_are_refused() {
        assert!(matches!(HeadModel::read(&FILE[..FILE.len() / 2]), Err(HeadError::Format(_))));
        assert!(matches!(HeadModel::read(b"no model"), Err(HeadError::Format(_))));
        for name in ["positions", "source", "triangles", "target_vertex", "target_start", "texture"] {
            for (what, bytes) in
                [("damaged", changed(name, |bytes| bytes.fill(0xFF))), ("missing", changed(name, Vec::clear))]
            {
                match HeadModel::read(&bytes) {
                    Err(HeadError::Entry { name: found }) => assert_eq!(found, name, "{what}"),
                    other => panic!("{what} {name}: {:?}", other.err()),
                }
            }
        }
    }
}
