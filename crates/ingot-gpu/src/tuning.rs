//! Which sizes of matrix-vector launches were measured to be fast on a device.
//!
//! A [`Tuning`] is a small table that replaces the usual sizes of [`Sizes`]. It is kept
//! as text beside the compiled kernels, in a file per device. No size in it decides in
//! which order anything is summed, so that results are the same with every table.
//!
//! `INGOT_TUNING` names another file, or is `off`.

use crate::launches::linear_vec::Sizes;
use ingot_format::DType;
use ingot_plan::Precision;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What a launch is chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TuningKey {
    /// Type of the weights.
    pub dtype: DType,
    /// How they see their input.
    pub inputs: Precision,
    /// Whether it is a gated unit: two matrices that are read together.
    pub gated: bool,
}

/// What can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Choice {
    /// Rows of a simdgroup at a time: 1, 2, 4 or 8.
    pub rows: u8,
    /// Units in flight per lane and row: 1 to 4.
    pub ahead: u8,
    /// Threadgroups on a core at a time: 1 to 4.
    pub resident: u8,
}

impl Choice {
    fn is_possible(self) -> bool {
        matches!(self.rows, 1 | 2 | 4 | 8)
            && (1..=4).contains(&self.ahead)
            && (1..=4).contains(&self.resident)
    }
}

impl From<Sizes> for Choice {
    fn from(sizes: Sizes) -> Self {
        let small = |n: usize| u8::try_from(n).expect("sizes are small");
        Self { rows: small(sizes.rows), ahead: small(sizes.ahead), resident: small(sizes.resident) }
    }
}

/// Choices for some keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning([[Option<Choice>; 4]; DType::ALL.len()]);

impl Tuning {
    /// The same choice for everything.
    pub fn uniform(choice: Choice) -> Self {
        Self([[Some(choice); 4]; DType::ALL.len()])
    }

    /// What was chosen for a key.
    pub fn get(&self, key: TuningKey) -> Option<Choice> {
        let (dtype, variant) = place(key);
        self.0[dtype][variant]
    }

    /// Chooses.
    pub fn set(&mut self, key: TuningKey, choice: Choice) {
        let (dtype, variant) = place(key);
        self.0[dtype][variant] = Some(choice);
    }

    /// Leaves a key to the usual sizes.
    pub fn unset(&mut self, key: TuningKey) {
        let (dtype, variant) = place(key);
        self.0[dtype][variant] = None;
    }

    /// All choices.
    pub fn iter(&self) -> impl Iterator<Item = (TuningKey, Choice)> {
        keys().filter_map(|key| Some((key, self.get(key)?)))
    }

    /// The table for a device of this name: that of `INGOT_TUNING`, or what was stored.
    ///
    /// # Errors
    /// If `INGOT_TUNING` names a file that cannot be read. A stored one that is damaged
    /// is as good as none.
    pub fn of(device: &str) -> Result<Self, String> {
        match std::env::var_os("INGOT_TUNING").filter(|value| !value.is_empty()) {
            Some(word) if word == "off" => Ok(Self::default()),
            Some(path) => {
                let path = PathBuf::from(path);
                let wrong = |e: String| format!("INGOT_TUNING: {}: {e}", path.display());
                let text = std::fs::read_to_string(&path).map_err(|e| wrong(e.to_string()))?;
                text.parse().map_err(wrong)
            }
            None => Ok(Self::stored(device)),
        }
    }

    /// What was stored for a device of this name.
    pub fn stored(device: &str) -> Self {
        let text = Self::path(device).and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or_default()
    }

    /// Where the table of a device is stored, if this user has a folder for caches.
    pub fn path(device: &str) -> Option<PathBuf> {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
        let name: String = device.chars().map(plain).take(80).collect();
        Some(crate::caches::folder()?.join("tuning").join(Path::new(&name).with_extension("txt")))
    }
}

fn keys() -> impl Iterator<Item = TuningKey> {
    let variants = [Precision::F32, Precision::Q8].map(|inputs| [(inputs, false), (inputs, true)]);
    DType::ALL.into_iter().flat_map(move |dtype| {
        variants.into_iter().flatten().map(move |(inputs, gated)| TuningKey { dtype, inputs, gated })
    })
}

fn place(key: TuningKey) -> (usize, usize) {
    let dtype = DType::ALL.iter().position(|dtype| *dtype == key.dtype).expect("all are listed");
    (dtype, 2 * usize::from(key.inputs == Precision::Q8) + usize::from(key.gated))
}

impl fmt::Display for TuningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs = if self.inputs == Precision::Q8 { "q8" } else { "f32" };
        write!(f, "{} {inputs} {}", self.dtype, if self.gated { "gated" } else { "plain" })
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# weights, inputs, unit: rows, ahead, resident")?;
        self.iter().try_for_each(|(key, c)| writeln!(f, "{key} {} {} {}", c.rows, c.ahead, c.resident))
    }
}

impl FromStr for Tuning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut tuning = Self::default();
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let Some(dtype) = words.next() else { continue };
            let words: Vec<&str> = words.collect();
            let (key, choice) = entry(dtype, &words).ok_or_else(|| {
                format!("line {}: not like 'Q4_K q8 gated 4 1 2' (rows 1, 2, 4 or 8; others 1 to 4)", n + 1)
            })?;
            tuning.set(key, choice);
        }
        Ok(tuning)
    }
}

fn entry(dtype: &str, words: &[&str]) -> Option<(TuningKey, Choice)> {
    let dtype = DType::ALL.into_iter().find(|known| known.name() == dtype)?;
    let [inputs, unit, rows, ahead, resident] = words else { return None };
    let inputs = match *inputs {
        "q8" => Precision::Q8,
        "f32" => Precision::F32,
        _ => return None,
    };
    let gated = match *unit {
        "gated" => true,
        "plain" => false,
        _ => return None,
    };
    let number = |word: &str| word.parse::<u8>().ok();
    let choice = Choice { rows: number(rows)?, ahead: number(ahead)?, resident: number(resident)? };
    choice.is_possible().then_some((TuningKey { dtype, inputs, gated }, choice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let mut tuning = Tuning::default();
        let keys = [(DType::Q4_K, Precision::Q8, true), (DType::F16, Precision::F32, false)];
        for (i, (dtype, inputs, gated)) in keys.into_iter().enumerate() {
            let choice = Choice { rows: 1 << i, ahead: 3, resident: 2 };
            tuning.set(TuningKey { dtype, inputs, gated }, choice);
        }
        let text = tuning.to_string();
        assert!(
            text.contains("\nQ4_K q8 gated 1 3 2\n") && text.contains("\nF16 f32 plain 2 3 2\n"),
            "{text}"
        );
        assert_eq!(text.parse(), Ok(tuning));
        assert_eq!("".parse(), Ok(Tuning::default()));
        let all = Tuning::uniform(Choice { rows: 2, ahead: 1, resident: 1 });
        assert_eq!((all.iter().count(), all.to_string().parse()), (4 * DType::ALL.len(), Ok(all)));
    }

    #[test]
    fn damaged_text() {
        for line in
            ["Q4_K", "Q9 q8 gated 1 1 1", "Q4_K q8 gated 3 1 1", "Q4_K q8 gated 4 0 1", "Q4_K q8 x 1 1 1"]
        {
            let error = format!("# a comment\n\n{line}").parse::<Tuning>().unwrap_err();
            assert!(error.starts_with("line 3: "), "{error}");
        }
    }

    #[test]
    fn names_of_files() {
        let Some(path) = Tuning::path("NVIDIA H200/..\\x") else { return };
        assert!(path.ends_with("tuning/nvidia-h200----x.txt"), "{path:?}");
    }
}
