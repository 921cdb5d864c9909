//! Reads the tensors of a `PyTorch` file without executing anything in it.
//!
//! Since 1.6 `torch.save` writes an uncompressed zip: `<root>/data.pkl` says what there is, `<root>/data/<key>` hold the
//! values. Before, it wrote pickles one after the other (a magic number, a version, facts of the machine, what there is,
//! the keys of the storages) and then each storage, its length before it. A pickle is a program for a small stack machine
//! that may call any Python function; the machine here knows only the operations and the functions that a state dict
//! needs, and these only build descriptions of tensors.
//!
//! Source: `CPython` 3.12, `Lib/pickletools.py`; `PyTorch` 2.9, `torch/serialization.py`, `torch/_utils.py`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use safetensors::tensor::Dtype;
use zip::{CompressionMethod, ZipArchive};

use super::WeightsError;

mod legacy;

/// No released state dict describes itself in more bytes than this.
const MAX_PICKLE_BYTES: u64 = 8 << 20;
/// Dicts inside dicts.
const MAX_DEPTH: usize = 16;
/// Values in all dicts; a small file can make one dict be part of itself many times.
const MAX_VALUES: usize = 1 << 20;
/// Axes of a tensor, and bytes of a name: a small file can ask for many copies of either.
const MAX_AXES: usize = 16;
const MAX_NAME_BYTES: usize = 4096;

/// Where a tensor lies in the file.
pub(super) struct StoredTensor {
    pub(super) shape: Vec<usize>,
    /// Elements from one index to the next along each axis, where these are not those of a dense row-major tensor.
    pub(super) strides: Option<Vec<usize>>,
    pub(super) dtype: Dtype,
    pub(super) start: u64,
    pub(super) end: u64,
}

/// All tensors of the file; nested dicts are flattened, names joined with dots. Values that are no tensors are passed
/// over.
pub(super) fn read_entries(path: &Path) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let mut file = File::open(path).map_err(WeightsError::io(path))?;
    let length = file.metadata().map_err(WeightsError::io(path))?.len();
    let mut start = Vec::new();
    file.by_ref().take(legacy::MAGIC.len() as u64).read_to_end(&mut start).map_err(WeightsError::io(path))?;
    file.rewind().map_err(WeightsError::io(path))?;
    if start == legacy::MAGIC {
        return legacy::read_entries(path, file, length);
    }
    let mut archive = ZipArchive::new(file).map_err(|error| {
        let reason = format!("{error}; it is none of the formats that PyTorch has written since version 0.2");
        WeightsError::invalid(path, reason)
    })?;
    let pickle = read_pickle(path, &mut archive)?;
    let root = pickle.name.strip_suffix("data.pkl").unwrap_or_default().to_owned();
    let tensors = described_tensors(&mut Bytes(&pickle.bytes)).map_err(|reason| reason.at(path))?;
    locate(path, length, tensors, |key| {
        let member = format!("{root}data/{key}");
        stored_bytes(&mut archive, &member).map_err(|reason| format!("{member}: {reason}"))
    })
}

/// What the pickle that begins here describes, by name.
fn described_tensors(bytes: &mut Bytes<'_>) -> Result<BTreeMap<String, Tensor>, Refused> {
    let (machine, top) = Machine::run(bytes)?;
    let mut flattened = Flattened::default();
    machine.flatten(top, "", 0, &mut flattened)?;
    Ok(flattened.tensors)
}

/// Where tensors lie in a file of `length` bytes, from the place and the size in bytes of each storage.
fn locate(
    path: &Path,
    length: u64,
    tensors: BTreeMap<String, Tensor>,
    mut storage: impl FnMut(&str) -> Result<(u64, u64), String>,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let mut found = BTreeMap::new();
    for (name, tensor) in tensors {
        let (start, size) = storage(&tensor.key)
            .map_err(|reason| WeightsError::invalid(path, format!("the storage of {name}: {reason}")))?;
        let range = tensor
            .byte_range()
            .filter(|&(_, end)| end <= size && start.checked_add(end).is_some_and(|end| end <= length));
        let Some((first, last)) = range else {
            return Err(WeightsError::invalid(path, format!("{name} does not fit its {size} stored bytes")));
        };
        let Tensor { dtype, shape, strides, .. } = tensor;
        found.insert(name, StoredTensor { shape, strides, dtype, start: start + first, end: start + last });
    }
    Ok(found)
}

struct Pickle {
    name: String,
    bytes: Vec<u8>,
}

fn read_pickle(path: &Path, archive: &mut ZipArchive<File>) -> Result<Pickle, WeightsError> {
    let zip_error = |error: zip::result::ZipError| WeightsError::invalid(path, error.to_string());
    let in_root = |name: &&str| name.strip_suffix("data.pkl").is_some_and(|root| root.matches('/').count() < 2);
    let name = archive.file_names().find(in_root).map(str::to_owned);
    let Some(name) = name else {
        return Err(WeightsError::invalid(path, "a zip archive without data.pkl"));
    };
    let byte_order = format!("{}byteorder", name.trim_end_matches("data.pkl"));
    if archive.index_for_name(&byte_order).is_some() {
        let mut order = Vec::new();
        let member = archive.by_name(&byte_order).map_err(zip_error)?;
        member.take(16).read_to_end(&mut order).map_err(WeightsError::io(path))?;
        if order != b"little" {
            return Err(WeightsError::Unsupported { path: path.to_owned(), reason: "big-endian tensors".to_owned() });
        }
    }
    let member = archive.by_name(&name).map_err(zip_error)?;
    let mut bytes = Vec::new();
    member.take(MAX_PICKLE_BYTES + 1).read_to_end(&mut bytes).map_err(WeightsError::io(path))?;
    if bytes.len() as u64 > MAX_PICKLE_BYTES {
        return Err(WeightsError::invalid(path, format!("data.pkl of more than {MAX_PICKLE_BYTES} bytes")));
    }
    Ok(Pickle { name, bytes })
}

/// Offset and length of an uncompressed member.
fn stored_bytes(archive: &mut ZipArchive<File>, name: &str) -> Result<(u64, u64), String> {
    let index = archive.index_for_name(name).ok_or("missing")?;
    let member = archive.by_index_raw(index).map_err(|error| error.to_string())?;
    if member.compression() != CompressionMethod::Stored || member.encrypted() {
        return Err("compressed or encrypted".to_owned());
    }
    let start = member.data_start().ok_or("its place is unknown")?;
    Ok((start, member.size()))
}

/// Why a pickle is refused.
#[derive(Debug)]
enum Refused {
    Invalid(String),
    Unsupported(String),
}

impl Refused {
    fn at(self, path: &Path) -> WeightsError {
        match self {
            Self::Invalid(reason) => WeightsError::invalid(path, format!("pickle: {reason}")),
            Self::Unsupported(reason) => {
                WeightsError::Unsupported { path: path.to_owned(), reason: format!("pickle: {reason}") }
            }
        }
    }
}

fn invalid<T>(reason: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Invalid(reason.into()))
}

#[derive(Debug, Clone)]
struct Tensor {
    key: String,
    dtype: Dtype,
    /// Elements in the storage before the first one.
    offset: usize,
    shape: Vec<usize>,
    strides: Option<Vec<usize>>,
    /// From the first to the last element, both included.
    extent: usize,
}

impl Tensor {
    /// First byte and end within its storage; `None` where this overflows.
    fn byte_range(&self) -> Option<(u64, u64)> {
        let size = self.dtype.bitsize() / 8;
        let first = self.offset.checked_mul(size)?;
        let end = self.extent.checked_mul(size)?.checked_add(first)?;
        Some((first as u64, end as u64))
    }
}

/// A value is known by its index in [`Machine::values`], so that files cannot nest drops or copies.
type Id = usize;

#[derive(Debug, Clone)]
enum Value {
    /// None, floats: nothing that a tensor's description needs.
    Other,
    Bool(bool),
    Int(i64),
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Function(Function),
    Storage {
        key: String,
        dtype: Dtype,
    },
    Tensor(Tensor),
}

#[derive(Debug, Clone, Copy)]
enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Dtype),
}

#[derive(Default)]
struct Machine {
    values: Vec<Value>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: BTreeMap<usize, Id>,
}

#[derive(Default)]
struct Flattened {
    tensors: BTreeMap<String, Tensor>,
    values: usize,
}

struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Refused> {
        let Some((taken, rest)) = self.0.split_at_checked(count) else { return invalid("cut short") };
        self.0 = rest;
        Ok(taken)
    }

    /// A little-endian unsigned integer of at most eight bytes.
    fn unsigned(&mut self, count: usize) -> Result<usize, Refused> {
        let bytes = self.take(count)?;
        let value = bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        usize::try_from(value).or_else(|_| invalid("a length beyond this machine's"))
    }

    fn text(&mut self, count: usize) -> Result<String, Refused> {
        match std::str::from_utf8(self.take(count)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => invalid("text that is not UTF-8"),
        }
    }

    fn line(&mut self) -> Result<String, Refused> {
        let Some(end) = self.0.iter().position(|&byte| byte == b'\n') else { return invalid("cut short") };
        let line = self.text(end)?;
        self.take(1)?;
        Ok(line)
    }
}

impl Machine {
    /// Runs the pickle that begins here, to its end; the result is the index of the value that it leaves.
    fn run(bytes: &mut Bytes<'_>) -> Result<(Self, Id), Refused> {
        let mut machine = Self::default();
        loop {
            let operation = bytes.take(1)?[0];
            if operation == b'.' {
                let top = machine.pop()?;
                return Ok((machine, top));
            }
            machine.step(operation, bytes)?;
        }
    }

    fn step(&mut self, operation: u8, bytes: &mut Bytes<'_>) -> Result<(), Refused> {
        match operation {
            // PROTO, FRAME: nothing depends on them.
            0x80 => drop(bytes.take(1)?),
            0x95 => drop(bytes.take(8)?),
            // NONE, NEWTRUE, NEWFALSE, BINFLOAT
            b'N' => self.push(Value::Other),
            0x88 | 0x89 => self.push(Value::Bool(operation == 0x88)),
            b'G' => {
                bytes.take(8)?;
                self.push(Value::Other);
            }
            // BININT, BININT1, BININT2, LONG1
            b'J' => {
                let value = bytes.unsigned(4)? as u32;
                self.push(Value::Int(i64::from(value.cast_signed())));
            }
            b'K' | b'M' => {
                let value = bytes.unsigned(if operation == b'K' { 1 } else { 2 })?;
                self.push(Value::Int(value as i64));
            }
            0x8a => {
                let count = bytes.unsigned(1)?;
                self.push_long(bytes.take(count)?);
            }
            // BINUNICODE, SHORT_BINUNICODE
            b'X' | 0x8c => {
                let count = bytes.unsigned(if operation == b'X' { 4 } else { 1 })?;
                let text = bytes.text(count)?;
                self.push(Value::Text(text));
            }
            // EMPTY_TUPLE, TUPLE1, TUPLE2, TUPLE3, MARK, TUPLE
            b')' | 0x85..=0x87 => {
                let count = if operation == b')' { 0 } else { usize::from(operation) - 0x84 };
                let items = self.pop_many(count)?;
                self.push(Value::Tuple(items));
            }
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items));
            }
            // EMPTY_LIST, APPEND, APPENDS
            b']' => self.push(Value::List(Vec::new())),
            b'a' | b'e' => {
                let items = if operation == b'a' { self.pop_many(1)? } else { self.pop_to_mark()? };
                let target = self.top()?;
                let Value::List(list) = &mut self.values[target] else {
                    return invalid("items for what is no list");
                };
                list.extend(items);
            }
            // EMPTY_DICT, SETITEM, SETITEMS
            b'}' => self.push(Value::Dict(Vec::new())),
            b's' | b'u' => {
                let items = if operation == b's' { self.pop_many(2)? } else { self.pop_to_mark()? };
                let target = self.top()?;
                let Value::Dict(entries) = &mut self.values[target] else {
                    return invalid("items for what is no dict");
                };
                if !items.len().is_multiple_of(2) {
                    return invalid("a key without a value");
                }
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
            }
            // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
            b'q' | b'r' | 0x94 => {
                let slot = match operation {
                    b'q' => bytes.unsigned(1)?,
                    b'r' => bytes.unsigned(4)?,
                    _ => self.memo.len(),
                };
                let top = self.top()?;
                self.memo.insert(slot, top);
            }
            b'h' | b'j' => {
                let slot = bytes.unsigned(if operation == b'h' { 1 } else { 4 })?;
                let Some(&id) = self.memo.get(&slot) else { return invalid(format!("unknown memo {slot}")) };
                self.stack.push(id);
            }
            // GLOBAL, STACK_GLOBAL
            b'c' => {
                let (module, name) = (bytes.line()?, bytes.line()?);
                self.push(Value::Function(function(&module, &name)?));
            }
            0x93 => {
                let items = self.pop_many(2)?;
                let found = function(self.text(items[0])?, self.text(items[1])?)?;
                self.push(Value::Function(found));
            }
            // BINPERSID, REDUCE, BUILD
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(storage);
            }
            b'R' => {
                let items = self.pop_many(2)?;
                let result = self.call(items[0], items[1])?;
                self.push(result);
            }
            // The attributes of an OrderedDict (`_metadata`) say nothing about tensors.
            b'b' => {
                self.pop()?;
                let target = self.top()?;
                if !matches!(self.values[target], Value::Dict(_)) {
                    return Err(Refused::Unsupported("attributes of an object that is no dict".to_owned()));
                }
            }
            other => return Err(Refused::Unsupported(format!("operation {other:#04x}"))),
        }
        Ok(())
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    /// A two's-complement integer, little-endian; one that does not fit 64 bits cannot describe a tensor.
    fn push_long(&mut self, bytes: &[u8]) {
        let negative = bytes.last().is_some_and(|&byte| byte & 0x80 != 0);
        let start = if negative { -1i64 } else { 0 };
        let value = bytes.iter().rev().fold(start, |value, &byte| value << 8 | i64::from(byte));
        self.push(if bytes.len() <= 8 { Value::Int(value) } else { Value::Other });
    }

    /// What lies below the last mark is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Id, Refused> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => invalid("an empty stack"),
        }
    }

    fn pop(&mut self) -> Result<Id, Refused> {
        let id = self.top()?;
        self.stack.pop();
        Ok(id)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Id>, Refused> {
        match self.stack.len().checked_sub(count) {
            Some(start) if start >= self.floor() => Ok(self.stack.split_off(start)),
            _ => invalid("an empty stack"),
        }
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Refused> {
        let Some(mark) = self.marks.pop() else { return invalid("no mark") };
        Ok(self.stack.split_off(mark))
    }

    fn text(&self, id: Id) -> Result<&str, Refused> {
        match &self.values[id] {
            Value::Text(text) => Ok(text),
            _ => invalid("something else where text is needed"),
        }
    }

    fn size(&self, id: Id) -> Result<usize, Refused> {
        match &self.values[id] {
            Value::Int(value) => usize::try_from(*value).or_else(|_| invalid(format!("a size of {value}"))),
            _ => invalid("something else where a size is needed"),
        }
    }

    fn tuple(&self, id: Id) -> Result<&[Id], Refused> {
        match &self.values[id] {
            Value::Tuple(items) => Ok(items),
            _ => invalid("something else where a tuple is needed"),
        }
    }

    /// `('storage', type, key, location, elements)`.
    fn storage(&self, id: Id) -> Result<Value, Refused> {
        let &[kind, storage, key, ..] = self.tuple(id)? else { return invalid("a short persistent id") };
        let Value::Function(Function::Storage(dtype)) = self.values[storage] else {
            return invalid("a storage without a type");
        };
        if self.text(kind)? != "storage" {
            return invalid("a persistent id of what is no storage");
        }
        let key = self.text(key)?;
        if key.len() > MAX_NAME_BYTES {
            return invalid(format!("a storage key of {} bytes", key.len()));
        }
        Ok(Value::Storage { key: key.to_owned(), dtype })
    }

    fn call(&self, function: Id, arguments: Id) -> Result<Value, Refused> {
        let Value::Function(function) = self.values[function] else { return invalid("a call of what is no function") };
        let arguments = self.tuple(arguments)?;
        match function {
            Function::OrderedDict => match arguments {
                [] => Ok(Value::Dict(Vec::new())),
                _ => Err(Refused::Unsupported("OrderedDict of a list".to_owned())),
            },
            Function::RebuildParameter => match arguments {
                &[tensor, ..] if matches!(self.values[tensor], Value::Tensor(_)) => Ok(self.values[tensor].clone()),
                _ => invalid("a parameter of what is no tensor"),
            },
            Function::RebuildTensor => self.rebuild_tensor(arguments),
            Function::Storage(_) => Err(Refused::Unsupported("a storage that is built".to_owned())),
        }
    }

    /// `(storage, offset, shape, strides, requires_grad, hooks)`.
    fn rebuild_tensor(&self, arguments: &[Id]) -> Result<Value, Refused> {
        let &[storage, offset, shape, strides, ..] = arguments else { return invalid("a tensor with few arguments") };
        let Value::Storage { key, dtype } = &self.values[storage] else { return invalid("a tensor without storage") };
        if self.tuple(shape)?.len() > MAX_AXES || self.tuple(strides)?.len() != self.tuple(shape)?.len() {
            return invalid(format!(
                "a tensor of {} axes and {} strides",
                self.tuple(shape)?.len(),
                self.tuple(strides)?.len()
            ));
        }
        let sizes = |id| self.tuple(id)?.iter().map(|&id| self.size(id)).collect::<Result<Vec<_>, _>>();
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let Some(elements) = elements else { return invalid(format!("a tensor {shape:?}")) };
        let mut row_major = vec![1usize; shape.len()];
        for axis in (1..shape.len()).rev() {
            row_major[axis - 1] = row_major[axis].saturating_mul(shape[axis]);
        }
        let differs = |axis: usize| shape[axis] != 1 && strides[axis] != row_major[axis];
        let (strides, extent) = if elements == 0 || !(0..shape.len()).any(differs) {
            (None, elements)
        } else {
            let mut steps = shape.iter().zip(&strides).map(|(&size, &stride)| (size - 1).checked_mul(stride));
            let extent = steps.try_fold(1usize, |sum, step| sum.checked_add(step?));
            match extent {
                Some(extent) if extent >= elements => (Some(strides), extent),
                _ => return Err(Refused::Unsupported(format!("a tensor {shape:?} with strides {strides:?}"))),
            }
        };
        Ok(Value::Tensor(Tensor {
            key: key.clone(),
            dtype: *dtype,
            offset: self.size(offset)?,
            shape,
            strides,
            extent,
        }))
    }

    fn flatten(&self, id: Id, name: &str, depth: usize, flattened: &mut Flattened) -> Result<(), Refused> {
        flattened.values += 1;
        if flattened.values > MAX_VALUES || name.len() > MAX_NAME_BYTES {
            return invalid("more values or longer names than a state dict has");
        }
        match &self.values[id] {
            Value::Tensor(tensor) => {
                flattened.tensors.insert(name.to_owned(), tensor.clone());
            }
            Value::Dict(entries) => {
                if depth == MAX_DEPTH {
                    return invalid(format!("dicts more than {MAX_DEPTH} deep"));
                }
                for &(key, value) in entries {
                    let number;
                    let key = match &self.values[key] {
                        Value::Text(text) if text.len() <= MAX_NAME_BYTES => text,
                        Value::Int(value) => {
                            number = value.to_string();
                            &number
                        }
                        _ => return invalid("a key that is no name"),
                    };
                    let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    self.flatten(value, &name, depth + 1, flattened)?;
                }
            }
            _ if depth == 0 => return Err(Refused::Unsupported("an object that is no state dict".to_owned())),
            _ => {}
        }
        Ok(())
    }
}

fn function(module: &str, name: &str) -> Result<Function, Refused> {
    Ok(match (module, name) {
        ("collections", "OrderedDict") => Function::OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2") => Function::RebuildTensor,
        ("torch._utils", "_rebuild_parameter") => Function::RebuildParameter,
        ("torch", "FloatStorage") => Function::Storage(Dtype::F32),
        ("torch", "HalfStorage") => Function::Storage(Dtype::F16),
        ("torch", "BFloat16Storage") => Function::Storage(Dtype::BF16),
        ("torch", "DoubleStorage") => Function::Storage(Dtype::F64),
        ("torch", "LongStorage") => Function::Storage(Dtype::I64),
        ("torch", "IntStorage") => Function::Storage(Dtype::I32),
        ("torch", "ShortStorage") => Function::Storage(Dtype::I16),
        ("torch", "CharStorage") => Function::Storage(Dtype::I8),
        ("torch", "ByteStorage") => Function::Storage(Dtype::U8),
        ("torch", "BoolStorage") => Function::Storage(Dtype::BOOL),
        _ => return Err(Refused::Unsupported(format!("{module}.{name}, which state dicts do not need"))),
    })
}
