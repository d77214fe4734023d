//! The kernels that a model needs, in Metal and CUDA, and a manifest that says how a step is
//! launched, for programs that bring everything else.

mod manifest;

use crate::Error;
use crate::folder::{Mark, NewFolder};
use crate::lists::{self, Made as Launches};
use ingot_format::ModelFile;
use ingot_gpu::launch::Kernel;
use ingot_gpu::{msl, source};
use ingot_models::Model;
use ingot_plan::Precision;
use manifest::Device;
use std::path::Path;

/// What a folder's manifest has.
const MARK: Mark = Mark { file: manifest::FILE, text: manifest::FORMAT };

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// Files for Metal.
    pub metal: usize,
    /// Files for CUDA.
    pub cuda: usize,
    /// Launches of the first list for one row.
    pub launches: usize,
}

/// Writes the folder, or replaces one of ours with `force`, as long as `go_on` says so.
///
/// # Errors
/// If the model is not one that ingot runs on GPUs, or the folder is not free; then nothing is
/// left of the new one.
pub fn make(
    file: &ModelFile,
    folder: &Path,
    context: Option<usize>,
    force: bool,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Made, Error> {
    let new = NewFolder::create(folder, MARK, force)?;
    let load = |precision| Model::load_for(file, precision, context);
    let (rounded, exact) = (load(Precision::Q8)?, load(Precision::F32)?);
    let context = context.or(rounded.info.context);
    // Whoever embeds the kernels finds weights as files have them easier than in eights.
    let launches =
        |model: &Model, device| lists::make(&model.plan, lists::Device { eights: false, ..device }, context);
    let (cuda, metal) = (launches(&rounded, lists::CUDA)?, launches(&exact, lists::METAL)?);
    let (metal_files, cuda_files) = (metal_files(&metal)?, cuda_files(&cuda)?);
    for (name, text) in metal_files.texts.iter().chain(&cuda_files.texts) {
        new.write(name, text)?;
    }
    if !go_on() {
        return Err(Error::Stopped);
    }
    let devices = [
        Device { name: "metal", plan: &exact.plan, launches: &metal, files: &metal_files.of_kernels },
        Device { name: "cuda", plan: &rounded.plan, launches: &cuda, files: &cuda_files.of_kernels },
    ];
    new.write(manifest::FILE, &manifest::text(&exact.info, &devices)?)?;
    new.write("README.md", include_str!("../../templates/kernels.md"))?;
    new.finish()?;
    Ok(Made {
        metal: metal_files.texts.len(),
        cuda: cuda_files.texts.len(),
        launches: cuda.lists.decode[0].launches.len(),
    })
}

/// Kernels as files, several of which may share one.
#[derive(Default)]
struct Files {
    /// (name, text)
    texts: Vec<(String, String)>,
    /// The file of each kernel.
    of_kernels: Vec<String>,
}

impl Files {
    /// A file for a kernel: one that is there with this text, or a new one.
    fn add(&mut self, folder: &str, kernel: &Kernel, extension: &str, text: String) {
        let known = self.texts.iter().find(|(_, other)| *other == text).map(|(name, _)| name.clone());
        let name = known.unwrap_or_else(|| {
            let begin = format!("{folder}/{}-", kernel.name);
            let number = self.texts.iter().filter(|(name, _)| name.starts_with(&begin)).count();
            let name = format!("{begin}{number}.{extension}");
            self.texts.push((name.clone(), text));
            name
        });
        self.of_kernels.push(name);
    }
}

/// Metal's files have the options as definitions; constants are given when a function is made.
fn metal_files(launches: &Launches) -> Result<Files, Error> {
    let mut files = Files::default();
    for kernel in launches.lists.decode[0].kernels {
        let kernel = kernel.kernel();
        files.add("metal", &kernel, "metal", source::expand(&kernel)?);
    }
    Ok(files)
}

/// CUDA's have the constants as well.
fn cuda_files(launches: &Launches) -> Result<Files, Error> {
    let mut files = Files::default();
    for kernel in launches.lists.decode[0].kernels {
        let kernel = kernel.kernel();
        files.add("cuda", &kernel, "cu", msl::cuda(&kernel)?.text);
    }
    Ok(files)
}
