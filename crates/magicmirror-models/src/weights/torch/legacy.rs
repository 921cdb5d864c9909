//! The format of `torch.save` before version 1.6, which many released files still have.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{
    Bytes, MAX_PICKLE_BYTES, Machine, Refused, StoredTensor, Tensor, Value, described_tensors, invalid, locate,
};
use crate::weights::WeightsError;

/// The pickle of the magic number, with which every file begins, and of the version, of which there is one.
pub(super) const MAGIC: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";

pub(super) fn read_entries(
    path: &Path,
    mut file: File,
    length: u64,
) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    let mut head = Vec::new();
    file.by_ref().take(MAX_PICKLE_BYTES).read_to_end(&mut head).map_err(WeightsError::io(path))?;
    let mut bytes = Bytes(&head[MAGIC.len()..]);
    let (tensors, keys) = described(&mut bytes).map_err(|reason| reason.at(path))?;
    let mut place = (head.len() - bytes.0.len()) as u64;

    let sizes: BTreeMap<&str, u64> =
        tensors.values().map(|tensor| (tensor.key.as_str(), tensor.dtype.bitsize() as u64 / 8)).collect();
    let mut storages = BTreeMap::new();
    for key in keys {
        let mut elements = [0; 8];
        file.seek(SeekFrom::Start(place)).map_err(WeightsError::io(path))?;
        file.read_exact(&mut elements).map_err(WeightsError::io(path))?;
        // What no tensor is in has an unknown element size, and with it an unknown end.
        let Some(size) = sizes.get(key.as_str()) else {
            return Err(WeightsError::invalid(path, format!("storage {key} without a tensor")));
        };
        let start = place + 8;
        let bytes = u64::from_le_bytes(elements).checked_mul(*size);
        let end = bytes.and_then(|bytes| start.checked_add(bytes)).filter(|&end| end <= length);
        let (Some(bytes), Some(end)) = (bytes, end) else {
            return Err(WeightsError::invalid(path, format!("storage {key} goes beyond the end of the file")));
        };
        storages.insert(key, (start, bytes));
        place = end;
    }
    locate(path, length, tensors, |key| storages.get(key).copied().ok_or_else(|| "missing".to_owned()))
}

/// The tensors, and the keys of their storages in the order in which these lie in the file.
fn described(bytes: &mut Bytes<'_>) -> Result<(BTreeMap<String, Tensor>, Vec<String>), Refused> {
    let (machine, facts) = Machine::run(bytes)?;
    if !machine.is_little_endian(facts)? {
        return Err(Refused::Unsupported("big-endian tensors".to_owned()));
    }
    let tensors = described_tensors(bytes)?;
    let (machine, keys) = Machine::run(bytes)?;
    let Value::List(keys) = &machine.values[keys] else { return invalid("no list of storages") };
    let keys = keys.iter().map(|&key| Ok(machine.text(key)?.to_owned())).collect::<Result<_, _>>()?;
    Ok((tensors, keys))
}

impl Machine {
    /// What the facts of the machine that wrote the file (a dict) say of its byte order.
    fn is_little_endian(&self, facts: super::Id) -> Result<bool, Refused> {
        let Value::Dict(entries) = &self.values[facts] else { return invalid("no dict of the writing machine") };
        let named = |&&(key, _): &&(super::Id, super::Id)| self.text(key).is_ok_and(|text| text == "little_endian");
        match entries.iter().find(named) {
            Some(&(_, value)) => Ok(matches!(self.values[value], Value::Bool(true))),
            None => invalid("no byte order"),
        }
    }
}
