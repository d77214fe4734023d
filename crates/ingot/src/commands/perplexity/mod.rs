//! `ingot perplexity`: how well a model predicts a text, and how far a quantized
//! one is from its original.
//!
//! * `windows` cuts the text,
//! * `score` makes figures of logits,
//! * `summary` is what is said about all of them.

mod score;
mod summary;
mod windows;

use crate::cli::PerplexityArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::term::Progress;
use ingot::EncodeOptions;
use ingot::{Model, Session};
use score::Prediction;
use std::io::Read;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;
use summary::{Run, Summary};
use windows::Window;

/// The text if none is named: stories that the models in the repository have not seen.
const HELD_OUT: &str = include_str!("../../../../../models/valid.txt");

/// Memory for the logits of one piece of a window, in bytes.
const LOGITS: usize = 64 << 20;

pub fn run(args: &PerplexityArgs) -> Result {
    let text = match &args.text {
        None => HELD_OUT.to_owned(),
        Some(path) => read(path)?,
    };
    let place = Place::find(args.model.path())?;
    let original = args.against.as_deref().map(|path| Place::find(Some(path))).transpose()?;
    let model = place.open(&args.engine)?;
    let cut = cut(&model, &text, args)?;
    if cut.is_empty() {
        return Err(Failure::new("the text is too short: two tokens are the least")
            .hint("--text names a file, - standard input"));
    }
    check_windows(&model, &cut)?;
    let original = match &original {
        None => None,
        Some(place) => Some((place, open_like(place, &model, args, &text, &cut)?)),
    };

    let count: usize = cut.iter().map(|window| window.tokens.len()).sum();
    let progress = Progress::new("reading the text", count);
    let start = Instant::now();
    let (mut done, mut predictions) = (0, Vec::new());
    for window in &cut {
        let mut session = model.session()?;
        let mut other = original.as_ref().map(|(_, model)| model.session()).transpose()?;
        for piece in pieces(window, model.info().vocab) {
            let logits = feed(&mut session, &window.tokens, &piece)?;
            let theirs = other.as_mut().map(|s| feed(s, &window.tokens, &piece)).transpose()?;
            let next = &window.tokens[piece.start + 1..piece.end + 1];
            predictions.extend(score::rows(&logits, theirs.as_deref(), next));
            progress.set(done + piece.end);
        }
        done += window.tokens.len();
    }
    drop(progress);
    let seconds = start.elapsed();

    let scored = cut.iter().flat_map(|window| &window.tokens[window.scored.start + 1..window.scored.end + 1]);
    let bytes = scored.map(|&id| model.tokenizer().token_bytes(id).map_or(0, |bytes| bytes.len())).sum();
    if let Some(i) = predictions.iter().position(|p: &Prediction| !p.loss.is_finite()) {
        return Err(Failure::new(format!(
            "prediction {i} is not a number: the model's logits are not finite"
        ))
        .hint("ingot validate shows where that begins"));
    }
    let run = Run {
        model: place.name(),
        against: original.map(|(place, _)| place.name()),
        window: args.window.get(),
        windows: cut.len(),
        tokens: count,
        bytes,
        seconds,
    };
    Summary::of(run, &predictions).print(args.json)
}

fn read(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut bytes),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)),
    };
    read.map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
    String::from_utf8(bytes).map_err(|_| Failure::new(format!("{}: not UTF-8 text", path.display())))
}

/// The text in windows, as the arguments say.
fn cut(model: &Model, text: &str, args: &PerplexityArgs) -> Result<Vec<Window>> {
    let tokenizer = model.tokenizer();
    let length = args.window.get();
    let mut windows = match &args.documents {
        Some(separator) => {
            let separator = separator.replace("\\n", "\n").replace("\\t", "\t");
            if separator.is_empty() {
                return Err(Failure::usage("--documents needs a separator").hint("for example '\\n\\n'"));
            }
            let end = tokenizer.bos().or(tokenizer.end_of_generation().first().copied());
            let end = end.ok_or_else(|| Failure::new("the model has no token that begins or ends a text"))?;
            let documents = text.split(&separator).map(|text| text.trim_matches('\n'));
            let documents = documents.filter(|text| !text.is_empty());
            let tokens: Result<Vec<_>, _> =
                documents.map(|text| tokenizer.encode(text, EncodeOptions::default())).collect();
            windows::documents(&tokens.map_err(Failure::new)?, length, end)
        }
        None => {
            let options = EncodeOptions { bos: true, ..EncodeOptions::default() };
            let tokens = tokenizer.encode(text, options).map_err(Failure::new)?;
            let bos = tokenizer.bos().filter(|bos| tokens.first() == Some(bos));
            windows::cut(&tokens, length, args.all, bos)
        }
    };
    windows.truncate(args.windows.map_or(usize::MAX, NonZeroUsize::get));
    Ok(windows)
}

/// The original, which has to read the same tokens.
fn open_like(
    place: &Place,
    model: &Model,
    args: &PerplexityArgs,
    text: &str,
    windows: &[Window],
) -> Result<Model> {
    let original = place.open_as_it_is(&args.engine)?;
    if original.info().vocab != model.info().vocab || cut(&original, text, args)? != windows {
        return Err(Failure::new(format!("{}: another vocabulary than the model's", place.name()))
            .hint("--against takes the file that the model was made from"));
    }
    check_windows(&original, windows)?;
    Ok(original)
}

fn check_windows(model: &Model, windows: &[Window]) -> Result {
    let longest = windows.iter().map(|window| window.tokens.len()).max().unwrap_or(0);
    match longest <= model.context() {
        true => Ok(()),
        false => {
            Err(Failure::new(format!("windows of {longest} tokens: the context is {}", model.context()))
                .hint("--window makes them shorter, --ctx the context longer"))
        }
    }
}

/// The rows of a window that are read together; only the last ones' logits are wanted.
fn pieces(window: &Window, vocab: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let rows = (LOGITS / size_of::<f32>() / vocab).clamp(1, 512);
    let scored = window.scored.clone();
    scored.clone().step_by(rows).map(move |start| start..(start + rows).min(scored.end))
}

/// Logits of a piece, `[piece, vocab]`; the tokens before it that were not read yet are
/// read first.
fn feed(session: &mut Session, tokens: &[u32], piece: &Range<usize>) -> Result<Vec<f32>> {
    let read = session.tokens().len();
    if read < piece.start {
        session.feed(&tokens[read..piece.start])?;
    }
    Ok(session.feed_all(&tokens[piece.clone()])?)
}
