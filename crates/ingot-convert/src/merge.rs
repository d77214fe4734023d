//! Adapters for a model that is about to be run. No file is made: the weights that
//! adapters change are computed in memory and take the place of the file's.

use crate::folder;
use crate::pack::Packer;
use crate::{Adapter, Error, Merged, Model, Result, Step, Weight};
use ingot_format::{ModelFile, Tensor};

/// Adapters and the weights of the model that they change.
///
/// The result is what a file would hold that was made with the same adapters:
/// sums in f32, stored in the type that the weight has. Quantized weights are
/// quantized again, which loses a little of them.
///
/// ```no_run
/// # use ingot_convert::{Adapter, Merge};
/// # use ingot_format::ModelFile;
/// # use std::path::Path;
/// let mut file = ModelFile::open(Path::new("model.gguf"))?;
/// let mut merge = Merge::new(&file)?;
/// merge.add(&Adapter::open(Path::new("adapter"))?, 1.0)?;
/// merge.apply(&mut file, 8, &mut |_| true)?;
/// # Ok::<(), ingot_convert::Error>(())
/// ```
pub struct Merge {
    model: Model,
}

impl Merge {
    /// Gets ready to change the weights of `file`. Nothing is read yet.
    ///
    /// # Errors
    /// If the file is no model of a known family.
    pub fn new(file: &ModelFile) -> Result<Self> {
        let model = match file {
            ModelFile::Gguf(_) => Model::open(file)?,
            ModelFile::HuggingFace(_) => folder::open_to_merge(file)?,
        };
        Ok(Self { model })
    }

    /// Adds `scale` times an adapter.
    ///
    /// # Errors
    /// If a part of the adapter has no weight to be added to, or another shape.
    pub fn add(&mut self, adapter: &Adapter, scale: f32) -> Result<Merged> {
        self.model.merge(adapter, scale)
    }

    /// Bytes of the weights that are changed, which will be in memory.
    pub fn bytes(&self) -> usize {
        self.changed().filter_map(|weight| weight.bytes_as(weight.dtype())).sum()
    }

    fn changed(&self) -> impl Iterator<Item = &Weight> {
        self.model.weights().iter().filter(|weight| weight.is_merged())
    }

    /// Computes the weights on `threads` threads and puts them into `file`, which is
    /// the one that [`Merge::new`] was given. `watch` hears of every step and says
    /// whether to go on.
    ///
    /// # Errors
    /// If a weight does not lie in the file as it is used, a sum does not fit its
    /// type, the file is cut meanwhile, or there is no memory. Then the file is as it
    /// was.
    pub fn apply(
        &self,
        file: &mut ModelFile,
        threads: usize,
        watch: &mut dyn FnMut(Step<'_>) -> bool,
    ) -> Result<()> {
        let (total, mut done) = (self.bytes(), 0);
        let mut tensors = Vec::new();
        for weight in self.changed() {
            let name = weight.name();
            let weight = lying(weight, file)?;
            tensors.push(computed(&weight, threads, |bytes| {
                done += bytes;
                match watch(Step { done, total, tensor: name }) {
                    true => Ok(()),
                    false => Err(Error::Stopped),
                }
            })?);
        }
        tensors.into_iter().try_for_each(|tensor| Ok(file.replace(tensor)?))
    }
}

/// The weight in the file's order of rows, under the file's name for it.
fn lying(weight: &Weight, file: &ModelFile) -> Result<Weight> {
    let of = weight.first_stored();
    // Some families' tensors are rearranged when they are read.
    let is_stored = |t: &&Tensor| t.data().as_ptr() == of.data().as_ptr() && t.shape() == of.shape();
    let lying = file.tensor(of.name()).filter(is_stored).and_then(|_| weight.as_it_lies());
    lying.ok_or_else(|| {
        Error::refused(format!(
            "the adapter changes '{}', which the model's file stores in another form; make a GGUF file of the \
             model first",
            weight.name()
        ))
    })
}

/// All rows with what adapters add to them, in the type they have.
fn computed(weight: &Weight, threads: usize, mut step: impl FnMut(usize) -> Result<()>) -> Result<Tensor> {
    let (name, dtype) = (weight.name(), weight.dtype());
    let len = weight.bytes_as(dtype).expect("as it is stored");
    let mut data = Vec::new();
    data.try_reserve_exact(len)
        .map_err(|_| Error::refused(format!("no memory for the {len} bytes of '{name}'")))?;
    Packer::new(weight, dtype, None, threads).run(|bytes| {
        data.extend_from_slice(bytes);
        step(bytes.len())
    })?;
    if !weight.is_intact() {
        return Err(Error::refused(format!("the file with tensor '{name}' was cut while it was read")));
    }
    weight.forget_pages();
    Ok(Tensor::new(name, dtype, weight.shape().to_vec(), data.into())?)
}
