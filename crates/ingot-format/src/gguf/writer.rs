//! Writing GGUF version 3: metadata, tensor list, then the tensors one by one
//! from wherever they come, so that a model larger than memory can be written.

use std::{io, io::Write, path::Path};

use super::{Value, parse};
use crate::{DType, Error, NewFile, Result, tensor::byte_len};

/// A file to be written: fill in metadata and tensor descriptions, then call
/// [`GgufWriter::write_to_path`].
#[derive(Clone, Debug, Default)]
pub struct GgufWriter {
    entries: Vec<(String, Value)>,
    tensors: Vec<Described>,
}

#[derive(Clone, Debug)]
struct Described {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    bytes: usize,
}

/// The alignment of the tensor data; the default of the format, so that no key
/// needs to be written.
const ALIGNMENT: usize = parse::DEFAULT_ALIGNMENT;

impl GgufWriter {
    /// An empty file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a metadata value, in place of one with the same key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.entries.iter_mut().find(|(k, _)| *k == key) {
            Some((_, old)) => *old = value,
            None => self.entries.push((key, value)),
        }
    }

    /// Describes the next tensor. `shape` is outermost first. An error if its
    /// rows are not whole blocks of the type, or if the name is taken.
    pub fn add(&mut self, name: impl Into<String>, dtype: DType, shape: &[usize]) -> Result<()> {
        let name = name.into();
        if self.tensors.iter().any(|t| t.name == name) {
            return Err(Error::malformed(format!("tensor '{name}' appears twice")));
        }
        let bytes = byte_len(dtype, shape).filter(|&n| n > 0).ok_or_else(|| {
            Error::malformed(format!("tensor '{name}': shape {shape:?} does not fit type {dtype}"))
        })?;
        self.tensors.push(Described { name, dtype, shape: shape.to_vec(), bytes });
        Ok(())
    }

    /// Everything before the tensor data, padded.
    fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let string = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        };
        out.extend(parse::MAGIC);
        out.extend(3u32.to_le_bytes());
        // The alignment of a file that was copied need not be ours.
        let entries = || self.entries.iter().filter(|(key, _)| key != "general.alignment");
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((entries().count() as u64).to_le_bytes());
        for (key, value) in entries() {
            string(&mut out, key);
            value.encode(&mut out);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            string(&mut out, &tensor.name);
            out.extend((tensor.shape.len() as u32).to_le_bytes());
            for &dim in tensor.shape.iter().rev() {
                out.extend((dim as u64).to_le_bytes());
            }
            out.extend(tensor.dtype.gguf_id().to_le_bytes());
            out.extend(offset.to_le_bytes());
            offset += tensor.bytes.next_multiple_of(ALIGNMENT) as u64;
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }

    /// Writes the file to `out`. `fill(i, sink)` is called for every tensor in the
    /// order they were added and must write exactly its bytes to the sink.
    pub fn write(
        &self,
        out: &mut dyn Write,
        mut fill: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        out.write_all(&self.header())?;
        for (i, tensor) in self.tensors.iter().enumerate() {
            let mut sink = Exactly { out, left: tensor.bytes };
            fill(i, &mut sink)?;
            if sink.left > 0 {
                return Err(io::Error::other(format!(
                    "{} bytes of tensor '{}' missing",
                    sink.left, tensor.name
                )));
            }
            let padding = tensor.bytes.next_multiple_of(ALIGNMENT) - tensor.bytes;
            out.write_all(&[0; ALIGNMENT][..padding])?;
        }
        out.flush()
    }

    /// Writes the file to `path`, where it appears when it is complete. `fill` as
    /// in [`GgufWriter::write`].
    pub fn write_to_path(
        &self,
        path: &Path,
        fill: impl FnMut(usize, &mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let written = NewFile::create(path).and_then(|mut file| {
            self.write(&mut file, fill)?;
            file.finish()
        });
        written.map_err(|e| Error::io(path, e))
    }
}

/// A sink that takes so many bytes and no more.
struct Exactly<'a> {
    out: &'a mut dyn Write,
    left: usize,
}

impl Write for Exactly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.left {
            return Err(io::Error::other("more bytes than the tensor has"));
        }
        let written = self.out.write(bytes)?;
        self.left -= written;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Gguf,
        gguf::{Array, ElementType},
    };
    use std::fs;

    fn sample() -> GgufWriter {
        let mut writer = GgufWriter::new();
        writer.set("general.architecture", "old");
        writer.set("general.architecture", "llama");
        writer.set("a.bool", true);
        writer.set("a.float", 0.5f32);
        writer.set("a.words", Array::from_strings(["one", "", "drei"]));
        writer.set("a.numbers", Array::from_i32s([-1, 7]));
        writer.set("a.floats", Array::from_f32s([0.25]));
        writer.add("matrix", DType::F16, &[2, 3]).unwrap();
        writer.add("vector", DType::F32, &[1]).unwrap();
        writer
    }

    fn fill(i: usize, sink: &mut dyn Write) -> io::Result<()> {
        sink.write_all(&[i as u8 + 1; 12][..if i == 0 { 12 } else { 4 }])
    }

    #[test]
    fn what_is_written_can_be_read() {
        let mut file = Vec::new();
        sample().write(&mut file, fill).unwrap();
        let gguf = Gguf::from_bytes(file.into()).unwrap();
        assert_eq!((gguf.version(), gguf.architecture().unwrap()), (3, "llama"));
        assert_eq!(gguf.entries().count(), 6);
        assert_eq!(gguf.bool("a.bool").unwrap(), Some(true));
        assert_eq!(gguf.f32("a.float").unwrap(), Some(0.5));
        let words = gguf.strings("a.words").unwrap().unwrap();
        assert_eq!(words.len(), 3);
        assert_eq!(words.map(Result::unwrap).collect::<Vec<_>>(), ["one", "", "drei"]);
        assert_eq!(gguf.ints("a.numbers").unwrap(), Some(vec![-1, 7]));
        assert_eq!(gguf.f32s("a.floats").unwrap(), Some(vec![0.25]));
        let matrix = gguf.tensor("matrix").unwrap();
        assert_eq!((matrix.shape(), &matrix.data()[..]), (&[2, 3][..], &[1; 12][..]));
        assert_eq!(&gguf.tensor("vector").unwrap().data()[..], &[2; 4]);
        assert!(gguf.tensor("nothing").is_none());
    }

    #[test]
    fn values_of_another_type_are_errors_that_name_the_key() {
        let mut file = Vec::new();
        sample().write(&mut file, fill).unwrap();
        let gguf = Gguf::from_bytes(file.into()).unwrap();
        assert_eq!(gguf.uint("a.missing").unwrap(), None);
        let error = gguf.uint("a.words").unwrap_err().to_string();
        assert_eq!(
            error,
            r#"metadata key 'a.words' must be a non-negative integer, not ["one", "", "drei"] (array of string)"#
        );
        assert!(gguf.strings("a.numbers").is_err());
        assert!(gguf.ints("a.floats").is_err());
        assert!(gguf.f32s("a.numbers").is_err());
        assert!(gguf.str("a.bool").is_err());
        let Some(Value::Array(array)) = gguf.get("a.numbers") else { panic!("an array") };
        assert_eq!((array.element_type(), array.len()), (ElementType::I32, 2));
    }

    #[test]
    fn tensors_must_be_filled_exactly() {
        let write = |bytes: &'static [u8]| sample().write(&mut Vec::new(), |_, sink| sink.write_all(bytes));
        assert!(write(&[0; 11]).unwrap_err().to_string().contains("1 bytes of tensor 'matrix' missing"));
        assert!(write(&[0; 13]).unwrap_err().to_string().contains("more bytes"));
        let mut writer = sample();
        assert!(writer.add("matrix", DType::F32, &[1]).is_err(), "a name twice");
        assert!(writer.add("odd", DType::Q4_0, &[2, 33]).is_err(), "half a block");
        assert!(writer.add("none", DType::F32, &[0]).is_err(), "no values");
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = std::env::temp_dir().join(format!("ingot-writer-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("model.gguf");
        fs::write(&path, "the old one").unwrap();
        sample().write_to_path(&path, |_, _| Err(io::Error::other("disk on fire"))).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"the old one");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);

        sample().write_to_path(&path, fill).unwrap();
        assert_eq!(Gguf::open(&path).unwrap().tensors().len(), 2);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}
