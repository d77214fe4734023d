//! `ingot run`: one prompt, one text.

use super::{check_context, piped_input};
use crate::cli::{Output, RunArgs};
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::models::{Place, is_model_file};
use crate::stats::Stats;
use crate::stream::{self, Read, Written};
use crate::term::TextOut;
use ingot::{EncodeOptions, Message, Model, Sampler, Session};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub fn run(mut args: RunArgs) -> Result {
    let sampling = args.sampling.options();
    let mut sampler = Sampler::new(sampling)?;
    adopt_model_word(&mut args);
    let place = Place::find(args.model.model.as_deref())?;
    let prompt = prompt(&args)?;
    let interrupt = Interrupt::install()?;

    let start = Instant::now();
    let model = place.open(&args.engine)?;
    check_context(&model);
    let (mut session, past) = match &args.load {
        None => (model.session()?, Vec::new()),
        Some(path) => {
            let (session, _) = Session::load(&model, path)?;
            let past = session.tokens().to_vec();
            (session, past)
        }
    };
    let load = start.elapsed();

    let mut tokens = [past, encode(&args, &model, prompt.as_deref())?].concat();
    if tokens.is_empty() {
        // An empty prompt: a text from its very beginning.
        tokens.extend(model.tokenizer().bos());
    }
    if tokens.is_empty() {
        return Err(Failure::usage("the prompt is empty, and this model cannot begin with nothing"));
    }
    let catching = interrupt.catch();
    let read = stream::read(&mut session, &tokens, &catching)?;
    let mut out = TextOut::new();
    let written = match catching.pressed() {
        true => Written::nothing(),
        false => stream::write(&mut session, &mut sampler, &args.limits.request(), &catching, |text| {
            if args.output() == Output::Text { out.write(text) } else { Ok(()) }
        })?,
    };
    let interrupted = catching.pressed();
    drop(catching);

    out.end_line()?;
    let stats = stats(load, &read, &written, &sampler);
    if args.output() == Output::Json {
        writeln!(io::stdout(), "{}", stats.json(&place.name(), &written))?;
    }
    if args.stats || !args.no_stats && (args.output() == Output::None || io::stderr().is_terminal()) {
        stats.show();
    }
    if let Some(path) = &args.save {
        session.save(path, "")?;
    }
    if interrupted { Err(Failure::Interrupted) } else { Ok(()) }
}

/// A first word that is a model file or begins with `hf:` is meant as the model:
/// other programs take it there.
fn adopt_model_word(args: &mut RunArgs) {
    if crate::own::own().is_none()
        && args.model.model.is_none()
        && let Some(word) = args.words.first().map(PathBuf::from)
        && (is_model_file(&word) && word.exists() || word.to_str().is_some_and(|w| w.starts_with("hf:")))
    {
        args.model.model = Some(word);
        args.words.remove(0);
    }
}

/// The prompt from the command line, then what was piped in. `None` only for a
/// saved session that needs none.
fn prompt(args: &RunArgs) -> Result<Option<String>> {
    let typed = args.prompt.clone().or_else(|| (!args.words.is_empty()).then(|| args.words.join(" ")));
    let piped = piped_input()?.filter(|text| !text.is_empty());
    match (typed, piped) {
        (Some(typed), Some(piped)) => Ok(Some(format!("{typed}\n{piped}"))),
        (None, None) if args.load.is_none() => {
            let [run, chat] = ["run", "chat"].map(crate::own::typed);
            Err(Failure::usage("there is no prompt")
                .hint(format!("`{run} \"Once upon a time\"` continues a text, `{chat}` talks")))
        }
        (typed, piped) => Ok(typed.or(piped)),
    }
}

/// The tokens to read: through the chat template if there is one and nothing
/// speaks against it.
fn encode(args: &RunArgs, model: &Model, prompt: Option<&str>) -> Result<Vec<u32>> {
    let tokenizer = model.tokenizer();
    let Some(prompt) = prompt else { return Ok(Vec::new()) };
    let plain = args.raw || args.load.is_some();
    if plain || tokenizer.chat_template().is_none() {
        // With --raw or --load it can only be what a program was cast with.
        if args.system.is_some() && !plain {
            return Err(Failure::usage("--system needs a model with a chat template, which this one lacks")
                .hint("put the instructions into the prompt"));
        }
        let options = EncodeOptions { special: false, bos: args.load.is_none() };
        return tokenizer.encode(prompt, options).map_err(Failure::new);
    }
    let system = args.system.iter().map(|text| Message::new("system", text));
    let messages: Vec<_> = system.chain([Message::new("user", prompt)]).collect();
    let tokens = tokenizer.encode_chat(&messages, true, &Default::default());
    Ok(tokens
        .map_err(|e| Failure::new(e).hint("--raw continues the prompt without the chat template"))?
        .unwrap_or_default())
}

fn stats(load: Duration, read: &Read, written: &Written, sampler: &Sampler) -> Stats {
    Stats {
        load,
        prompt_tokens: read.tokens,
        prefill: read.time,
        generated: written.tokens.len(),
        decode: written.time,
        finish: written.finish,
        seed: (sampler.options().temperature > 0.0).then_some(sampler.options().seed),
    }
}
