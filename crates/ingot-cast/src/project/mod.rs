//! A Cargo project that is one model: its plan and sizes as data, the weights in a file of
//! their own, and the sources of everything that is the same for all models.
//!
//! The plan is made twice by the families, once for products of rounded inputs and once for
//! exact ones; only a plan that differs in nothing else is taken. GPUs differ in which they
//! want, so that there are two lists of launches.

mod launches;
mod model;
pub mod names;
mod plan;
mod record;
mod template;
mod vendor;
mod weights;

pub use weights::Written;

use crate::folder::{Mark, NewFolder};
use crate::lists::{CUDA, Device, METAL};
use crate::{Error, lists};
use ingot_format::{Gguf, ModelFile};
use ingot_models::{Info, Model};
use ingot_plan::{Plan, Precision};
use ingot_tokenizer::Tokenizer;
use record::{PROMPT, Recorded};
use std::collections::BTreeSet;
use std::path::Path;
use template::fill;

/// What a project's manifest has.
const MARK: Mark = Mark { file: "Cargo.toml", text: "[package.metadata.ingot-cast]" };

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Choices<'a> {
    /// What the model is called in messages.
    pub name: &'a str,
    /// Most tokens of a sequence; what the model was trained for if absent.
    pub context: Option<usize>,
    /// Replace a project that is there.
    pub force: bool,
}

/// What was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The package.
    pub package: String,
    /// The file with the weights.
    pub weights: Written,
    /// Lines of the project's own sources.
    pub lines: usize,
    /// Files under `vendor`.
    pub vendored: usize,
}

/// What the texts say about the model.
struct Facts {
    name: String,
    info: Info,
    context: Option<usize>,
    bos: Option<u32>,
    ends: Vec<u32>,
    template: Option<String>,
}

/// Makes a project in a folder. `progress` is told how many bytes of how many are written, of
/// none before that begins, and says whether to go on.
///
/// # Errors
/// If the model is not one that ingot runs, is no GGUF file, or the folder is not free; then
/// nothing is left of the new one.
pub fn make(
    file: &ModelFile,
    folder: &Path,
    choices: Choices,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Made, Error> {
    let ModelFile::Gguf(gguf) = file else { return Err(Error::NotGguf) };
    let new = NewFolder::create(folder, MARK, choices.force)?;
    let package = names::package(&folder.file_name().unwrap_or_default().to_string_lossy());
    let (model, texts) = load(file, choices.context)?;
    let facts = facts(gguf, &model, choices)?;
    let recorded = record::record(file, Path::new(choices.name), choices.context, &mut || progress(0, 0))?;
    let weights = weights::write(&new.temporary().join("weights.gguf"), gguf, &model.weights, progress)?;

    let own = sources(&package, &facts, &texts, weights, &recorded);
    for (name, text) in &own {
        new.write(name, text)?;
    }
    let vendored = vendor::files(&texts.kernels);
    for (name, text) in &vendored {
        new.write(&format!("vendor/{name}"), text)?;
    }
    new.write("Cargo.lock", vendor::CARGO_LOCK)?;
    if !progress(weights.bytes, weights.bytes) {
        return Err(Error::Stopped);
    }
    new.finish()?;
    let lines = own.iter().filter(|(name, _)| name.ends_with(".rs")).map(|(_, text)| text.lines().count());
    Ok(Made { package, weights, lines: lines.sum(), vendored: vendored.len() })
}

/// What is written of a plan.
struct Texts {
    plan: String,
    cuda: String,
    metal: String,
    /// Kernels that the launches name.
    kernels: BTreeSet<&'static str>,
}

/// The model, and its plan and launches as texts. The plan must not depend on the precision
/// of inputs but for naming it.
fn load(file: &ModelFile, context: Option<usize>) -> Result<(Model, Texts), Error> {
    let model = |precision| Model::load_for(file, precision, context);
    let (rounded, exact) = (model(Precision::Q8)?, model(Precision::F32)?);
    let text = plan::text(&rounded.plan);
    if rounded.plan.weights() != exact.plan.weights() || text != plan::text(&exact.plan) {
        return Err(Error::Unsupported("the model's plan depends on the device".into()));
    }
    let context = context.or(rounded.info.context);
    let made = |plan: &Plan, device: Device| lists::make(plan, device, context);
    let (cuda, metal) = (made(&rounded.plan, CUDA)?, made(&exact.plan, METAL)?);
    let kernels = [&cuda, &metal].into_iter().flat_map(|made| made.lists.decode[0].kernels);
    let texts = Texts {
        plan: text,
        cuda: launches::text(&rounded.plan, &cuda, "NVIDIA's GPUs, and simulated ones"),
        metal: launches::text(&exact.plan, &metal, "Apple's GPUs"),
        kernels: kernels.map(|kernel| kernel.name).chain(SAMPLING).collect(),
    };
    Ok((rounded, texts))
}

/// Kernels that draw tokens; the runtime launches them itself.
const SAMPLING: [&str; 2] = ["advance", "sample"];

fn facts(gguf: &Gguf, model: &Model, choices: Choices) -> Result<Facts, Error> {
    let tokenizer = Tokenizer::from_gguf(gguf).map_err(|e| Error::Unsupported(e.to_string()))?;
    let (tokens, rows) = (tokenizer.vocab_size(), model.info.vocab);
    if tokens != rows {
        let what =
            format!("the tokenizer has {tokens} tokens, the model {rows}: they do not belong together");
        return Err(Error::Unsupported(what));
    }
    Ok(Facts {
        name: model.info.name.clone().unwrap_or_else(|| choices.name.into()),
        info: model.info.clone(),
        context: choices.context.or(model.info.context),
        bos: tokenizer.bos(),
        ends: tokenizer.end_of_generation().to_vec(),
        template: tokenizer.chat_template().map(|t| t.source().to_string()),
    })
}

/// The project's own files.
fn sources(
    package: &str,
    facts: &Facts,
    texts: &Texts,
    weights: Written,
    recorded: &Recorded,
) -> Vec<(String, String)> {
    let library = names::library(package);
    let numbers = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let (prompt_tokens, greedy_tokens) = (numbers(&recorded.prompt), numbers(&recorded.greedy));
    let (model_text, table) = (names::plain(&facts.name), facts.table(weights));
    let values = [
        ("name", package),
        ("library", &library),
        ("title", package),
        ("model_text", &model_text),
        ("facts", &table),
        ("prompt", PROMPT),
        ("prompt_tokens", &prompt_tokens),
        ("cuda_cores", &CUDA.cores.to_string()),
        ("metal_cores", &METAL.cores.to_string()),
        ("greedy_tokens", &greedy_tokens),
    ];
    let filled = |name: &str, template| (name.to_string(), fill(template, &values));
    vec![
        filled("Cargo.toml", include_str!("../../templates/Cargo.toml")),
        filled("README.md", include_str!("../../templates/README.md")),
        (".gitignore".into(), "/target\n".into()),
        ("rustfmt.toml".into(), include_str!("../../../../rustfmt.toml").into()),
        filled("src/lib.rs", include_str!("../../templates/src/lib.rs")),
        filled("src/main.rs", include_str!("../../templates/src/main.rs")),
        filled("tests/recorded.rs", include_str!("../../templates/tests/recorded.rs")),
        ("src/model.rs".into(), model::text(facts, weights)),
        ("src/plan.rs".into(), texts.plan.clone()),
        filled("src/launches/mod.rs", include_str!("../../templates/src/launches/mod.rs")),
        ("src/launches/cuda.rs".into(), texts.cuda.clone()),
        ("src/launches/metal.rs".into(), texts.metal.clone()),
    ]
}

impl Facts {
    /// For the README.
    fn table(&self, weights: Written) -> String {
        let info = &self.info;
        let context = self.context.map_or("without a limit".into(), |n| format!("{n} tokens"));
        format!(
            "| | |\n|---|---|\n| family | {} |\n| parameters | {} |\n| layers | {} |\n| width | {} |\n\
             | vocabulary | {} |\n| context | {context} |\n| weights | {} bytes, CRC-32 {:08x} |",
            info.family, info.parameters, info.layers, info.hidden, info.vocab, weights.bytes, weights.crc32
        )
    }
}
