//! `ingot chat`: a conversation in the terminal.

mod conversation;
mod input;

use super::check_context;
use crate::cli::ChatArgs;
use crate::failure::{Failure, Result};
use crate::interrupt::Interrupt;
use crate::models::Place;
use crate::stats::Stats;
use crate::term::{DIM, HEADING, TextOut, printable};
use conversation::{Answer, Conversation, Question};
use ingot::{Finish, Model, Request, Sampler, SamplerOptions};
use input::{Input, Line};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const HELP: &str = "\
/help           this list
/reset          forget the conversation
/regen          another answer to the last message
/system TEXT    set the instructions that come before the conversation
/save FILE      save the conversation
/load FILE      go on with a saved one
/stats          what the last answer took, and how full the context is
/exit           leave (or ctrl-D)

A line that ends in \\ goes on in the next one; so does everything between
\"\"\" and \"\"\". Ctrl-C stops an answer.";

pub fn run(args: ChatArgs) -> Result {
    let sampling = args.sampling.options();
    Sampler::new(sampling.clone())?;
    let place = Place::find(args.model.path())?;
    let interrupt = Interrupt::install()?;
    let start = Instant::now();
    let model = place.open(&args.engine)?;
    check_context(&model);
    let mut input = Input::open()?;
    let mut chat = Chat {
        conversation: Conversation::new(&model, args.system.as_deref())?,
        request: args.limits.request(),
        interrupt,
        sampling,
        load: start.elapsed(),
        last: None,
        spacious: input.is_terminal() && !args.json,
        json: args.json.then(|| place.name()),
    };
    if let Some(path) = &args.load {
        chat.conversation.load(path)?;
    }
    if input.is_terminal() {
        greet(&place, &model);
        chat.show_past();
    }
    chat.talk(&mut input)
}

fn greet(place: &Place, model: &Model) {
    let info = model.info();
    let name = info.name.clone().unwrap_or_else(|| place.name());
    let parameters = crate::units::count(info.parameters as u64);
    crate::say!(
        "{HEADING}{}{HEADING:#} {DIM}{}, {parameters} parameters. /help for help, ctrl-D to leave.{DIM:#}",
        printable(&name),
        info.family
    );
    if model.tokenizer().chat_template().is_none() {
        crate::say!(
            "{DIM}This model has no chat template: it reads plain \"User:\" and \"Assistant:\", which it may \
             not have been trained for.{DIM:#}"
        );
    }
}

struct Chat {
    conversation: Conversation,
    sampling: SamplerOptions,
    request: Request,
    interrupt: Interrupt,
    load: Duration,
    /// What the last answer took.
    last: Option<Stats>,
    /// An empty line after every answer.
    spacious: bool,
    /// The model's name, if answers are objects.
    json: Option<String>,
}

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Listen,
    Leave,
}

impl Chat {
    fn talk(&mut self, input: &mut Input) -> Result {
        let mut leaving = false;
        loop {
            match input.message()? {
                Line::End => return Ok(()),
                Line::Interrupted if leaving => return Ok(()),
                Line::Interrupted => {
                    leaving = true;
                    crate::say!("{DIM}ctrl-C again or ctrl-D to leave{DIM:#}");
                    continue;
                }
                Line::Text(text) => match self.hear(&text) {
                    Ok(Next::Listen) => {}
                    Ok(Next::Leave) => return Ok(()),
                    Err(Failure::ReaderLeft) => return Err(Failure::ReaderLeft),
                    // A program that feeds us questions must learn of it; a person goes on.
                    Err(failure) if !input.is_terminal() => return Err(failure),
                    Err(failure) => failure.show(),
                },
            }
            leaving = false;
        }
    }

    fn hear(&mut self, text: &str) -> Result<Next> {
        if text.trim().is_empty() {
            return Ok(Next::Listen);
        }
        if text.starts_with('/') {
            return self.command(text.trim());
        }
        self.answer(Question::New(text))?;
        Ok(Next::Listen)
    }

    fn command(&mut self, line: &str) -> Result<Next> {
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = rest.trim();
        let file = || match rest {
            "" => Err(Failure::new(format!("{name} needs the name of a file"))),
            path => Ok(Path::new(path)),
        };
        match name {
            "/help" | "/?" => crate::say!("{HELP}"),
            "/exit" | "/quit" | "/bye" => return Ok(Next::Leave),
            "/reset" | "/clear" => {
                self.conversation.reset()?;
                note("The conversation begins anew.");
            }
            "/regen" => self.answer(Question::Again)?,
            "/system" => {
                self.conversation.set_system(rest);
                note(match (rest.is_empty(), self.conversation.has_begun()) {
                    (true, _) => "There are no instructions now.",
                    (false, false) => "The instructions are set.",
                    (false, true) => "The instructions are set; the conversation is read again with them.",
                });
            }
            "/save" => {
                let path = file()?;
                self.conversation.save(path)?;
                note(&format!("Saved to {}.", path.display()));
            }
            "/load" => {
                self.conversation.load(file()?)?;
                self.show_past();
            }
            "/stats" => self.show_stats(),
            _ => {
                return Err(Failure::new(format!("there is no command {}", crate::units::shortened(name)))
                    .hint("/help lists them; a space before the / makes it a message"));
            }
        }
        Ok(Next::Listen)
    }

    /// Shows an answer as it comes, or as an object when it is complete.
    fn answer(&mut self, question: Question) -> Result {
        let mut sampler = Sampler::new(self.sampling.clone())?;
        let mut out = TextOut::new();
        let catching = self.interrupt.catch();
        let show = |text: &str| if self.json.is_some() { Ok(()) } else { out.write(text) };
        let answer = self.conversation.ask(question, &mut sampler, &self.request, &catching, show);
        drop(catching);
        out.end_line()?;
        if self.spacious {
            crate::say!();
        }
        let Answer { read, written } = answer?;
        // Another answer to the same question must not be the same answer.
        self.sampling.seed = self.sampling.seed.wrapping_add(1);
        match written.finish {
            Finish::Context => note("The context is full. /reset begins a new conversation."),
            Finish::Cancelled => note("Interrupted."),
            _ => {}
        }
        let stats = Stats {
            load: self.load,
            prompt_tokens: read.tokens,
            prefill: read.time,
            generated: written.tokens.len(),
            decode: written.time,
            finish: written.finish,
            seed: (self.sampling.temperature > 0.0).then_some(sampler.options().seed),
        };
        if let Some(model) = &self.json {
            writeln!(io::stdout(), "{}", stats.json(model, &written))?;
        }
        self.last = Some(stats);
        Ok(())
    }

    fn show_stats(&self) {
        if let Some(stats) = &self.last {
            stats.show();
        }
        let (seen, limit) = self.conversation.fill();
        let limit = limit.map_or(String::new(), |n| format!(" of {n}"));
        note(&format!("The model has seen {seen}{limit} tokens."));
    }

    /// What was said before, after loading it.
    fn show_past(&self) {
        for message in self.conversation.messages() {
            note(&format!("{}: {}", message.role, message.content.trim()));
        }
    }
}

/// Says something beside the conversation.
fn note(text: &str) {
    crate::say!("{DIM}{}{DIM:#}", printable(text));
}
