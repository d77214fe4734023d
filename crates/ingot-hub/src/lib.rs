//! Models of the Hugging Face hub.
//!
//! A [`Reference`] is what somebody types: `ORG/REPO`, `ORG/REPO:Q8_0`,
//! `ORG/REPO/FILE.gguf` or the address of a page of the hub. [`Hub::find`] looks
//! it up in the local cache without asking anybody, [`Hub::pull`] brings what is
//! missing. The cache has the layout of the hub's own clients, so that files that
//! one program has are there for the others:
//!
//! ```text
//! models--ORG--REPO/blobs/HASH                  a file's bytes, by their checksum
//! models--ORG--REPO/blobs/HASH.incomplete       the part of it that has come so far
//! models--ORG--REPO/refs/REVISION               the commit that a branch or tag is
//! models--ORG--REPO/snapshots/COMMIT/FILE       a link to the blob
//! .locks/models--ORG--REPO/HASH.lock            held by whoever downloads it
//! ```
//!
//! Nothing that comes over the network is believed: file names are checked before
//! they become paths, sizes while bytes arrive, and bytes against the checksum
//! before a blob gets its name.

mod cache;
mod checksum;
mod choice;
mod download;
mod error;
mod http;
mod hub;
mod listing;
mod lock;
mod proxy;
mod reference;
mod retry;
mod settings;
mod space;

pub use cache::{Cache, CachedModel};
pub use checksum::{Checksum, Hasher};
pub use choice::{SAFETENSORS, label};
pub use error::{Error, Result};
pub use hub::{Event, Hub, Pulled};
pub use reference::{Pick, Reference, Repo};
pub use settings::{Settings, Token};
