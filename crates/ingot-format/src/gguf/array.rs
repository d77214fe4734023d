//! Arrays in the metadata. They stay in the file, as encoded bytes whose bounds
//! have been checked, and are decoded when asked for.

use super::{
    cursor::Cursor,
    value::{Value, utf8},
};
use crate::{Bytes, Error, Result};

/// The type of an array's elements, or of a value that is not an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the types
pub enum ElementType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    String,
    U64,
    I64,
    F64,
}

/// The format's number for a value that is an array.
pub(super) const ARRAY_ID: u32 = 9;

impl ElementType {
    /// The type with this number in the format. Arrays are not elements:
    /// nothing uses arrays of arrays, and nesting invites endless recursion.
    pub(super) fn from_id(id: u32) -> Option<Self> {
        use ElementType::*;
        Some(match id {
            0 => U8,
            1 => I8,
            2 => U16,
            3 => I16,
            4 => U32,
            5 => I32,
            6 => F32,
            7 => Bool,
            8 => String,
            10 => U64,
            11 => I64,
            12 => F64,
            _ => return None,
        })
    }

    /// The type's number in the format.
    pub(super) fn id(self) -> u32 {
        match self {
            Self::U64 => 10,
            Self::I64 => 11,
            Self::F64 => 12,
            small => small as u32,
        }
    }

    /// Bytes of an element; for a string those of its length, the least it takes.
    fn min_bytes(self) -> u64 {
        use ElementType::*;
        match self {
            U8 | I8 | Bool => 1,
            U16 | I16 => 2,
            U32 | I32 | F32 => 4,
            U64 | I64 | F64 | String => 8,
        }
    }
}

impl std::fmt::Display for ElementType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{self:?}").to_lowercase())
    }
}

/// An array in the file: its element type, its length and its encoded bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    element: ElementType,
    len: usize,
    bytes: Bytes,
}

/// More elements than this are not decoded into memory at once; a vocabulary,
/// the largest thing in any metadata, has about a quarter of a million.
const MAX_DECODED: usize = 1 << 24;

impl Array {
    /// Checks an array and steps over it. `bytes` are those the cursor runs over.
    pub(super) fn read(bytes: &Bytes, cursor: &mut Cursor) -> Result<Self> {
        let id = cursor.u32("an array's element type")?;
        if id == ARRAY_ID {
            return Err(Error::unsupported("arrays of arrays are not read"));
        }
        let element = ElementType::from_id(id)
            .ok_or_else(|| Error::malformed(format!("array element type {id} does not exist")))?;
        let count = cursor.u64("an array's length")?;
        let least = count.checked_mul(element.min_bytes()).filter(|&n| n <= cursor.remaining() as u64);
        let (Some(least), Ok(len)) = (least, usize::try_from(count)) else {
            return Err(Error::malformed(format!(
                "array of {count} elements, but only {} bytes are left in the file",
                cursor.remaining()
            )));
        };
        let start = cursor.at();
        if element == ElementType::String {
            for _ in 0..count {
                cursor.string("a string of an array")?;
            }
        } else {
            cursor.skip(least, "an array")?;
        }
        let bytes = bytes.slice(start..cursor.at()).expect("the cursor stays inside");
        Ok(Self { element, len, bytes })
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.element
    }
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }
    /// True if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements one after the other, decoded as they are asked for.
    pub(super) fn elements(&self) -> impl Iterator<Item = Result<Value>> + '_ {
        let mut cursor = Cursor::new(&self.bytes);
        (0..self.len).map(move |_| Value::read_scalar(self.element, &self.bytes, &mut cursor))
    }

    fn decode<T>(&self, convert: impl Fn(&Value) -> Option<T>) -> Result<Option<Vec<T>>> {
        if self.len > MAX_DECODED {
            return Err(Error::malformed(format!("{} elements, more than {MAX_DECODED}", self.len)));
        }
        self.elements().map(|value| Ok(convert(&value?))).collect()
    }

    /// All elements of an integer or bool array, or `None` if it is another kind
    /// or holds a number over `i64::MAX`.
    pub(super) fn ints(&self) -> Result<Option<Vec<i64>>> {
        self.decode(Value::as_int)
    }

    /// All elements of a float array, or `None` if it is another kind.
    pub(super) fn f32s(&self) -> Result<Option<Vec<f32>>> {
        self.decode(Value::as_f32)
    }

    /// The strings of a string array, or `None` if it is another kind.
    pub fn strings(&self) -> Option<Strings<'_>> {
        (self.element == ElementType::String)
            .then(|| Strings { cursor: Cursor::new(&self.bytes), left: self.len })
    }

    /// The elements as they are in the file.
    pub(super) fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    fn from_elements(element: ElementType, elements: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        let (mut len, mut bytes) = (0, Vec::new());
        for item in elements {
            if element == ElementType::String {
                bytes.extend((item.as_ref().len() as u64).to_le_bytes());
            }
            bytes.extend(item.as_ref());
            len += 1;
        }
        Self { element, len, bytes: bytes.into() }
    }

    /// A string array for the writer.
    pub fn from_strings(items: impl IntoIterator<Item: AsRef<[u8]>>) -> Self {
        Self::from_elements(ElementType::String, items)
    }
    /// An array of 32-bit integers for the writer.
    pub fn from_i32s(items: impl IntoIterator<Item = i32>) -> Self {
        Self::from_elements(ElementType::I32, items.into_iter().map(i32::to_le_bytes))
    }
    /// An array of 32-bit floats for the writer.
    pub fn from_f32s(items: impl IntoIterator<Item = f32>) -> Self {
        Self::from_elements(ElementType::F32, items.into_iter().map(f32::to_le_bytes))
    }
}

/// The strings of an array, read from the file one by one. An item is an error
/// if that string is not UTF-8.
pub struct Strings<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl<'a> Iterator for Strings<'a> {
    type Item = Result<&'a str>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // The bounds were checked when the file was opened, and are again here:
        // a mapped file may have changed since.
        let what = "a string of an array";
        let bytes = self.cursor.u64(what).and_then(|len| self.cursor.take(len, what));
        Some(bytes.and_then(utf8))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Strings<'_> {}
