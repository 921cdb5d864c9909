use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device, TensorData};
use bytemuck::Pod;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;

use super::params::{Init, ParamNames, Params, TensorSource};
use super::{Mismatch, Misshapen, WeightsError, torch};

/// A safetensors header may not be longer than this (the limit of the format's own reader).
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// In which precision weights are kept in memory.
///
/// Vectors (biases, norms) are always f32: they are small, and are added to f32 activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As in the file.
    #[default]
    Stored,
    /// 32-bit floating point.
    F32,
    /// 16-bit brain floating point.
    Bf16,
    /// 16-bit floating point.
    F16,
}

/// One tensor in a checkpoint.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Shape, outermost axis first.
    pub shape: Vec<usize>,
    /// Element type in the file.
    pub dtype: Dtype,
    /// Elements from one index to the next along each axis, where these are not those of a dense row-major tensor.
    strides: Option<Vec<usize>>,
    file: usize,
    start: u64,
    end: u64,
}

impl Entry {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes in the file.
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// Which of a checkpoint's tensors belong to a network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'a> {
    /// Prefix of the file's names that the network's names lack (`""` where they are the same).
    pub prefix: &'a str,
    /// Names in the file that start or end with one of these are passed over.
    pub ignored: &'a [&'a str],
}

/// The weight files of one network, opened: names and shapes read, values not.
///
/// Formats whose tensors do not lie in the file as they are needed are read whole and held in memory
/// ([`Self::from_memory`]).
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<PathBuf>,
    entries: BTreeMap<String, Entry>,
    memory: BTreeMap<String, TensorData>,
}

impl Checkpoint {
    /// Opens `<stem>.safetensors`, or the shards that `<stem>.safetensors.index.json` lists, in a folder.
    ///
    /// # Errors
    /// When there is neither, or a file is not whole.
    pub fn open_folder(folder: &Path, stem: &str) -> Result<Self, WeightsError> {
        let single = format!("{stem}.safetensors");
        let index = format!("{single}.index.json");
        if folder.join(&index).is_file() {
            return Self::open_index(folder, &folder.join(index));
        }
        if !folder.join(&single).is_file() {
            return Err(WeightsError::NotFound { folder: folder.to_owned(), tried: vec![single, index] });
        }
        let mut checkpoint = Self::open_file(&folder.join(single))?;
        folder.clone_into(&mut checkpoint.path);
        Ok(checkpoint)
    }

    /// Opens a folder as transformers writes it: `model.safetensors`, its shards, or `pytorch_model.bin`.
    ///
    /// # Errors
    /// When there is none of them, or a file is not whole.
    pub fn open_model_folder(folder: &Path) -> Result<Self, WeightsError> {
        let pickled = folder.join("pytorch_model.bin");
        match Self::open_folder(folder, "model") {
            Err(WeightsError::NotFound { .. }) if pickled.is_file() => Self::open_torch(&pickled),
            opened => opened,
        }
    }

    /// Opens one safetensors file.
    ///
    /// # Errors
    /// When it cannot be read or is not whole.
    pub fn open_file(path: &Path) -> Result<Self, WeightsError> {
        let entries = read_header(path, 0)?;
        Ok(Self { path: path.to_owned(), files: vec![path.to_owned()], entries, memory: BTreeMap::new() })
    }

    /// Opens a `PyTorch` file (`.bin`, `.pt`) that holds a state dict, or dicts of them: names are joined with dots.
    ///
    /// Nothing in the file is executed: see the reader for what it accepts.
    ///
    /// # Errors
    /// When it cannot be read, is no such file, or uses something that state dicts do not need.
    pub fn open_torch(path: &Path) -> Result<Self, WeightsError> {
        let entries = torch::read_entries(path)?
            .into_iter()
            .map(|(name, tensor)| {
                let torch::StoredTensor { shape, strides, dtype, start, end } = tensor;
                (name, Entry { shape, dtype, strides, file: 0, start, end })
            })
            .collect();
        Ok(Self { path: path.to_owned(), files: vec![path.to_owned()], entries, memory: BTreeMap::new() })
    }

    /// Opens a file of either format: safetensors where its name ends so, else `PyTorch`'s.
    ///
    /// # Errors
    /// As [`Self::open_file`] and [`Self::open_torch`].
    pub fn open_any(path: &Path) -> Result<Self, WeightsError> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors")) {
            Self::open_file(path)
        } else {
            Self::open_torch(path)
        }
    }

    /// Tensors (f32) that were read from `path` in some other format.
    ///
    /// # Panics
    /// When a tensor is not f32.
    pub fn from_memory(path: &Path, tensors: BTreeMap<String, TensorData>) -> Self {
        let entries = tensors
            .iter()
            .map(|(name, data)| {
                assert_eq!(data.dtype(), DType::F32, "element type of {name}");
                let shape = data.shape().to_vec();
                let end = data.as_bytes().len() as u64;
                (name.clone(), Entry { shape, dtype: Dtype::F32, strides: None, file: 0, start: 0, end })
            })
            .collect();
        Self { path: path.to_owned(), files: vec![path.to_owned()], entries, memory: tensors }
    }

    fn open_index(folder: &Path, index: &Path) -> Result<Self, WeightsError> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let text = std::fs::read_to_string(index).map_err(WeightsError::io(index))?;
        let Index { weight_map } =
            serde_json::from_str(&text).map_err(|error| WeightsError::invalid(index, error.to_string()))?;
        let mut shards: Vec<&String> = weight_map.values().collect();
        shards.sort();
        shards.dedup();
        let mut files = Vec::new();
        let mut entries = BTreeMap::new();
        for shard in shards {
            if Path::new(shard).components().count() != 1 || shard == ".." {
                return Err(WeightsError::invalid(index, format!("shard outside the folder: {shard}")));
            }
            let path = folder.join(shard);
            let header = read_header(&path, files.len())?;
            files.push(path);
            entries.extend(header);
        }
        if let Some(name) = weight_map.keys().find(|name| !entries.contains_key(*name)) {
            return Err(WeightsError::invalid(index, format!("no shard holds {name}")));
        }
        Ok(Self { path: folder.to_owned(), files, entries, memory: BTreeMap::new() })
    }

    /// All tensors by name.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The files that hold the tensors.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Number of elements of all tensors.
    pub fn parameters(&self) -> usize {
        self.entries.values().map(Entry::elements).sum()
    }

    /// Size of all tensors in the files, in bytes.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(Entry::bytes).sum()
    }

    /// Compares what a constructor declares with what the files hold; reads no values.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`] with every difference at once.
    pub fn check<T>(&self, names: Names<'_>, build: impl FnOnce(&mut Params<'_, '_>) -> T) -> Result<(), WeightsError> {
        struct Declared(BTreeMap<String, Vec<usize>>);
        impl TensorSource for Declared {
            fn tensor(&mut self, name: &str, shape: &[usize], _init: Init) -> Option<TensorData> {
                self.0.insert(name.to_owned(), shape.to_vec());
                None
            }
        }
        let mut declared = Declared(BTreeMap::new());
        let _ = Params::build(&mut declared, &Device::flex(), build);
        let mut mismatch = Mismatch::default();
        for (name, expected) in &declared.0 {
            match self.entries.get(&format!("{}{name}", names.prefix)) {
                None => mismatch.missing.push((name.clone(), expected.clone())),
                Some(entry) if entry.shape != *expected => mismatch.misshapen.push(Misshapen {
                    name: name.clone(),
                    expected: expected.clone(),
                    found: entry.shape.clone(),
                }),
                Some(_) => {}
            }
        }
        for (name, entry) in &self.entries {
            let ignored = names.ignored.iter().any(|part| name.starts_with(part) || name.ends_with(part));
            let known = name.strip_prefix(names.prefix).is_some_and(|name| declared.0.contains_key(name));
            if !known && !ignored {
                mismatch.extra.push((name.clone(), entry.shape.clone()));
            }
        }
        if mismatch.is_empty() { Ok(()) } else { Err(WeightsError::Mismatch { path: self.path.clone(), mismatch }) }
    }

    /// Checks names and shapes, then builds the network tensor by tensor: beside the finished network no more than one
    /// tensor is held.
    ///
    /// # Errors
    /// As [`Self::check`], or when reading fails.
    pub fn load<T>(
        &self,
        names: Names<'_>,
        precision: Precision,
        device: &Device,
        build: impl Fn(&mut Params<'_, '_>) -> T,
    ) -> Result<(T, ParamNames), WeightsError> {
        struct Reader<'a> {
            checkpoint: &'a Checkpoint,
            prefix: &'a str,
            precision: Precision,
            error: Option<WeightsError>,
        }
        impl TensorSource for Reader<'_> {
            fn tensor(&mut self, name: &str, _shape: &[usize], _init: Init) -> Option<TensorData> {
                if self.error.is_some() {
                    return None;
                }
                let name = format!("{}{name}", self.prefix);
                self.checkpoint.read(&name, self.precision).map_err(|error| self.error = Some(error)).ok()
            }
        }
        self.check(names, &build)?;
        let mut reader = Reader { checkpoint: self, prefix: names.prefix, precision, error: None };
        let built = Params::build(&mut reader, device, build);
        match reader.error {
            Some(error) => Err(error),
            None => Ok(built),
        }
    }

    /// Reads one floating-point tensor. Vectors and scalars come as f32 whatever the precision.
    ///
    /// # Errors
    /// When there is no such tensor, it is not floating point, or reading fails.
    pub fn read(&self, name: &str, precision: Precision) -> Result<TensorData, WeightsError> {
        let entry = self.entry(name)?;
        let data = match self.memory.get(name) {
            Some(data) => data.clone(),
            None => self.read_stored(name, entry)?,
        };
        let target = match precision {
            _ if entry.shape.len() < 2 => DType::F32,
            Precision::Stored => data.dtype(),
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        };
        Ok(if data.dtype() == target { data } else { data.convert_dtype(target) })
    }

    fn read_stored(&self, name: &str, entry: &Entry) -> Result<TensorData, WeightsError> {
        let shape = entry.shape.clone();
        Ok(match entry.dtype {
            Dtype::F32 => TensorData::new(self.read_values::<f32>(entry)?, shape),
            Dtype::BF16 => TensorData::new(self.read_values::<bf16>(entry)?, shape),
            Dtype::F16 => TensorData::new(self.read_values::<f16>(entry)?, shape),
            Dtype::F64 => TensorData::new(self.read_values::<f64>(entry)?, shape).convert_dtype(DType::F32),
            other => {
                return Err(WeightsError::Unsupported {
                    path: self.files[entry.file].clone(),
                    reason: format!("element type {other:?} of {name}"),
                });
            }
        })
    }

    /// The elements in row-major order.
    fn read_values<T: Pod>(&self, entry: &Entry) -> Result<Vec<T>, WeightsError> {
        let path = &self.files[entry.file];
        let mut file = File::open(path).map_err(WeightsError::io(path))?;
        file.seek(SeekFrom::Start(entry.start)).map_err(WeightsError::io(path))?;
        let mut values = vec![T::zeroed(); entry.bytes() as usize / size_of::<T>()];
        file.read_exact(bytemuck::cast_slice_mut(&mut values)).map_err(WeightsError::io(path))?;
        Ok(match &entry.strides {
            None => values,
            Some(strides) => row_major(&values, &entry.shape, strides),
        })
    }

    /// Reads one tensor's bytes as they are in the file.
    ///
    /// # Errors
    /// When there is no such tensor or reading fails.
    pub fn read_bytes(&self, name: &str) -> Result<Vec<u8>, WeightsError> {
        let entry = self.entry(name)?;
        if let Some(data) = self.memory.get(name) {
            return Ok(data.as_bytes().to_vec());
        }
        if entry.strides.is_some() {
            let reason = format!("the bytes of {name}, which is not row-major");
            return Err(WeightsError::Unsupported { path: self.path.clone(), reason });
        }
        self.read_values(entry)
    }

    fn entry(&self, name: &str) -> Result<&Entry, WeightsError> {
        self.entries
            .get(name)
            .ok_or_else(|| WeightsError::invalid(&self.path, format!("it has no tensor named {name}")))
    }
}

/// Puts strided elements in row-major order.
fn row_major<T: Copy>(values: &[T], shape: &[usize], strides: &[usize]) -> Vec<T> {
    let count = shape.iter().product();
    let mut index = vec![0; shape.len()];
    let mut place = 0;
    let mut ordered = Vec::with_capacity(count);
    for _ in 0..count {
        ordered.push(values[place]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            place += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            place -= shape[axis] * strides[axis];
            index[axis] = 0;
        }
    }
    ordered
}

fn read_header(path: &Path, file_index: usize) -> Result<BTreeMap<String, Entry>, WeightsError> {
    let mut file = File::open(path).map_err(WeightsError::io(path))?;
    let found = file.metadata().map_err(WeightsError::io(path))?.len();
    let mut length = [0; 8];
    if found < 8 {
        return Err(WeightsError::invalid(path, "shorter than a safetensors header"));
    }
    file.read_exact(&mut length).map_err(WeightsError::io(path))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER_BYTES || length > found - 8 {
        return Err(WeightsError::invalid(path, format!("a safetensors header of {length} bytes")));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(WeightsError::io(path))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| WeightsError::invalid(path, error.to_string()))?;
    let base = 8 + length;
    let expected = base.saturating_add(metadata.data_len() as u64);
    if expected != found {
        return Err(WeightsError::Truncated { path: path.to_owned(), expected, found });
    }
    Ok(metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let entry = Entry {
                shape: info.shape.clone(),
                dtype: info.dtype,
                strides: None,
                file: file_index,
                start: base + info.data_offsets.0 as u64,
                end: base + info.data_offsets.1 as u64,
            };
            (name, entry)
        })
        .collect())
}
