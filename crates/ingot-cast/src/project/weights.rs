//! The file with a project's weights: those of the plan, under the names and with the shapes
//! that the plan gives them, and the source's vocabulary.

use crate::Error;
use ingot_format::{Gguf, GgufWriter, NewFile, Tensor};
use std::io::{self, Write};
use std::path::Path;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of the file.
    pub bytes: u64,
    /// Its CRC-32.
    pub crc32: u32,
}

/// Bytes that are written between two looks at whether to go on.
const PIECE: usize = 8 << 20;

/// Writes the file. `progress` is told how many bytes of how many are written and says
/// whether to go on.
pub fn write(
    path: &Path,
    source: &Gguf,
    weights: &[Tensor],
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Written, Error> {
    let mut writer = GgufWriter::new();
    source.entries().filter(|(key, _)| !key.starts_with("split.")).for_each(|(key, value)| {
        writer.set(key, value.clone());
    });
    let stored = stored(weights)?;
    for tensor in &stored {
        writer.add(tensor.name(), tensor.dtype(), tensor.shape())?;
    }
    let total: u64 = stored.iter().map(|t| t.data().len() as u64).sum();
    let (mut done, mut stopped) = (0, false);
    let in_file = |source| Error::Io { path: path.into(), source };
    let mut out =
        Summed { out: NewFile::create(path).map_err(in_file)?, bytes: 0, hasher: Default::default() };
    let written = writer.write(&mut out, |i, out| {
        for piece in stored[i].data().chunks(PIECE) {
            out.write_all(piece)?;
            done += piece.len() as u64;
            if !progress(done, total) {
                stopped = true;
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        Ok(())
    });
    if stopped {
        return Err(Error::Stopped);
    }
    written.map_err(in_file)?;
    if weights.iter().any(|t| !t.data().is_intact()) {
        return Err(Error::Unsupported("the model file was truncated while it was read".into()));
    }
    let written = Written { bytes: out.bytes, crc32: out.hasher.finalize() };
    out.out.finish().map_err(in_file)?;
    Ok(written)
}

/// The tensors to store: one that several weights are is stored once.
fn stored(weights: &[Tensor]) -> Result<Vec<&Tensor>, Error> {
    let mut stored: Vec<&Tensor> = Vec::new();
    for tensor in weights {
        match stored.iter().find(|other| other.name() == tensor.name()) {
            None => stored.push(tensor),
            Some(other) if alike(other, tensor) => {}
            Some(_) => {
                let what = format!("two different weights are called '{}'", tensor.name());
                return Err(Error::Unsupported(what));
            }
        }
    }
    Ok(stored)
}

fn alike(a: &Tensor, b: &Tensor) -> bool {
    a.dtype() == b.dtype() && a.shape() == b.shape() && a.data()[..] == b.data()[..]
}

/// Counts and sums what is written.
struct Summed {
    out: NewFile,
    bytes: u64,
    hasher: crc32fast::Hasher,
}

impl Write for Summed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.bytes += n as u64;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
