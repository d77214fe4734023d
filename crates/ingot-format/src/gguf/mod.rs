//! GGUF files: metadata and tensors of a model in one file, or in a few.

mod array;
mod cursor;
mod parse;
mod split;
mod value;
mod writer;

use std::path::Path;

pub use array::{Array, ElementType, Strings};
pub use value::{Text, Value};
pub use writer::GgufWriter;

use crate::{Bytes, Error, Result, Tensor, map_file, table::Table};
use parse::Part;

/// An opened GGUF model. Tensor data, strings and arrays stay in the file.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// The metadata; its tensors have moved to `table`.
    head: Part,
    table: Table,
}

impl Gguf {
    /// Maps a model file and checks its structure. If it is the first part of a
    /// split model, the other parts are opened as well, from the same folder.
    pub fn open(path: &Path) -> Result<Self> {
        let head = parse::parse(&map_file(path)?).map_err(|e| e.in_file(path))?;
        let others = split::open_others(path, &head)?;
        Self::new(head, others).map_err(|e| e.in_file(path))
    }

    /// A model in memory, for example one embedded in the program. Split models
    /// cannot be opened this way: their parts are found by file name.
    pub fn from_bytes(bytes: Bytes) -> Result<Self> {
        let head = parse::parse(&bytes)?;
        if split::Split::of(&head)?.is_some() {
            return Err(Error::unsupported("a split model can only be opened from its files"));
        }
        Self::new(head, Vec::new())
    }

    fn new(mut head: Part, others: Vec<Part>) -> Result<Self> {
        let mut table = Table::default();
        table.extend(std::mem::take(&mut head.tensors))?;
        for part in others {
            table.extend(part.tensors)?;
        }
        split::check_tensor_count(&head, table.tensors().len())?;
        Ok(Self { head, table })
    }

    /// The version of the file format, 2 or 3.
    pub fn version(&self) -> u32 {
        self.head.version
    }

    /// The model family, from `general.architecture`.
    pub fn architecture(&self) -> Result<&str> {
        self.str("general.architecture")?
            .ok_or_else(|| Error::malformed("metadata key 'general.architecture' is missing"))
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.head.get(key)
    }

    /// All metadata in file order.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.head.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A string, or `None` if the key is absent. An error if it is something
    /// else or not UTF-8.
    pub fn str(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |value| match value {
            Value::String(text) => text.as_str().map(Some),
            _ => Ok(None),
        })
    }

    /// A non-negative integer of any integer type, or `None` if the key is absent.
    pub fn uint(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a non-negative integer", |value| Ok(value.as_uint()))
    }

    /// A float of either size, or `None` if the key is absent.
    pub fn f32(&self, key: &str) -> Result<Option<f32>> {
        self.typed(key, "a float", |value| Ok(value.as_f32()))
    }

    /// A bool, or `None` if the key is absent.
    pub fn bool(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a bool", |value| match value {
            Value::Bool(v) => Ok(Some(*v)),
            _ => Ok(None),
        })
    }

    /// The strings of an array, decoded one by one as they are asked for, or
    /// `None` if the key is absent.
    pub fn strings(&self, key: &str) -> Result<Option<Strings<'_>>> {
        self.typed(key, "an array of strings", |value| Ok(value.as_array().and_then(Array::strings)))
    }

    /// All elements of an array of integers (of any size, also bools), or `None`
    /// if the key is absent.
    pub fn ints(&self, key: &str) -> Result<Option<Vec<i64>>> {
        self.typed(key, "an array of integers", |value| value.as_array().map_or(Ok(None), Array::ints))
    }

    /// All elements of an array of floats, or `None` if the key is absent.
    pub fn f32s(&self, key: &str) -> Result<Option<Vec<f32>>> {
        self.typed(key, "an array of floats", |value| value.as_array().map_or(Ok(None), Array::f32s))
    }

    /// Looks a key up and converts its value; `convert` gives `None` if the value
    /// is not of the `wanted` kind.
    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        convert: impl FnOnce(&'a Value) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        match convert(value) {
            Ok(Some(converted)) => Ok(Some(converted)),
            Ok(None) => Err(Error::malformed(format!(
                "metadata key '{key}' must be {wanted}, not {value} ({})",
                value.kind()
            ))),
            Err(error) => Err(Error::malformed(format!("metadata key '{key}': {error}"))),
        }
    }

    /// All tensors, in file order.
    pub fn tensors(&self) -> &[Tensor] {
        self.table.tensors()
    }

    /// The tensor with this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.table.get(name)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn table_mut(&mut self) -> &mut Table {
        &mut self.table
    }
}
