//! Why nothing was made.

use std::io;
use std::path::PathBuf;

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something has the folder's name.
    #[error("{} is there already and {}", path.display(), if *ours { "was made by ingot" } else { "is something else" })]
    Exists {
        /// The folder.
        path: PathBuf,
        /// Whether it is of ours and may be replaced.
        ours: bool,
    },
    /// The model is in another form.
    #[error("a project is made of a GGUF file")]
    NotGguf,
    /// A file that is malformed.
    #[error(transparent)]
    Format(#[from] ingot_format::Error),
    /// A model that no family runs.
    #[error(transparent)]
    Model(#[from] ingot_models::Error),
    /// A model that has something no kernel can do.
    #[error("no launches for GPUs: {0}")]
    Launches(#[from] ingot_gpu::lower::LowerError),
    /// A kernel that cannot be translated: our mistake.
    #[error("{0}")]
    Kernel(#[from] ingot_gpu::msl::SyntaxError),
    /// A model that does not run here.
    #[error(transparent)]
    Engine(#[from] ingot_engine::Error),
    /// Something else that is not possible.
    #[error("{0}")]
    Unsupported(String),
    /// It was not to go on.
    #[error("stopped")]
    Stopped,
}
