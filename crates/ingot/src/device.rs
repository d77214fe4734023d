//! Which device a command runs on: the one that was named, or else the best one
//! that works.
//!
//! A named device is used or the command fails. Without a name the processor
//! stands in for a GPU that cannot be used, which is said in one line if the
//! computer seems to have one and not at all if it simply has none.

use crate::cli::EngineArgs;
use crate::term::DIM;
use ingot::{DeviceKind, Error, ExecutorKind, Options};
use ingot_gpu::device::{DeviceError, Info};
use std::path::Path;
use std::str::FromStr;

/// A device as it is named on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// The best one that works.
    Auto,
    /// This one.
    Named(ExecutorKind),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "auto" | "" => Ok(Self::Auto),
            "cpu" => Ok(Self::Named(ExecutorKind::Cpu)),
            "reference" => Ok(Self::Named(ExecutorKind::Reference)),
            gpu => match gpu.parse() {
                Ok(kind) => Ok(Self::Named(ExecutorKind::Gpu(kind))),
                Err(_) => Err("expected auto, metal, cuda, cuda:N, cpu, sim or reference".into()),
            },
        }
    }
}

/// A GPU, or the kind of one that is not there and why.
pub type Found = Result<(DeviceKind, Info), (&'static str, DeviceError)>;

/// What `auto` means on a computer with these GPUs, and what is wrong with those
/// it seems to have and that cannot be used.
pub fn choose(found: &[Found], seems_present: impl Fn(&str) -> bool) -> (ExecutorKind, Vec<String>) {
    let usable = || found.iter().filter_map(|gpu| gpu.as_ref().ok().map(|(kind, _)| *kind));
    if let Some(kind) = usable().find(|kind| *kind == DeviceKind::Metal).or_else(|| usable().next()) {
        return (ExecutorKind::Gpu(kind), Vec::new());
    }
    let missing = found.iter().filter_map(|gpu| gpu.as_ref().err());
    let problems = missing.filter(|(kind, _)| seems_present(kind));
    (ExecutorKind::Cpu, problems.map(|(kind, e)| format!("{kind}: {e}")).collect())
}

/// True if the computer seems to have a GPU of this kind, whether it can be used
/// or not.
pub fn seems_present(kind: &str) -> bool {
    match kind {
        "metal" => cfg!(target_os = "macos"),
        // The driver's own signs, and Windows' GPU inside of its Linux.
        _ => {
            ["/dev/nvidia0", "/proc/driver/nvidia/version", "/dev/dxg"].iter().any(|p| Path::new(p).exists())
        }
    }
}

impl Device {
    /// The executor it is; the best one that works if none was named.
    pub fn executor(self) -> ExecutorKind {
        match self {
            Self::Named(executor) => executor,
            Self::Auto => choose(&ingot_gpu::devices(), seems_present).0,
        }
    }
}

/// Opens something on the device of these arguments, or if none was named and the
/// GPU cannot run it, on the processor.
pub fn open<T>(args: &EngineArgs, mut open: impl FnMut(&Options) -> Result<T, Error>) -> Result<T, Error> {
    let (executor, problems) = match args.device {
        Device::Named(executor) => return open(&args.settings.options(executor)),
        Device::Auto => choose(&ingot_gpu::devices(), seems_present),
    };
    problems.iter().for_each(|problem| fall_back(problem));
    match open(&args.settings.options(executor)) {
        Err(e @ Error::Gpu { .. }) => {
            fall_back(&e.to_string());
            open(&args.settings.options(ExecutorKind::Cpu))
        }
        opened => opened,
    }
}

/// Says why it is the processor that computes.
fn fall_back(problem: &str) {
    let problem = crate::term::printable(problem.lines().next().unwrap_or_default());
    crate::say!("{DIM}not using the GPU: {problem}{DIM:#}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(kind: DeviceKind) -> Found {
        Ok((kind, Info::default()))
    }

    fn missing(kind: &'static str) -> Found {
        Err((kind, DeviceError::Unavailable("no driver".into())))
    }

    #[test]
    fn names() {
        let parse = |word: &str| word.parse::<Device>();
        let gpu = |kind| Ok(Device::Named(ExecutorKind::Gpu(kind)));
        assert_eq!(parse("auto"), Ok(Device::Auto));
        assert_eq!(parse(""), Ok(Device::Auto), "an empty INGOT_DEVICE");
        assert_eq!(parse("cpu"), Ok(Device::Named(ExecutorKind::Cpu)));
        assert_eq!(parse("cuda"), gpu(DeviceKind::Cuda(0)));
        assert_eq!(parse("cuda:3"), gpu(DeviceKind::Cuda(3)));
        for kind in [DeviceKind::Metal, DeviceKind::Sim, DeviceKind::Cuda(0), DeviceKind::Cuda(12)] {
            assert_eq!(parse(&kind.to_string()), gpu(kind));
        }
        for word in ["gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(parse(word).unwrap_err().contains("cuda:N"), "{word}");
        }
    }

    #[test]
    fn the_best_device_that_works() {
        let cuda = DeviceKind::Cuda(0);
        let chosen = |found: &[Found]| choose(found, |_| true).0;
        assert_eq!(chosen(&[]), ExecutorKind::Cpu);
        assert_eq!(chosen(&[missing("metal"), missing("cuda")]), ExecutorKind::Cpu);
        assert_eq!(
            chosen(&[missing("metal"), there(cuda), there(DeviceKind::Cuda(1))]),
            ExecutorKind::Gpu(cuda)
        );
        assert_eq!(chosen(&[there(cuda), there(DeviceKind::Metal)]), ExecutorKind::Gpu(DeviceKind::Metal));
    }

    #[test]
    fn only_what_seems_to_be_there_is_missed() {
        let problems = |found: &[Found], present: &str| choose(found, |kind| kind == present).1;
        assert_eq!(problems(&[missing("metal"), missing("cuda")], "cuda"), ["cuda: no driver"]);
        assert!(problems(&[missing("metal"), missing("cuda")], "neither").is_empty());
        assert!(problems(&[missing("metal"), there(DeviceKind::Cuda(0))], "metal").is_empty());
    }
}
