//! Finding the model that a word on the command line means.

use crate::adapters;
use crate::cli::{EngineArgs, Settings};
use crate::device;
use crate::failure::{ACCEPTED, Failure, Result};
use crate::hub;
use crate::own::{self, Own};
use crate::term::Progress;
use ingot::{EMBEDDED_NAME, Error, ExecutorKind, Model, ModelFile, Options};
use ingot_hub::Reference;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Where a model is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the program.
    Embedded,
    /// In the file that was started, behind the program.
    Own(&'static Own),
    /// In a file or folder that exists.
    Path(PathBuf),
    /// On the hub, and by now in the cache as well.
    Hub {
        /// What was asked for.
        model: Reference,
        /// The file or folder in the cache.
        path: PathBuf,
    },
}

impl Place {
    /// The model that `word` means: a path, a name looked up in folders called
    /// models, or after `hf:` a model of the hub, which is pulled unless it is in the
    /// cache; the model of the program
    /// if there is no word.
    pub fn find(word: Option<&Path>) -> Result<Self> {
        let Some(word) = word else { return Ok(Self::default()) };
        if let Some(model) = word.to_str().and_then(Reference::with_prefix) {
            let model = model?;
            return Ok(Self::Hub { path: hub::find_or_pull(&model)?, model });
        }
        if word.exists() {
            return Ok(Self::Path(word.to_path_buf()));
        }
        match word.to_str() {
            Some(name) if is_bare(name) => find_by_name(name, &model_folders()),
            Some(name) if !parent(word).is_dir() && name.parse::<Reference>().is_ok() => {
                Err(not_found(word, &[]).hint(format!("hf:{name} would be a model of the Hugging Face hub")))
            }
            _ => Err(not_found(word, &[parent(word)])),
        }
    }

    /// What to call it.
    pub fn name(&self) -> String {
        match self {
            Self::Embedded => EMBEDDED_NAME.into(),
            Self::Own(own) => own.file().index().contents.name.clone(),
            Self::Path(path) => path.display().to_string(),
            Self::Hub { model, .. } => format!("hf:{model}"),
        }
    }

    /// Opens it to run it, on the device of these arguments.
    pub fn open(&self, engine: &EngineArgs) -> Result<Model> {
        self.open_with(engine, |file| adapters::merged(file, &engine.settings))
    }

    /// The same without the adapters of these arguments: they are another model's.
    pub fn open_as_it_is(&self, engine: &EngineArgs) -> Result<Model> {
        self.open_with(engine, Ok)
    }

    fn open_with(
        &self,
        engine: &EngineArgs,
        change: impl Fn(ModelFile) -> Result<ModelFile>,
    ) -> Result<Model> {
        let verification = match self {
            Self::Own(own) => Some(own.verify()),
            _ => None,
        };
        let open = || {
            let file = change(self.unverified_file()?)?;
            Ok(device::open(engine, |options| self.open_file(&file, options))?)
        };
        let opened = open();
        // Before anything runs; and first of all, if that is why it could not be opened.
        verification.map_or(Ok(()), |verification| verification.finish())?;
        opened
    }

    /// Opens it to see whether it runs on a device.
    pub fn open_on(&self, executor: ExecutorKind) -> Result<Model> {
        Ok(self.open_file(&self.stored()?, &Options { executor, ..Options::default() })?)
    }

    /// Opens the file to look at it.
    pub fn read(&self) -> Result<ModelFile> {
        self.file().map_err(|e| Failure::new(e).hint(ACCEPTED))
    }

    /// The file as something to run, with the adapters of these settings in its weights.
    pub fn model_file(&self, settings: &Settings) -> Result<ModelFile> {
        adapters::merged(self.stored()?, settings)
    }

    /// What is wrong with the file is told with its path.
    fn stored(&self) -> ingot::Result<ModelFile> {
        if let Self::Own(own) = self {
            let damaged =
                |e: ingot_cast::file::Error| Error::BadModel { path: self.name().into(), source: e.into() };
            own.verify().finish().map_err(damaged)?;
        }
        self.unverified_file()
    }

    fn unverified_file(&self) -> ingot::Result<ModelFile> {
        let bad = |e: ingot_format::Error| Error::BadModel { path: self.name().into(), source: e.into() };
        self.file().map_err(bad)
    }

    fn file(&self) -> ingot_format::Result<ModelFile> {
        match self {
            Self::Embedded => ingot_format::Gguf::from_bytes(ingot::embedded_bytes()).map(ModelFile::Gguf),
            Self::Own(own) => ingot_format::Gguf::from_bytes(own.file().model()).map(ModelFile::Gguf),
            Self::Path(path) | Self::Hub { path, .. } => ModelFile::open(path),
        }
    }

    fn open_file(&self, file: &ModelFile, options: &Options) -> ingot::Result<Model> {
        let progress = Progress::new("opening the model", 0);
        let name = PathBuf::from(self.name());
        Model::from_file_with(file, &name, options, &mut |done, all| progress.set_bytes(done, all))
    }
}

/// The model of the program.
impl Default for Place {
    fn default() -> Self {
        own::own().map_or(Self::Embedded, Self::Own)
    }
}

/// True for what may be a name instead of a path.
fn is_bare(word: &str) -> bool {
    !word.is_empty() && !word.contains(['/', '\\'])
}

/// The folder that a path leads into.
fn parent(path: &Path) -> PathBuf {
    path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new(".")).to_path_buf()
}

/// True if the name is that of a model file.
pub fn is_model_file(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "gguf" || e == "safetensors")
}

/// `models` in the working directory and beside the program and its parents
/// (a program built in `target/release` finds those of its repository).
fn model_folders() -> Vec<PathBuf> {
    let program = std::env::current_exe().ok().and_then(|exe| exe.canonicalize().ok());
    let parents = program.iter().flat_map(|exe| exe.ancestors().skip(1)).map(|dir| dir.join("models"));
    let folders = std::iter::once(PathBuf::from("models")).chain(parents);
    folders.filter(|dir| dir.is_dir()).collect()
}

/// Every model in a folder called models, by the name that leads to it.
pub fn by_name() -> Vec<(String, PathBuf)> {
    let mut seen = BTreeSet::new();
    let all = model_folders().into_iter().flat_map(|folder| models_in(&folder));
    let named = all.map(|path| (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path));
    named.filter(|(name, _)| seen.insert(name.clone())).collect()
}

/// The model called `name`, or the only one whose name begins like that, of the
/// first folder that has one.
fn find_by_name(name: &str, folders: &[PathBuf]) -> Result<Place> {
    for folder in folders {
        let models = models_in(folder);
        let stem = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_named = |path: &&PathBuf| stem(path) == name || path.file_name().is_some_and(|n| n == name);
        if let Some(path) = models.iter().find(is_named) {
            return Ok(Place::Path(path.clone()));
        }
        let alike: Vec<_> = models.into_iter().filter(|path| stem(path).starts_with(name)).collect();
        match &alike[..] {
            [] => {}
            [path] => return Ok(Place::Path(path.clone())),
            several => {
                return Err(Failure::new(format!("'{name}' may be any of {} models", several.len()))
                    .hint(format!("name one of {}", listed(several.iter().map(|path| stem(path))))));
            }
        }
    }
    if name == EMBEDDED_NAME.split(' ').next().unwrap_or_default() {
        return Ok(Place::Embedded);
    }
    let here = PathBuf::from(".");
    Err(not_found(Path::new(name), &[std::slice::from_ref(&here), folders].concat()))
}

/// The model files and folders of a folder, of split ones the first part.
fn models_in(folder: &Path) -> Vec<PathBuf> {
    let is_later_part = |path: &Path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        stem.contains("-of-") && !stem.contains("-00001-of-")
    };
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_model_file(path) && !is_later_part(path) || path.join("config.json").exists())
        .collect();
    found.sort();
    found
}

/// The error for a word that leads nowhere, with what is in the folders it could
/// have led to.
fn not_found(word: &Path, folders: &[PathBuf]) -> Failure {
    let failure = Failure::new(format!("no such model: {}", word.display()));
    if folders.is_empty() {
        return failure;
    }
    if let [folder] = folders
        && !folder.is_dir()
    {
        return failure.hint(format!("there is no folder {}", folder.display()));
    }
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let wanted = name(word);
    let alike = |path: &Path| name(path).chars().zip(wanted.chars()).take_while(|(a, b)| a == b).count();
    let known: BTreeSet<PathBuf> = folders.iter().flat_map(|folder| models_in(folder)).collect();
    let mut known: Vec<PathBuf> = known.into_iter().collect();
    known.sort_by_key(|path| std::cmp::Reverse(alike(path)));
    let near: Vec<_> = known.iter().filter(|path| alike(path) >= NEAR).take(3).collect();
    failure.hint(match (near.is_empty(), known.is_empty()) {
        (false, _) => format!("did you mean {}?", listed(near.iter().map(|path| path.display()))),
        (true, false) => format!("models found: {}", listed(known.iter().map(|path| path.display()))),
        (true, true) => ACCEPTED.into(),
    })
}

/// Names that begin with so many equal letters may have been mistyped.
const NEAR: usize = 4;

/// `a, b, c`, at most a screenful.
fn listed(names: impl Iterator<Item = impl ToString>) -> String {
    const SHOWN: usize = 12;
    let mut names: Vec<String> = names.map(|name| name.to_string()).collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixtures() -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/models"))
    }

    fn message(failure: Failure) -> String {
        match failure {
            Failure::Error { message, hint, .. } => format!("{message}; {}", hint.unwrap_or_default()),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn names_are_looked_up() {
        let find = |name| find_by_name(name, &[fixtures()]);
        let path = |name| Place::Path(fixtures().join(name));
        assert_eq!(find("qwen3-s-f16").unwrap(), path("qwen3-s-f16.gguf"));
        assert_eq!(find("qwen3moe-k").unwrap(), path("qwen3moe-k-q4_k_m.gguf"));
        assert_eq!(find("mistral-s-q4_0").unwrap(), path("mistral-s-q4_0.gguf"));
        assert_eq!(find("mistral-s-q4_0-split").unwrap(), path("mistral-s-q4_0-split-00001-of-00003.gguf"));
        assert_eq!(find("qwen3-s-f16.gguf").unwrap(), path("qwen3-s-f16.gguf"));
        assert_eq!(find("llama-s-safetensors").unwrap(), path("llama-s-safetensors"));
        assert_eq!(find("tale-llama").unwrap(), Place::Embedded);
    }

    #[test]
    fn what_cannot_be_found_is_explained() {
        let find = |name| message(find_by_name(name, &[fixtures()]).unwrap_err());
        assert!(find("rwkv7").contains("name one of rwkv7-k-q4_k_m, rwkv7-s-f16"));
        assert!(find("gpt").contains("no such model: gpt; models found: "));
        let near = message(not_found(&fixtures().join("qwen2-k-q4_m.gguf"), &[fixtures()]));
        assert!(near.contains("did you mean") && near.contains("qwen2-k-q4_k.gguf"), "{near}");
        let nowhere = message(not_found(Path::new("/nowhere/x.gguf"), &["/nowhere".into()]));
        assert!(nowhere.contains("no folder /nowhere"), "{nowhere}");
    }

    #[test]
    fn only_names_are_looked_up() {
        assert!(is_bare("tale-rwkv7") && is_bare("qwen2.5-0.5b.gguf"));
        assert!(!is_bare("./x") && !is_bare("models/x") && !is_bare(""));
    }
}
