//! A model that is open: its file, tokenizer and executor.

use crate::embedder::Embedder;
use crate::fingerprint::fingerprint;
use crate::runtime::{Rows, Runtime};
use crate::{Error, ExecutorKind, Machine, Memory, Options, Result, Session, Setup};
use ingot_format::{Bytes, Gguf, ModelFile};
use ingot_models::Info;
use ingot_plan::Plan;
use ingot_tokenizer::Tokenizer;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// A model that is open. Cloning it is cheap and gives the same model.
#[derive(Clone)]
pub struct Model {
    shared: Arc<Shared>,
}

struct Shared {
    info: Info,
    plan: Arc<Plan>,
    executor: ExecutorKind,
    tokenizer: Tokenizer,
    context: usize,
    chunk: usize,
    memory: Memory,
    fingerprint: u32,
    runtime: Mutex<Runtime>,
    embedder: Mutex<Embedder>,
}

/// Context of a model that has no limit of its own, and of one that says none.
const UNLIMITED: usize = 1 << 30;

impl Model {
    /// Opens a GGUF file (of a split one the first part), a safetensors file or a
    /// Hugging Face folder.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let path = path.as_ref();
        let file = ModelFile::open(path).map_err(|e| bad_model(path, e))?;
        Self::from_file(&file, path, options)
    }

    /// Opens a GGUF file that is in memory, for example part of the program.
    /// `name` stands for its path in messages.
    pub fn from_bytes(bytes: Bytes, name: &str, options: &Options) -> Result<Self> {
        let path = Path::new(name);
        let file = Gguf::from_bytes(bytes).map_err(|e| bad_model(path, e))?;
        Self::from_file(&ModelFile::Gguf(file), path, options)
    }

    /// Opens what was already read; `path` is for messages.
    pub fn from_file(file: &ModelFile, path: &Path, options: &Options) -> Result<Self> {
        Self::from_file_with(file, path, options, &mut |_, _| {})
    }

    /// Like [`Model::from_file`]; `progress` is told how many bytes of how many
    /// were copied to a device that has memory of its own.
    pub fn from_file_with(
        file: &ModelFile,
        path: &Path,
        options: &Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self> {
        let setup = options.resolve()?;
        let model = ingot_models::Model::load_for(file, setup.precision(), options.context)
            .map_err(|e| bad_model(path, e))?;
        let tokenizer = Tokenizer::open(file).map_err(|e| bad_model(path, e))?;
        check_vocabulary(file, &tokenizer, &model.info).map_err(|e| bad_model(path, e))?;

        let memory = Memory::of(&model.plan, setup.cache());
        check_memory(&memory, options, &setup)?;
        let machine = setup.open(model.plan.clone(), model.weights.clone(), progress)?;
        let fingerprint = fingerprint(&model.plan, &model.weights, file.replaced());
        Ok(Self::of_parts(model, tokenizer, options, &setup, machine, fingerprint))
    }

    /// A model of parts that were opened one by one, with what was made for them before:
    /// `machine` runs the plan of `model`.
    pub fn assemble(
        model: ingot_models::Model,
        tokenizer: Tokenizer,
        options: &Options,
        setup: &Setup,
        machine: Machine,
    ) -> Self {
        let fingerprint = fingerprint(&model.plan, &model.weights, [].iter());
        Self::of_parts(model, tokenizer, options, setup, machine, fingerprint)
    }

    fn of_parts(
        model: ingot_models::Model,
        tokenizer: Tokenizer,
        options: &Options,
        setup: &Setup,
        machine: Machine,
        fingerprint: u32,
    ) -> Self {
        let trained = model.info.context.unwrap_or(UNLIMITED);
        let memory = Memory::of(&model.plan, setup.cache());
        Self {
            shared: Arc::new(Shared {
                fingerprint,
                executor: options.executor,
                info: model.info,
                plan: model.plan,
                tokenizer,
                context: options.context.unwrap_or(trained),
                chunk: options.executor.chunk(),
                memory,
                embedder: Mutex::new(Embedder::new(options.threads)),
                runtime: Mutex::new(Runtime::new(machine.into(), model.weights, setup.uses_host_memory())),
            }),
        }
    }

    /// What it is and how large.
    pub fn info(&self) -> &Info {
        &self.shared.info
    }
    /// One step of it.
    pub fn plan(&self) -> &Plan {
        &self.shared.plan
    }
    /// What runs it.
    pub fn executor(&self) -> ExecutorKind {
        self.shared.executor
    }
    /// Its vocabulary.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.shared.tokenizer
    }
    /// Most tokens a session may hold.
    pub fn context(&self) -> usize {
        self.shared.context
    }
    /// What it takes.
    pub fn memory(&self) -> Memory {
        self.shared.memory
    }

    /// A session that has seen nothing.
    pub fn session(&self) -> Result<Session> {
        Session::new(self.clone())
    }

    /// Feeds tokens to several sessions of this model in one step. Each session's
    /// [`Session::logits`] are then those after its last token.
    ///
    /// # Errors
    /// If a session is of another model, has no tokens, or exceeds the context;
    /// then nothing was fed.
    pub fn step(&self, batch: &mut [(&mut Session, &[u32])]) -> Result<()> {
        for (session, tokens) in batch.iter() {
            if !Arc::ptr_eq(&session.model().shared, &self.shared) {
                return Err(Error::BadRequest("a session of another model".into()));
            }
            self.check_room(session.tokens().len(), tokens)?;
        }
        let vocab = self.info().vocab;
        let mut rows: Vec<Rows> = batch.iter_mut().map(|(session, tokens)| session.rows(tokens)).collect();
        let mut runtime = self.runtime();
        let logits = runtime.step(&mut rows, false)?;
        drop(rows);
        for ((session, tokens), logits) in batch.iter_mut().zip(logits.chunks_exact(vocab)) {
            session.fed(tokens, logits);
        }
        Ok(())
    }

    /// The mean of what the model makes of each of the tokens before its head, `[hidden]`,
    /// of length 1: texts of similar meaning have similar ones. Computed on the
    /// processor, wherever the model runs.
    ///
    /// # Errors
    /// If there are no tokens, too many, or one that the model does not have; if the
    /// model's plan has no head.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check_room(0, tokens)?;
        let mut embedder = self.shared.embedder.lock().unwrap_or_else(|e| e.into_inner());
        embedder.embed(self, tokens)
    }

    /// Allows sequences so many bytes together; what exceeds them is out of memory, even
    /// if the machine has more.
    pub fn limit_memory(&self, bytes: u64) {
        self.runtime().limit = bytes;
    }

    /// Bytes that sequences take now.
    pub fn memory_in_use(&self) -> u64 {
        self.runtime().in_use()
    }

    /// Refuses tokens that cannot follow `past` others.
    pub(crate) fn check_room(&self, past: usize, tokens: &[u32]) -> Result<()> {
        if tokens.is_empty() {
            return Err(Error::BadRequest("there are no tokens to read".into()));
        }
        let (needed, context) = (past + tokens.len(), self.context());
        if needed > context {
            return Err(Error::ContextFull { needed, context });
        }
        let vocab = self.info().vocab;
        match tokens.iter().find(|&&id| id as usize >= vocab) {
            Some(id) => {
                Err(Error::BadRequest(format!("token id {id} is outside of the vocabulary of {vocab}")))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn runtime(&self) -> MutexGuard<'_, Runtime> {
        // A panic while it was locked would have left pools in a state that is
        // still consistent: ids are claimed before they are used.
        self.shared.runtime.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Rows of one step while a prompt is read.
    pub(crate) fn chunk(&self) -> usize {
        self.shared.chunk
    }

    pub(crate) fn fingerprint(&self) -> u32 {
        self.shared.fingerprint
    }
}

fn bad_model(path: &Path, e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::BadModel { path: path.into(), source: e.into() }
}

/// A GGUF file has a token for every row of the embedding table; tables in
/// Hugging Face folders may be padded.
fn check_vocabulary(file: &ModelFile, tokenizer: &Tokenizer, info: &Info) -> Result<(), String> {
    let (tokens, rows) = (tokenizer.vocab_size(), info.vocab);
    let fits = match file {
        ModelFile::Gguf(_) => tokens == rows,
        ModelFile::HuggingFace(_) => tokens <= rows,
    };
    match fits {
        true => Ok(()),
        false => {
            Err(format!("the tokenizer has {tokens} tokens, the model {rows}: they do not belong together"))
        }
    }
}

/// Refuses a context that was asked for and cannot fit.
fn check_memory(memory: &Memory, options: &Options, setup: &Setup) -> Result<()> {
    let Some(context) = options.context else { return Ok(()) };
    let (needed, available) = (memory.sequence(context), setup.room(memory));
    if needed > available {
        return Err(Error::OutOfMemory(format!(
            "a context of {context} tokens takes {} MB, the machine has {} MB left; choose a smaller one",
            needed >> 20,
            available >> 20
        )));
    }
    Ok(())
}
