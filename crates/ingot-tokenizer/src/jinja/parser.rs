//! Tokens to statements: a recursive-descent parser with bounded recursion.

use std::sync::Arc;

use super::ast::{Args, Expr, For, Macro, Stmt, StmtKind};
use super::lexer::{Spanned, Token};
use super::value::Str;

mod expr;

/// How deep `if`, `for`, `set` and `macro` blocks may be nested.
const MAX_BLOCK_DEPTH: usize = 64;

/// Parses a whole template.
pub(super) fn parse(tokens: Vec<Spanned>) -> Result<Vec<Stmt>, String> {
    let mut parser = Parser { tokens, at: 0, block_depth: 0, loop_depth: 0, expr_nodes: 0, nesting: 0 };
    parser.body(&[])
}

struct Parser {
    tokens: Vec<Spanned>,
    at: usize,
    block_depth: usize,
    loop_depth: usize,
    expr_nodes: usize,
    nesting: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is `End`, and nothing advances past it.
        &self.tokens[self.at].0
    }

    fn line(&self) -> u32 {
        self.tokens[self.at].1
    }

    fn next(&mut self) -> Token {
        let token = self.tokens[self.at].0.clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    fn fail<T>(&self, message: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("line {}: {message}", self.line()))
    }

    fn expected<T>(&self, what: &str) -> Result<T, String> {
        self.fail(format_args!("expected {what}, found {}", describe(self.peek())))
    }

    fn at_op(&self, op: &str) -> bool {
        matches!(self.peek(), Token::Op(o) if *o == op)
    }

    fn take_op(&mut self, op: &str) -> bool {
        let found = self.at_op(op);
        if found {
            self.next();
        }
        found
    }

    fn expect_op(&mut self, op: &str) -> Result<(), String> {
        if self.take_op(op) { Ok(()) } else { self.expected(&format!("'{op}'")) }
    }

    fn at_name(&self, name: &str) -> bool {
        matches!(self.peek(), Token::Name(n) if &**n == name)
    }

    fn take_name(&mut self, name: &str) -> bool {
        let found = self.at_name(name);
        if found {
            self.next();
        }
        found
    }

    fn expect_name(&mut self, name: &str) -> Result<(), String> {
        if self.take_name(name) { Ok(()) } else { self.expected(&format!("'{name}'")) }
    }

    fn identifier(&mut self) -> Result<Str, String> {
        match self.peek() {
            Token::Name(name) => {
                let name = name.clone();
                self.next();
                Ok(name)
            }
            _ => self.expected("a name"),
        }
    }

    fn block_end(&mut self) -> Result<(), String> {
        if *self.peek() != Token::BlockEnd {
            return self.expected("'%}'");
        }
        self.next();
        Ok(())
    }

    /// Statements up to a block whose keyword is one of `ends`, which stays
    /// unread after its `{%`. Without `ends`, up to the end of the template.
    fn body(&mut self, ends: &[&str]) -> Result<Vec<Stmt>, String> {
        if self.block_depth == MAX_BLOCK_DEPTH {
            return self.fail(format_args!("blocks are nested more than {MAX_BLOCK_DEPTH} deep"));
        }
        self.block_depth += 1;
        let mut body = Vec::new();
        loop {
            let line = self.line();
            match self.next() {
                Token::Text(text) => body.push(Stmt { line, kind: StmtKind::Text(text) }),
                Token::PrintBegin => {
                    let kind = StmtKind::Print(self.expression()?);
                    if *self.peek() != Token::PrintEnd {
                        return self.expected("'}}'");
                    }
                    self.next();
                    body.push(Stmt { line, kind });
                }
                Token::BlockBegin => {
                    if ends.iter().any(|end| self.at_name(end)) {
                        break;
                    }
                    if let Some(kind) = self.statement()? {
                        body.push(Stmt { line, kind });
                    }
                }
                Token::End if ends.is_empty() => break,
                _ => {
                    return self.fail(format_args!(
                        "the template ends, but {{% {} %}} is missing",
                        ends.join(" or ")
                    ));
                }
            }
        }
        self.block_depth -= 1;
        Ok(body)
    }

    /// A statement after its `{%`; none for tags that mean nothing here.
    fn statement(&mut self) -> Result<Option<StmtKind>, String> {
        let line = self.line();
        let keyword = self.identifier()?;
        let kind = match &*keyword {
            "if" => self.if_statement()?,
            "for" => self.for_statement()?,
            "set" => self.set_statement()?,
            "macro" => self.macro_statement()?,
            "break" | "continue" => {
                if self.loop_depth == 0 {
                    return self.fail(format_args!("'{keyword}' outside of a loop"));
                }
                self.block_end()?;
                if &*keyword == "break" { StmtKind::Break } else { StmtKind::Continue }
            }
            // Marks the assistant's part for training; the text is the same.
            "generation" | "endgeneration" => {
                self.block_end()?;
                return Ok(None);
            }
            other => {
                return Err(format!("line {line}: '{other}' blocks are not supported in chat templates"));
            }
        };
        Ok(Some(kind))
    }

    fn if_statement(&mut self) -> Result<StmtKind, String> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            let condition = self.expression()?;
            self.block_end()?;
            branches.push((condition, self.body(&["elif", "else", "endif"])?));
            if self.take_name("elif") {
                continue;
            }
            if self.take_name("else") {
                self.block_end()?;
                otherwise = self.body(&["endif"])?;
            }
            self.expect_name("endif")?;
            self.block_end()?;
            return Ok(StmtKind::If { branches, otherwise });
        }
    }

    fn targets(&mut self) -> Result<Vec<Str>, String> {
        let parenthesized = self.take_op("(");
        let mut targets = vec![self.identifier()?];
        while self.take_op(",") {
            targets.push(self.identifier()?);
        }
        if parenthesized {
            self.expect_op(")")?;
        }
        Ok(targets)
    }

    fn for_statement(&mut self) -> Result<StmtKind, String> {
        let targets = self.targets()?;
        self.expect_name("in")?;
        let items = self.expression_without_condition()?;
        let condition = if self.take_name("if") { Some(self.expression()?) } else { None };
        if self.at_name("recursive") {
            return self.fail("recursive loops are not supported");
        }
        self.block_end()?;
        self.loop_depth += 1;
        let body = self.body(&["else", "endfor"])?;
        self.loop_depth -= 1;
        let mut otherwise = Vec::new();
        if self.take_name("else") {
            self.block_end()?;
            otherwise = self.body(&["endfor"])?;
        }
        self.expect_name("endfor")?;
        self.block_end()?;
        Ok(StmtKind::For(Box::new(For { targets, items, condition, body, otherwise })))
    }

    fn set_statement(&mut self) -> Result<StmtKind, String> {
        let mut targets = self.targets()?;
        if targets.len() == 1 && self.take_op(".") {
            let field = self.identifier()?;
            self.expect_op("=")?;
            let value = self.tuple()?;
            self.block_end()?;
            return Ok(StmtKind::SetField { namespace: targets.remove(0), field, value });
        }
        if self.take_op("=") {
            let value = self.tuple()?;
            self.block_end()?;
            return Ok(StmtKind::Set { targets, value });
        }
        if targets.len() != 1 {
            return self.expected("'='");
        }
        self.block_end()?;
        let body = self.body(&["endset"])?;
        self.expect_name("endset")?;
        self.block_end()?;
        Ok(StmtKind::SetBlock { name: targets.remove(0), body })
    }

    fn macro_statement(&mut self) -> Result<StmtKind, String> {
        let name = self.identifier()?;
        self.expect_op("(")?;
        let mut parameters = Vec::new();
        while !self.take_op(")") {
            let parameter = self.identifier()?;
            let default = if self.take_op("=") { Some(self.expression()?) } else { None };
            parameters.push((parameter, default));
            if !self.at_op(")") {
                self.expect_op(",")?;
            }
        }
        self.block_end()?;
        // A loop around the macro is not a loop inside it.
        let loop_depth = std::mem::take(&mut self.loop_depth);
        let body = self.body(&["endmacro"])?;
        self.loop_depth = loop_depth;
        self.expect_name("endmacro")?;
        if let Token::Name(_) = self.peek() {
            self.next();
        }
        self.block_end()?;
        Ok(StmtKind::Macro(Arc::new(Macro { name, parameters, body })))
    }
}

fn describe(token: &Token) -> String {
    match token {
        Token::Text(_) => "text".into(),
        Token::BlockBegin => "'{%'".into(),
        Token::BlockEnd => "'%}'".into(),
        Token::PrintBegin => "'{{'".into(),
        Token::PrintEnd => "'}}'".into(),
        Token::Name(name) => format!("'{name}'"),
        Token::Str(_) => "a string".into(),
        Token::Int(_) | Token::Float(_) => "a number".into(),
        Token::Op(op) => format!("'{op}'"),
        Token::End => "the end of the template".into(),
    }
}
