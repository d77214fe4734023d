//! A conversation and the session that has read it.

use crate::failure::{Failure, Result};
use crate::interrupt::Catching;
use crate::stream::{self, Read, Written};
use ingot::{Message, Model, Prompt, Request, Sampler, Session};
use serde_json::{Value, json};
use std::io;
use std::path::Path;

/// Messages and what the model has seen of them.
///
/// Every answer reads the whole conversation, of which only the end is new. The
/// past of `session` is usually its beginning; where it is not (another answer
/// is wanted, or the template writes earlier answers differently), that of
/// `before` may be, which matters to recurrent models: their state cannot go
/// back.
pub struct Conversation {
    model: Model,
    messages: Vec<Message>,
    session: Session,
    /// The session as it was before the last answer.
    before: Option<Session>,
}

/// What is to be answered.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// This message.
    New(&'a str),
    /// The last one once more, in other words.
    Again,
}

/// An answer and what it took.
pub struct Answer {
    /// What was new to the model.
    pub read: Read,
    /// The answer.
    pub written: Written,
}

impl Conversation {
    /// A conversation in which nothing was said, but perhaps something by the
    /// system.
    pub fn new(model: &Model, system: Option<&str>) -> Result<Self> {
        let messages = system.map(|text| Message::new("system", text)).into_iter().collect();
        Ok(Self { model: model.clone(), messages, session: model.session()?, before: None })
    }

    /// True if somebody has said something.
    pub fn has_begun(&self) -> bool {
        self.messages.iter().any(|m| m.role != "system")
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Tokens the model has seen, and how many it can if there is a limit.
    pub fn fill(&self) -> (usize, Option<usize>) {
        let limit = self.model.info().context.map(|_| self.model.context());
        (self.session.tokens().len(), limit)
    }

    /// Sets what comes before everything else; nothing, if the text is empty.
    pub fn set_system(&mut self, text: &str) {
        self.messages.retain(|m| m.role != "system");
        if !text.is_empty() {
            self.messages.insert(0, Message::new("system", text));
        }
    }

    /// Forgets what was said, except by the system.
    pub fn reset(&mut self) -> Result {
        self.messages.retain(|m| m.role == "system");
        self.before = None;
        self.session = self.model.session()?;
        Ok(())
    }

    /// Answers. If that fails, or is interrupted before the first word, the
    /// conversation is as it was before.
    pub fn ask(
        &mut self,
        question: Question,
        sampler: &mut Sampler,
        request: &Request,
        interrupt: &Catching,
        show: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<Answer> {
        let earlier = self.messages.clone();
        match question {
            Question::New(text) => self.messages.push(Message::new("user", text)),
            Question::Again => {
                let last = self.messages.pop_if(|m| m.role == "assistant");
                last.ok_or_else(|| Failure::new("there is no answer yet"))?;
            }
        }
        let answer = self.answer(sampler, request, interrupt, show);
        if !matches!(&answer, Ok(answer) if !answer.written.tokens.is_empty()) {
            self.messages = earlier;
        }
        answer
    }

    fn answer(
        &mut self,
        sampler: &mut Sampler,
        request: &Request,
        interrupt: &Catching,
        show: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<Answer> {
        let prompt = Prompt::of(self.model.tokenizer(), &self.messages, &Default::default());
        let Prompt { tokens, stop } = prompt.map_err(Failure::new)?;
        self.check_room(&tokens)?;
        let fits = |session: &Session| tokens.starts_with(session.tokens());
        if let Some(before) = self.before.take_if(|before| fits(before))
            && !fits(&self.session)
        {
            self.session = before;
        }
        let read = stream::read(&mut self.session, &tokens, interrupt)?;
        if interrupt.pressed() {
            return Ok(Answer { read, written: Written::nothing() });
        }
        self.before = Some(self.session.fork()?);
        let mut request = request.clone();
        request.stop.extend(stop.map(str::to_owned));
        let written = stream::write(&mut self.session, sampler, &request, interrupt, show)?;
        self.messages.push(Message::new("assistant", &written.text));
        Ok(Answer { read, written })
    }

    /// Says before anything is read that there is no room for an answer.
    fn check_room(&self, tokens: &[u32]) -> Result {
        let context = self.model.context();
        match tokens.len() < context {
            true => Ok(()),
            false => Err(Failure::new(format!(
                "the conversation has {} tokens, the context holds {context}",
                tokens.len()
            ))
            .hint("/reset begins a new one; --ctx sets the size of the context")),
        }
    }

    /// Saves the conversation and what the model made of it.
    pub fn save(&self, path: &Path) -> Result {
        let messages: Vec<Value> =
            self.messages.iter().map(|m| json!({ "role": m.role, "content": m.content })).collect();
        Ok(self.session.save(path, &json!({ "messages": messages }).to_string())?)
    }

    /// Goes on with a saved conversation.
    pub fn load(&mut self, path: &Path) -> Result {
        let (session, notes) = Session::load(&self.model, path)?;
        self.messages = messages(&notes).ok_or_else(|| {
            Failure::new(format!("{}: the saved session holds no conversation", path.display()))
                .hint("it was perhaps saved by `ingot run`, which can continue it with --load")
        })?;
        self.session = session;
        self.before = None;
        Ok(())
    }
}

/// The messages in a session's notes.
fn messages(notes: &str) -> Option<Vec<Message>> {
    let notes: Value = serde_json::from_str(notes).ok()?;
    let message = |m: &Value| Some(Message::new(m["role"].as_str()?, m["content"].as_str()?));
    notes["messages"].as_array()?.iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_checked() {
        let good = r#"{"messages":[{"role":"user","content":"x"}]}"#;
        assert_eq!(messages(good), Some(vec![Message::new("user", "x")]));
        for bad in ["", "{}", "[]", r#"{"messages":[{"role":1,"content":"x"}]}"#] {
            assert_eq!(messages(bad), None, "{bad}");
        }
    }
}
