//! Metadata values. Numbers are decoded when the file is opened; strings and
//! arrays stay in the file and are decoded when asked for, so that opening a
//! model does not copy its vocabulary.

use std::fmt;

use super::{
    array::{ARRAY_ID, Array, ElementType},
    cursor::Cursor,
};
use crate::{Bytes, Error, Result};

/// A metadata value with the type it has in the file.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are the types
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(Text),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A string in the file. Files in the wild hold text that is not UTF-8, which
/// matters only to whoever needs it, so it is checked when read.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    /// The stored bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, or an error if it is not UTF-8.
    pub fn as_str(&self) -> Result<&str> {
        utf8(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

pub(super) fn utf8(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|e| Error::malformed(format!("string is not UTF-8 ({e})")))
}

impl Value {
    /// Reads a value with its type in front, as in the metadata section.
    /// `bytes` are those the cursor runs over.
    pub(super) fn read(bytes: &Bytes, cursor: &mut Cursor) -> Result<Self> {
        let id = cursor.u32("a value's type")?;
        if id == ARRAY_ID {
            return Array::read(bytes, cursor).map(Self::Array);
        }
        let kind = ElementType::from_id(id)
            .ok_or_else(|| Error::malformed(format!("value type {id} does not exist")))?;
        Self::read_scalar(kind, bytes, cursor)
    }

    /// Reads the value that follows a type in the metadata section, or is one
    /// element of an array.
    pub(super) fn read_scalar(kind: ElementType, bytes: &Bytes, cursor: &mut Cursor) -> Result<Self> {
        let what = "a value";
        Ok(match kind {
            ElementType::U8 => Self::U8(u8::from_le_bytes(cursor.array(what)?)),
            ElementType::I8 => Self::I8(i8::from_le_bytes(cursor.array(what)?)),
            ElementType::U16 => Self::U16(u16::from_le_bytes(cursor.array(what)?)),
            ElementType::I16 => Self::I16(i16::from_le_bytes(cursor.array(what)?)),
            ElementType::U32 => Self::U32(u32::from_le_bytes(cursor.array(what)?)),
            ElementType::I32 => Self::I32(i32::from_le_bytes(cursor.array(what)?)),
            ElementType::F32 => Self::F32(f32::from_le_bytes(cursor.array(what)?)),
            ElementType::Bool => Self::Bool(u8::from_le_bytes(cursor.array(what)?) != 0),
            ElementType::U64 => Self::U64(u64::from_le_bytes(cursor.array(what)?)),
            ElementType::I64 => Self::I64(i64::from_le_bytes(cursor.array(what)?)),
            ElementType::F64 => Self::F64(f64::from_le_bytes(cursor.array(what)?)),
            ElementType::String => {
                let range = cursor.string("a string value")?;
                Self::String(Text(bytes.slice(range).expect("the cursor stays inside")))
            }
        })
    }

    /// The type; `None` for an array.
    fn scalar_type(&self) -> Option<ElementType> {
        Some(match self {
            Self::U8(_) => ElementType::U8,
            Self::I8(_) => ElementType::I8,
            Self::U16(_) => ElementType::U16,
            Self::I16(_) => ElementType::I16,
            Self::U32(_) => ElementType::U32,
            Self::I32(_) => ElementType::I32,
            Self::F32(_) => ElementType::F32,
            Self::Bool(_) => ElementType::Bool,
            Self::String(_) => ElementType::String,
            Self::U64(_) => ElementType::U64,
            Self::I64(_) => ElementType::I64,
            Self::F64(_) => ElementType::F64,
            Self::Array(_) => return None,
        })
    }

    /// The format's type number and the encoded value, as [`Value::read`] takes it.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.scalar_type().map_or(ARRAY_ID, ElementType::id).to_le_bytes());
        match self {
            Self::U8(v) => out.extend(v.to_le_bytes()),
            Self::I8(v) => out.extend(v.to_le_bytes()),
            Self::U16(v) => out.extend(v.to_le_bytes()),
            Self::I16(v) => out.extend(v.to_le_bytes()),
            Self::U32(v) => out.extend(v.to_le_bytes()),
            Self::I32(v) => out.extend(v.to_le_bytes()),
            Self::F32(v) => out.extend(v.to_le_bytes()),
            Self::Bool(v) => out.push(u8::from(*v)),
            Self::U64(v) => out.extend(v.to_le_bytes()),
            Self::I64(v) => out.extend(v.to_le_bytes()),
            Self::F64(v) => out.extend(v.to_le_bytes()),
            Self::String(text) => {
                out.extend((text.0.len() as u64).to_le_bytes());
                out.extend(text.as_bytes());
            }
            Self::Array(array) => {
                out.extend(array.element_type().id().to_le_bytes());
                out.extend((array.len() as u64).to_le_bytes());
                out.extend(array.encoded());
            }
        }
    }

    /// What kind of value this is, for messages: `u32`, `string`, `array of f32`.
    pub fn kind(&self) -> String {
        match self {
            Self::Array(array) => format!("array of {}", array.element_type()),
            scalar => scalar.scalar_type().map(|t| t.to_string()).unwrap_or_default(),
        }
    }

    /// A non-negative integer of any integer type.
    pub fn as_uint(&self) -> Option<u64> {
        match *self {
            Self::U64(v) => Some(v),
            Self::Bool(_) => None,
            ref other => other.as_int().and_then(|v| v.try_into().ok()),
        }
    }

    pub(super) fn as_int(&self) -> Option<i64> {
        Some(match *self {
            Self::U8(v) => v.into(),
            Self::I8(v) => v.into(),
            Self::U16(v) => v.into(),
            Self::I16(v) => v.into(),
            Self::U32(v) => v.into(),
            Self::I32(v) => v.into(),
            Self::Bool(v) => v.into(),
            Self::U64(v) => v.try_into().ok()?,
            Self::I64(v) => v,
            _ => return None,
        })
    }

    pub(super) fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }

    pub(super) fn as_f32(&self) -> Option<f32> {
        match *self {
            Self::F32(v) => Some(v),
            Self::F64(v) => Some(v as f32),
            _ => None,
        }
    }
}

/// A short form for people: long strings are cut, arrays show their beginning.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_CHARS: usize = 80;
        const SHOWN_ELEMENTS: usize = 6;
        match self {
            Self::U8(v) => write!(f, "{v}"),
            Self::I8(v) => write!(f, "{v}"),
            Self::U16(v) => write!(f, "{v}"),
            Self::I16(v) => write!(f, "{v}"),
            Self::U32(v) => write!(f, "{v}"),
            Self::I32(v) => write!(f, "{v}"),
            Self::F32(v) => write!(f, "{v}"),
            Self::Bool(v) => write!(f, "{v}"),
            Self::U64(v) => write!(f, "{v}"),
            Self::I64(v) => write!(f, "{v}"),
            Self::F64(v) => write!(f, "{v}"),
            Self::String(text) => {
                // Cut before decoding: the string may be gigabytes.
                let bytes = text.as_bytes();
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHOWN_CHARS)]);
                let cut: String = shown.chars().take(SHOWN_CHARS).collect();
                let more = if cut.len() < bytes.len() { "…" } else { "" };
                write!(f, "{cut:?}{more}")
            }
            Self::Array(array) => {
                f.write_str("[")?;
                for (i, element) in array.elements().take(SHOWN_ELEMENTS).enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    match element {
                        Ok(element) => write!(f, "{comma}{element}")?,
                        Err(_) => write!(f, "{comma}?")?,
                    }
                }
                match array.len() > SHOWN_ELEMENTS {
                    true => write!(f, ", …] ({} elements)", array.len()),
                    false => f.write_str("]"),
                }
            }
        }
    }
}

macro_rules! value_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value)
            }
        }
    )*};
}
value_from!(u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, f32 => F32,
    bool => Bool, Array => Array, u64 => U64, i64 => I64, f64 => F64);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(Text(text.as_bytes().to_vec().into()))
    }
}
