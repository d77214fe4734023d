//! `ingot tokenize`: text to ids and back.

use super::{parse_ids, piped_input};
use crate::cli::TokenizeArgs;
use crate::failure::{Failure, Result};
use crate::models::Place;
use crate::term::{DIM, printable};
use ingot::{EncodeOptions, Tokenizer};
use serde_json::{Value, json};
use std::io::{self, Write};

pub fn run(args: &TokenizeArgs) -> Result {
    let place = Place::find(args.model.model.as_deref())?;
    let file = place.read()?;
    let tokenizer = Tokenizer::open(&file).map_err(|e| Failure::new(format!("{}: {e}", place.name())))?;
    let ids = match &args.decode {
        Some(ids) => {
            let ids = parse_ids(ids)?;
            check_ids(&tokenizer, &ids)?;
            ids
        }
        None => {
            let options = EncodeOptions { special: args.special, bos: args.bos };
            tokenizer.encode(&text(args)?, options).map_err(Failure::new)?
        }
    };

    if args.json {
        let tokens: Vec<Value> = ids.iter().map(|&id| describe(&tokenizer, id)).collect();
        let object = json!({ "text": tokenizer.decode(&ids), "ids": ids, "tokens": tokens });
        return Ok(writeln!(io::stdout(), "{object}")?);
    }
    if args.decode.is_some() {
        return Ok(writeln!(io::stdout(), "{}", tokenizer.decode(&ids))?);
    }
    let mut out = anstream::stdout().lock();
    if args.ids {
        let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
        return Ok(writeln!(out, "{}", ids.join(","))?);
    }
    let width = ids.iter().max().map_or(1, |id| id.to_string().len());
    for &id in &ids {
        writeln!(out, "{DIM}{id:>width$}{DIM:#}  {}", printable(&shown(&tokenizer, id)))?;
    }
    Ok(writeln!(out, "{DIM}{}{DIM:#}", crate::units::plural(ids.len(), "token"))?)
}

fn text(args: &TokenizeArgs) -> Result<String> {
    if !args.words.is_empty() {
        return Ok(args.words.join(" "));
    }
    piped_input()?.ok_or_else(|| {
        Failure::usage("there is no text").hint("`ingot tokenize \"Hello world\"`, or pipe a text in")
    })
}

fn check_ids(tokenizer: &Tokenizer, ids: &[u32]) -> Result {
    match ids.iter().find(|&&id| id as usize >= tokenizer.vocab_size()) {
        Some(id) => Err(Failure::new(format!(
            "token id {id} is outside of the vocabulary of {}",
            tokenizer.vocab_size()
        ))),
        None => Ok(()),
    }
}

/// A token as a string literal; a special one by its bare name.
fn shown(tokenizer: &Tokenizer, id: u32) -> String {
    let text = tokenizer.token_text(id);
    if tokenizer.is_special(id) { text } else { format!("\"{text}\"") }
}

fn describe(tokenizer: &Tokenizer, id: u32) -> Value {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    json!({
        "id": id,
        "text": String::from_utf8_lossy(&bytes),
        "bytes": bytes.to_vec(),
        "special": tokenizer.is_special(id),
    })
}
