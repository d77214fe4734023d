//! The model that goes into a cast file: one GGUF file, as it is or made for this.

use crate::cli::CastArgs;
use crate::commands::quantize;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::models::Place;
use ingot::{ModelFile, Tokenizer};
use ingot_cast::file::{self, CastFile};
use ingot_convert::Mix;
use ingot_format::{Bytes, DType, Gguf, map_file};
use ingot_models::Model;
use ingot_plan::Precision;
use std::path::{Path, PathBuf};

/// The bytes to put in, and what is known of them.
pub struct Source {
    /// A GGUF file.
    pub bytes: Bytes,
    /// What it is.
    pub about: file::Model,
}

/// Finds the model, and packs it if it has to be.
pub fn open(args: &CastArgs, output: &Path, interrupt: &Interrupt) -> Result<Source> {
    let is_plain = args.quantize.is_none() && args.lora.is_empty();
    if let Some(cast) = args.model.as_deref().map(cast_file).transpose()?.flatten() {
        return match is_plain {
            true => {
                crate::say!(
                    "taking the model of {}, without what that program begins with",
                    cast.path().display()
                );
                Ok(Source { bytes: cast.model(), about: cast.index().contents.model.clone() })
            }
            false => Err(Failure::usage("the model of a cast file is taken as it is")
                .hint("`extract` of that program makes a file of it, which can be packed")),
        };
    }
    let place = Place::find(args.model.as_deref())?;
    let file = place.read()?;
    quantize::refuse_inputs(output, &place, &file)?;
    let single = match &file {
        ModelFile::Gguf(gguf) => gguf.uint("split.count").map_err(Failure::new)?.unwrap_or(1) <= 1,
        ModelFile::HuggingFace(_) => false,
    };
    let bytes = match &place {
        Place::Embedded if is_plain => ingot::embedded_bytes(),
        Place::Path(path) | Place::Hub { path, .. } if is_plain && single => {
            map_file(path).map_err(Failure::new)?
        }
        _ => pack(&file, args, output, interrupt)?,
    };
    let changes = args.lora.iter().map(|adapter| format!("merged with {}", file_name(Path::new(adapter))));
    let changes = changes.chain(args.quantize.map(|mix| format!("packed as {}", mix.name()))).collect();
    let name = match &place {
        Place::Path(path) => file_name(path),
        _ => place.name(),
    };
    let about = describe(&bytes, name, changes)?;
    Ok(Source { bytes, about })
}

/// What a file or folder is called: where it lies is nobody's business who gets the program.
fn file_name(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// The cast file that a path leads to, if it leads to a program.
fn cast_file(path: &Path) -> Result<Option<CastFile>> {
    let mut start = [0; 4];
    let is_program = std::fs::File::open(path).and_then(|mut file| {
        // Folders can be opened and not read.
        std::io::Read::read_exact(&mut file, &mut start)?;
        Ok([*b"\x7fELF", *b"\xcf\xfa\xed\xfe"].contains(&start))
    });
    match is_program {
        Ok(true) => match CastFile::open(path)? {
            Some(cast) => {
                cast.verify(&mut |_, _| true)?;
                Ok(Some(cast))
            }
            None => Err(Failure::new(format!("{} is a program without a model in it", path.display()))
                .hint("MODEL is what is put into the program; --runtime names another program")),
        },
        _ => Ok(None),
    }
}

/// Packs the model into a file beside the new one, which has no name any more when it is mapped.
fn pack(file: &ModelFile, args: &CastArgs, output: &Path, interrupt: &Interrupt) -> Result<Bytes> {
    let temporary = Temporary::beside(output);
    quantize::repack(file, args.quantize, &args.lora, &temporary.0, interrupt)?;
    map_file(&temporary.0).map_err(Failure::new)
}

/// A file that is removed again.
pub struct Temporary(pub PathBuf);

impl Temporary {
    /// A GGUF file beside another one.
    pub fn beside(path: &Path) -> Self {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{}.gguf", std::process::id()));
        Self(path.with_file_name(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0); // it may not be there yet
    }
}

/// What a model is. One that cannot be run is refused here rather than by the new program.
fn describe(bytes: &Bytes, source: String, changes: Vec<String>) -> Result<file::Model> {
    let cannot = |e: String| {
        Failure::new(format!("{source}: {e}")).hint("`ingot inspect` shows what can be read of it")
    };
    let gguf = Gguf::from_bytes(bytes.clone()).map_err(|e| cannot(e.to_string()))?;
    let license = ["general.license.name", "general.license"];
    let license = license.into_iter().find_map(|key| gguf.str(key).ok().flatten().map(str::to_owned));
    let quantization = quantization(&gguf);
    let file = ModelFile::Gguf(gguf);
    let info = Model::load(&file, Precision::Q8).map_err(|e| cannot(e.to_string()))?.info;
    Tokenizer::open(&file).map_err(|e| cannot(e.to_string()))?;
    Ok(file::Model {
        source,
        changes,
        name: info.name,
        family: info.family.to_string(),
        parameters: info.parameters as u64,
        quantization,
        license,
    })
}

/// The usual name of the file's mixture, or the type of most of its bytes.
fn quantization(gguf: &Gguf) -> String {
    let number = gguf.uint("general.file_type").ok().flatten();
    let mix = Mix::ALL.into_iter().find(|mix| Some(u64::from(mix.file_type())) == number);
    let bytes = |dtype: &DType| -> usize {
        gguf.tensors().iter().filter(|t| t.dtype() == *dtype).map(|t| t.data().len()).sum()
    };
    let most = || DType::ALL.into_iter().max_by_key(bytes).map_or("", |dtype| dtype.name());
    mix.map_or_else(most, |mix| mix.name()).into()
}
