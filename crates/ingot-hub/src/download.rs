//! One file: into a part that survives whatever happens, and from there under its
//! name in the cache once its checksum is right.

use crate::checksum::{Checksum, Hasher};
use crate::http::Http;
use crate::reference::encoded;
use crate::retry::Attempts;
use crate::{Error, Event, Reference, Result, Settings};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes a second below which a connection counts as broken: another one is most
/// likely faster.
const SLOWEST: u64 = 1024;
/// After so many bytes it is going well again.
const PROGRESS: u64 = 1 << 20;
const PIECE: usize = 256 << 10;

/// What to bring from where.
pub struct Download<'a> {
    /// The client.
    pub http: &'a Http,
    /// Patience.
    pub settings: &'a Settings,
    /// The model that the file is of.
    pub of: &'a Reference,
    /// The commit it is taken from.
    pub commit: &'a str,
    /// Path in the repository.
    pub name: &'a str,
    /// Bytes.
    pub size: u64,
    /// Checksum of these bytes.
    pub checksum: &'a Checksum,
}

impl Download<'_> {
    /// Brings the file to `blob`, continuing `blob.incomplete`. The caller holds the
    /// lock of the blob, and has `before` of `total` bytes in other files.
    pub fn run(&self, blob: &Path, events: &mut dyn FnMut(Event), before: u64, total: u64) -> Result<()> {
        let mut part = Part::open(&incomplete(blob), self.size, self.checksum, events)?;
        let mut attempts = Attempts::new(self.settings.pause);
        let mut anew = false;
        loop {
            let (start, mut good) = (part.len, part.len);
            let received = self.receive(&mut part, &mut |len| {
                if len.saturating_sub(good) >= PROGRESS {
                    good = len;
                }
                events(Event::Progress { done: before + len, total });
            });
            if good > start {
                attempts.progress();
            }
            match received {
                Ok(()) if part.is_right() => return part.finish(blob),
                Ok(()) => {
                    part.reset()?;
                    // What was continued may have been spoiled before.
                    if start == 0 || anew {
                        return Err(Error::BadChecksum { file: self.name.into() });
                    }
                    anew = true;
                }
                Err(error) => {
                    let Some(after) = attempts.after(&error) else { return Err(error) };
                    events(Event::Retry { cause: &error, after });
                    std::thread::sleep(after);
                }
            }
        }
    }

    /// One request, until the part is whole.
    fn receive(&self, part: &mut Part, arrived: &mut dyn FnMut(u64)) -> Result<()> {
        arrived(part.len);
        if part.len == self.size {
            return Ok(());
        }
        let path = format!("/{}/resolve/{}/{}", self.of.repo, self.commit, encoded(self.name, true));
        let from = (part.len > 0).then_some(part.len);
        let mut answer = self.http.get(&path, from, self.of)?;
        let continued = match (answer.status, answer.range) {
            (206, Some((start, size))) => start == part.len && size.is_none_or(|size| size == self.size),
            _ => false,
        };
        if !continued && part.len > 0 {
            part.reset()?; // the server cannot continue, or has another file by now
        }
        if !continued && answer.status != 200 {
            let cause = "it sent another part than was asked for".into();
            return Err(Error::Broken { host: answer.host, cause });
        }
        let host = answer.host.clone();
        let wrong_size = |found: String| {
            let (file, host) = (self.name.into(), host.clone());
            Error::BadSize { file, host, expected: self.size, found }
        };
        if let Some(length) = answer.length
            && length != self.size - part.len
        {
            return Err(wrong_size(part.len.saturating_add(length).to_string()));
        }
        let mut piece = vec![0; PIECE];
        let mut pace = Pace::new(self.settings.timeout);
        loop {
            let n = answer.read(&mut piece)?;
            match n as u64 {
                0 if part.len == self.size => return Ok(()),
                0 => {
                    let cause = format!("it ended after {} of {} bytes", part.len, self.size);
                    return Err(Error::Broken { host: answer.host, cause });
                }
                n if n > self.size - part.len => {
                    part.reset()?;
                    return Err(wrong_size("more".into()));
                }
                _ => part.write(&piece[..n])?,
            }
            arrived(part.len);
            if pace.is_slow(n) {
                let cause = format!("less than {SLOWEST} bytes a second came");
                return Err(Error::Broken { host: answer.host, cause });
            }
        }
    }
}

/// The file that has what came so far.
pub fn incomplete(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_os_string();
    name.push(".incomplete");
    name.into()
}

/// A file on its way, and the checksum of what there is of it.
struct Part<'a> {
    file: File,
    path: PathBuf,
    len: u64,
    size: u64,
    hasher: Hasher,
    checksum: &'a Checksum,
}

impl<'a> Part<'a> {
    /// Opens the part, which need not exist, and reads what is there of it.
    fn open(path: &Path, size: u64, checksum: &'a Checksum, events: &mut dyn FnMut(Event)) -> Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|m| !m.is_file()) {
            // Nobody who means well puts a link there: what comes would be written elsewhere.
            fs::remove_file(path).map_err(Error::io(path))?;
        }
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(Error::writing(path, size))?;
        let mut part =
            Self { file, path: path.into(), len: 0, size, hasher: checksum.hasher(size), checksum };
        let len = part.file.metadata().map_err(Error::io(path))?.len();
        if len > size {
            part.reset()?;
        } else if len > 0 {
            events(Event::Checking);
            part.read().map_err(Error::io(path))?;
        }
        Ok(part)
    }

    fn read(&mut self) -> std::io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            match self.file.read(&mut piece)? {
                0 => return Ok(()),
                n => {
                    self.hasher.update(&piece[..n]);
                    self.len += n as u64;
                }
            }
        }
    }

    /// Begins again.
    fn reset(&mut self) -> Result<()> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map_err(Error::io(&self.path))?;
        (self.len, self.hasher) = (0, self.checksum.hasher(self.size));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::writing(&self.path, self.size - self.len))?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn is_right(&self) -> bool {
        self.hasher.clone().finish() == self.checksum.hex()
    }

    /// Gives it its name.
    fn finish(self, blob: &Path) -> Result<()> {
        self.file.sync_all().map_err(Error::writing(&self.path, 0))?;
        fs::rename(&self.path, blob).map_err(Error::io(blob))
    }
}

/// How fast bytes come, looked at now and then.
struct Pace {
    since: Instant,
    bytes: u64,
    every: Duration,
}

impl Pace {
    fn new(every: Duration) -> Self {
        Self { since: Instant::now(), bytes: 0, every }
    }

    /// Counts bytes that came; true if these are too few.
    fn is_slow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes as u64;
        if self.since.elapsed() < self.every {
            return false;
        }
        let slow = self.bytes < SLOWEST * self.since.elapsed().as_secs();
        *self = Self::new(self.every);
        slow
    }
}
