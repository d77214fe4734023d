//! Finding and bringing models.

use crate::cache::Cache;
use crate::checksum::Checksum;
use crate::choice::choose;
use crate::download::Download;
use crate::http::Http;
use crate::listing::Listing;
use crate::lock::Lock;
use crate::reference::is_safe_path;
use crate::retry::Attempts;
use crate::{Error, Reference, Result, Settings, space};
use std::path::PathBuf;
use std::time::Duration;

/// The hub, and what of it is on this computer.
pub struct Hub {
    settings: Settings,
    cache: Cache,
}

/// What happens during a pull.
#[derive(Debug)]
pub enum Event<'a> {
    /// It is known what belongs to the model.
    Chosen {
        /// Number of files.
        files: usize,
        /// Bytes of all of them.
        total: u64,
        /// Bytes that are not there yet.
        missing: u64,
    },
    /// The part that an earlier pull left is read.
    Checking,
    /// Bytes that are there, of all files together.
    Progress {
        /// So many.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// Another process brings a file that is needed; it is waited for.
    Waiting {
        /// The file.
        file: &'a str,
    },
    /// Something failed and is tried again.
    Retry {
        /// What failed.
        cause: &'a Error,
        /// How long until then.
        after: Duration,
    },
}

/// A model that is there.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// What to open: a file or a folder.
    pub path: PathBuf,
    /// The commit that it is of.
    pub commit: String,
    /// Number of files.
    pub files: usize,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes that were not there before.
    pub downloaded: u64,
    /// True if the hub was not asked, because it must not be: what was in the cache may
    /// be older than what the hub has.
    pub offline: bool,
}

/// A file that a model needs.
struct Needed {
    name: String,
    size: u64,
    checksum: Checksum,
}

impl Hub {
    /// The hub of the environment.
    pub fn from_env() -> Result<Self> {
        Ok(Self::new(Settings::from_env()?))
    }

    /// The hub of these settings.
    pub fn new(settings: Settings) -> Self {
        Self { cache: Cache::new(&settings.cache), settings }
    }

    /// What is on this computer.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The model as it is in the cache, complete. Nobody is asked.
    pub fn find(&self, wanted: &Reference) -> Option<PathBuf> {
        self.cache.find(wanted)
    }

    /// Brings what is missing of the model as it is on the hub now. What was brought
    /// when this fails or is killed stays, and the next call goes on from there. If the
    /// network must not be used, a model that is in the cache is taken as it is there.
    pub fn pull(&self, wanted: &Reference, events: &mut dyn FnMut(Event)) -> Result<Pulled> {
        if self.settings.offline {
            let cached = self.cache.pulled(wanted);
            return cached.ok_or_else(|| Error::Offline { name: wanted.to_string() });
        }
        let http = Http::new(&self.settings)?;
        let listing = Attempts::new(self.settings.pause)
            .run(|cause, after| events(Event::Retry { cause, after }), || Listing::ask(&http, wanted))?;
        let (main, needed) = needed(&http, wanted, &listing)?;

        let total = needed.iter().map(|file| file.size).fold(0, u64::saturating_add);
        let there = |file: &Needed| self.cache.bytes_of(&wanted.repo, &file.checksum, file.size);
        let missing = total - needed.iter().map(there).sum::<u64>().min(total);
        events(Event::Chosen { files: needed.len(), total, missing });
        if let Some(free) = space::free(self.cache.root())
            && free < missing
        {
            return Err(Error::NoSpace { path: self.cache.root().into(), needed: missing, free: Some(free) });
        }

        let mut done = 0;
        for file in &needed {
            let Needed { name, size, checksum } = file;
            let blob = self.cache.prepare_blob(&wanted.repo, checksum)?;
            let lock = self.cache.lock_of(&wanted.repo, checksum);
            let _lock = Lock::wait(&lock, || events(Event::Waiting { file: name }))?;
            if !self.cache.has_blob(&wanted.repo, checksum, *size) {
                let (commit, of) = (&*listing.commit, wanted);
                let settings = &self.settings;
                let download = Download { http: &http, settings, of, commit, name, size: *size, checksum };
                download.run(&blob, events, done, total)?;
            }
            done += size;
            events(Event::Progress { done, total });
        }
        // All links at once, then the branch: until then the last state is what is found.
        for Needed { name, checksum, .. } in &needed {
            self.cache.link(&wanted.repo, &listing.commit, name, checksum)?;
        }
        self.cache.set_ref(wanted, &listing.commit)?;
        Ok(Pulled {
            path: self.cache.opened(&wanted.repo, &listing.commit, &main),
            commit: listing.commit,
            files: needed.len(),
            bytes: total,
            downloaded: missing,
            offline: false,
        })
    }
}

/// What is to be opened and all files of the model that is meant, checked.
fn needed(http: &Http, wanted: &Reference, listing: &Listing) -> Result<(String, Vec<Needed>)> {
    let bad = |what: String| Error::BadAnswer { host: http.host(), what };
    let names: Vec<&str> = listing.files.iter().map(|file| &*file.name).collect();
    let variant = choose(&names, wanted)?;
    let find = |name: &String| {
        if !is_safe_path(name) {
            return Err(bad(format!("a file called {name:?}, which no file should be called")));
        }
        let file = listing.files.iter().find(|file| file.name == *name);
        let content = file.and_then(|file| file.content.clone());
        let (size, checksum) = content.ok_or_else(|| bad(format!("no size and checksum of {name}")))?;
        Ok(Needed { name: name.clone(), size, checksum })
    };
    let needed = variant.files.iter().map(find).collect::<Result<_>>()?;
    Ok((variant.main, needed))
}
