//! A model as a program describes it, and opening it.

use crate::checksum::crc32;
use ingot_engine::{CacheType, Error, ExecutorKind, Machine, Model, Options, Result};
use ingot_format::{DType, Gguf, Tensor, map_file};
use ingot_gpu::DeviceKind;
use ingot_gpu::listed::Lists;
use ingot_models::{Family, Info};
use ingot_plan::{BufferDecl, Plan, Precision, Rows, WeightDecl};
use ingot_tokenizer::Tokenizer;
use std::path::Path;
use std::sync::Arc;

/// All that a program says about its model.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The model's name, for people.
    pub name: &'static str,
    /// Its family.
    pub family: Family,
    /// Rows of the embedding table.
    pub vocab: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Number of values in all of its tensors.
    pub parameters: usize,
    /// Most tokens of a sequence; `None` for a model without a limit.
    pub context: Option<usize>,
    /// The token that begins a text, if there is one.
    pub bos: Option<u32>,
    /// Tokens that end one.
    pub ends: &'static [u32],
    /// The template of conversations, if there is one.
    pub chat_template: Option<&'static str>,
    /// The file with the weights and the vocabulary.
    pub weights: WeightsFile,
    /// One step of the model, for products with inputs of this precision.
    pub plan: fn(Precision) -> Plan,
    /// Its launches on a device, if the program was built for it.
    pub launches: fn(DeviceKind) -> Option<&'static Lists>,
}

/// What the file with the weights has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightsFile {
    /// Its size in bytes.
    pub bytes: u64,
    /// Its checksum, see [`crc32`].
    pub crc32: u32,
}

/// A buffer's declaration.
pub fn buffer(&(name, rows, width): &(&str, Rows, usize)) -> BufferDecl {
    BufferDecl { name: name.into(), rows, width }
}

/// A weight's declaration.
///
/// # Panics
/// If rows of this shape are not whole blocks of the type.
pub fn weight(&(name, dtype, shape): &(&str, DType, &[usize])) -> WeightDecl {
    let cols = shape.last().copied().unwrap_or(1);
    let rows: usize = shape.iter().rev().skip(1).product();
    let row = dtype.row_bytes(cols).unwrap_or_else(|| panic!("{name}: {cols} values of {dtype}"));
    WeightDecl { name: name.into(), dtype, shape: shape.to_vec(), bytes: rows * row }
}

impl Description {
    /// Opens the model with the weights in a file.
    ///
    /// # Errors
    /// If the file is not the one that the program was made with, the device is not there, or
    /// there is not enough memory.
    pub fn open(&self, weights: &Path, options: &Options) -> Result<Model> {
        let lists = self.lists(options)?;
        self.open_with(weights, options, lists)
    }

    /// The same, but GPUs run launches that are made of the plan now: what those that were made
    /// before are compared with.
    pub fn open_planned(&self, weights: &Path, options: &Options) -> Result<Model> {
        self.open_with(weights, options, None)
    }

    fn open_with(
        &self,
        weights: &Path,
        options: &Options,
        lists: Option<(DeviceKind, &'static Lists)>,
    ) -> Result<Model> {
        let options = Options { context: self.context, ..options.clone() };
        let setup = options.resolve()?;
        let file = self.read(weights).map_err(|e| bad_model(weights, e))?;
        let plan = Arc::new((self.plan)(setup.precision()));
        let tensors = tensors(&plan, &file).map_err(|e| bad_model(weights, e))?;
        let tokenizer = self.tokenizer(&file).map_err(|e| bad_model(weights, e))?;
        let model = ingot_models::Model { info: self.info(), plan, weights: tensors };
        let (plan, tensors) = (model.plan.clone(), model.weights.clone());
        let machine = match lists {
            None => setup.open(plan, tensors, &mut |_, _| {})?,
            Some((device, lists)) => {
                let gpu = ingot_gpu::open_listed(device, plan, tensors, lists, &mut |_, _| {});
                Machine::Gpu(gpu.map_err(|source| Error::Gpu { device, source })?)
            }
        };
        Ok(Model::assemble(model, tokenizer, &options, &setup, machine))
    }

    /// The launches, if it is to run on a GPU.
    fn lists(&self, options: &Options) -> Result<Option<(DeviceKind, &'static Lists)>> {
        let ExecutorKind::Gpu(device) = options.executor else { return Ok(None) };
        if options.cache != CacheType::F16 || options.exact {
            return Err(Error::BadRequest("the launches are for keys and values in 16 bits".into()));
        }
        let Some(lists) = (self.launches)(device) else {
            let feature = device.to_string();
            let feature = feature.split(':').next().unwrap_or_default();
            let what = format!("this program was built without {device}: `cargo build --features {feature}`");
            return Err(Error::BadRequest(what));
        };
        Ok(Some((device, lists)))
    }

    fn info(&self) -> Info {
        Info {
            family: self.family,
            name: Some(self.name.into()),
            vocab: self.vocab,
            hidden: self.hidden,
            layers: self.layers,
            context: self.context,
            parameters: self.parameters,
        }
    }

    /// The file, if it is the right one: its size first, so that a file that was cut off
    /// while it was copied is called that, then its checksum, then its structure.
    fn read(&self, path: &Path) -> Result<Gguf, Wrong> {
        let bytes = map_file(path)?;
        let (size, wanted) = (bytes.len() as u64, self.weights.bytes);
        if size != wanted {
            return Err(format!("it has {size} bytes instead of {wanted}: {OTHER}").into());
        }
        let sum = crc32(&bytes);
        if !bytes.is_intact() {
            return Err("it was truncated while it was read".into());
        }
        if sum != self.weights.crc32 {
            let wanted = self.weights.crc32;
            return Err(format!("its checksum is {sum:08x} instead of {wanted:08x}: {OTHER}").into());
        }
        Ok(Gguf::from_bytes(bytes)?)
    }

    fn tokenizer(&self, file: &Gguf) -> Result<Tokenizer, Wrong> {
        let tokenizer = Tokenizer::from_gguf(file)?;
        let template = tokenizer.chat_template().map(|t| t.source());
        let same = tokenizer.vocab_size() == self.vocab
            && tokenizer.bos() == self.bos
            && tokenizer.end_of_generation() == self.ends
            && template == self.chat_template;
        match same {
            true => Ok(tokenizer),
            false => Err(format!("its vocabulary is not the one of {}", self.name).into()),
        }
    }
}

/// Any error of opening.
type Wrong = Box<dyn std::error::Error + Send + Sync>;

/// What to do about another file.
const OTHER: &str = "it is not the file that this program was made with, or was damaged; copy it again or make \
                     the project again with `ingot cast`";

/// The plan's weights in a file, in order.
fn tensors(plan: &Plan, file: &Gguf) -> Result<Vec<Tensor>, Wrong> {
    let find = |decl: &WeightDecl| match file.tensor(&decl.name) {
        Some(t) if t.dtype() == decl.dtype && t.shape() == decl.shape => Ok(t.clone()),
        Some(t) => {
            let (name, dtype, shape) = (&decl.name, decl.dtype, &decl.shape);
            let (is, has) = (t.dtype(), t.shape());
            Err(format!("tensor '{name}' is {is} {has:?}, the program was made for {dtype} {shape:?}").into())
        }
        None => Err(format!("tensor '{}' is missing", decl.name).into()),
    };
    plan.weights().iter().map(find).collect()
}

fn bad_model(path: &Path, source: Wrong) -> Error {
    Error::BadModel { path: path.into(), source }
}
