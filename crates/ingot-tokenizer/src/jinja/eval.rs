//! Runs the tree: statements, scopes and expressions.

use std::collections::HashMap;
use std::rc::Rc;

use super::ast::{Args, BinaryOp, Expr, For, Macro, Stmt, StmtKind};
use super::budget::Budget;
use super::value::{Loop, Str, Value, push};
use super::{filters, functions, methods, ops, predicates};

/// How deep statements, expressions and macro calls may recurse at run time.
/// A level takes about a kilobyte of stack.
const MAX_RECURSION: usize = 400;

/// Evaluated arguments.
#[derive(Debug, Default)]
pub(super) struct CallArgs {
    pub positional: Vec<Value>,
    pub named: Vec<(Str, Value)>,
}

impl CallArgs {
    /// The argument at `index`, or named `name`.
    pub(super) fn get(&self, index: usize, name: &str) -> Option<&Value> {
        self.positional.get(index).or_else(|| self.named.iter().find(|(n, _)| &**n == name).map(|(_, v)| v))
    }

    /// As [`Self::get`], for an argument that must be there.
    pub(super) fn require(&self, index: usize, name: &str) -> Result<&Value, String> {
        self.get(index, name).ok_or_else(|| format!("argument '{name}' is missing"))
    }
}

/// What a statement asks of the loop around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

type Scope = HashMap<Str, Value>;

/// One rendering in progress.
pub(super) struct Interpreter {
    /// The template's own scope first; loops and macros push theirs.
    scopes: Vec<Scope>,
    pub budget: Budget,
    depth: usize,
    /// The line of the statement being run, for messages.
    line: u32,
}

impl Interpreter {
    pub(super) fn new(variables: Vec<(Str, Value)>, budget: Budget) -> Self {
        Self { scopes: vec![variables.into_iter().collect()], budget, depth: 0, line: 1 }
    }

    /// Runs the template and returns its text.
    pub(super) fn run(mut self, body: &[Stmt]) -> Result<String, String> {
        let mut out = String::new();
        match self.body(body, &mut out) {
            Ok(_) => Ok(out),
            Err(message) => Err(format!("line {}: {message}", self.line)),
        }
    }

    fn enter(&mut self) -> Result<(), String> {
        self.budget.steps(1)?;
        self.depth += 1;
        if self.depth > MAX_RECURSION {
            return Err("macros or expressions are nested too deeply".into());
        }
        Ok(())
    }

    fn set(&mut self, name: &Str, value: Value) {
        // There is always a scope: the template's own is never popped.
        let scope = self.scopes.last_mut().expect("the template's scope");
        scope.insert(name.clone(), value);
    }

    fn lookup(&self, name: &str) -> Option<&Value> {
        self.scopes.iter().rev().find_map(|scope| scope.get(name))
    }

    fn emit(&mut self, text: &str, out: &mut String) -> Result<(), String> {
        if out.len() + text.len() > self.budget.max_output() {
            return Err(format!("the text is longer than {} bytes", self.budget.max_output()));
        }
        push(out, text, &mut self.budget)
    }

    fn body(&mut self, body: &[Stmt], out: &mut String) -> Result<Flow, String> {
        self.enter()?;
        for stmt in body {
            self.line = stmt.line;
            self.budget.steps(1)?;
            let flow = self.statement(&stmt.kind, out)?;
            if flow != Flow::Next {
                self.depth -= 1;
                return Ok(flow);
            }
        }
        self.depth -= 1;
        Ok(Flow::Next)
    }

    fn statement(&mut self, stmt: &StmtKind, out: &mut String) -> Result<Flow, String> {
        match stmt {
            StmtKind::Text(text) => self.emit(text, out)?,
            StmtKind::Print(expr) => {
                let value = self.eval(expr)?;
                let text = value.to_text(&mut self.budget)?;
                self.emit(&text, out)?;
            }
            StmtKind::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if self.eval(condition)?.is_true() {
                        return self.body(body, out);
                    }
                }
                return self.body(otherwise, out);
            }
            StmtKind::For(for_) => return self.for_loop(for_, out),
            StmtKind::Set { targets, value } => {
                let value = self.eval(value)?;
                self.assign(targets, value)?;
            }
            StmtKind::SetField { namespace, field, value } => {
                let value = self.eval(value)?;
                value.storable()?;
                let Some(Value::Namespace(fields)) = self.lookup(namespace) else {
                    return Err(format!("'{namespace}' is not a namespace"));
                };
                let fields = fields.clone();
                let mut fields = fields.borrow_mut();
                self.budget.steps(fields.len() / 8)?;
                match fields.iter_mut().find(|(name, _)| name == field) {
                    Some((_, old)) => *old = value,
                    None => fields.push((field.clone(), value)),
                }
            }
            StmtKind::SetBlock { name, body } => {
                let mut text = String::new();
                self.body(body, &mut text)?;
                self.set(name, Value::text(text));
            }
            StmtKind::Macro(definition) => self.set(&definition.name, Value::Macro(definition.clone())),
            StmtKind::Break => return Ok(Flow::Break),
            StmtKind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    /// Binds one name to `value`, or several to its items.
    fn assign(&mut self, targets: &[Str], value: Value) -> Result<(), String> {
        if let [target] = targets {
            self.set(target, value);
            return Ok(());
        }
        let items = value.iterate(&mut self.budget)?;
        if items.items.len() != targets.len() {
            return Err(format!("cannot unpack {} items into {} names", items.items.len(), targets.len()));
        }
        for (target, item) in targets.iter().zip(&items.items) {
            self.set(target, item.clone());
        }
        Ok(())
    }

    fn for_loop(&mut self, for_: &For, out: &mut String) -> Result<Flow, String> {
        let mut items = self.eval(&for_.items)?.iterate(&mut self.budget)?;
        if let Some(condition) = &for_.condition {
            self.budget.entries(items.items.len())?;
            let mut kept = Vec::new();
            self.scopes.push(Scope::new());
            for item in &items.items {
                self.assign(&for_.targets, item.clone())?;
                if self.eval(condition)?.is_true() {
                    kept.push(item.clone());
                }
            }
            self.scopes.pop();
            items = Value::list(kept)?.iterate(&mut self.budget)?;
        }
        if items.items.is_empty() {
            return self.body(&for_.otherwise, out);
        }
        let name: Str = "loop".into();
        for (index, item) in items.items.iter().enumerate() {
            self.budget.steps(2)?;
            let mut scope = Scope::new();
            scope.insert(name.clone(), Value::Loop(Rc::new(Loop { index, items: items.clone() })));
            self.scopes.push(scope);
            self.assign(&for_.targets, item.clone())?;
            let flow = self.body(&for_.body, out)?;
            self.scopes.pop();
            if flow == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    /// The value of an expression.
    fn eval(&mut self, expr: &Expr) -> Result<Value, String> {
        self.enter()?;
        let value = match expr {
            Expr::None => Value::None,
            Expr::Bool(b) => Value::Bool(*b),
            Expr::Int(i) => Value::Int(*i),
            Expr::Float(f) => Value::Float(*f),
            Expr::Str(text) => Value::Str(text.clone()),
            Expr::Name(name) => {
                self.budget.steps(self.scopes.len() / 4)?;
                self.lookup(name).cloned().unwrap_or(Value::Undefined)
            }
            Expr::List(items) => self.list(items)?,
            Expr::Map(entries) => self.map(entries)?,
            Expr::Attribute(value, name) => {
                let value = self.eval(value)?;
                ops::attribute(&value, name, &mut self.budget)?
            }
            Expr::Item(value, index) => {
                let value = self.eval(value)?;
                let index = self.eval(index)?;
                ops::item(&value, &index, &mut self.budget)?
            }
            Expr::Slice(value, bounds) => self.slice(value, bounds)?,
            Expr::Call(callee, args) => self.call(callee, args)?,
            Expr::Filter(value, name, args) => {
                let value = self.eval(value)?;
                let args = self.arguments(args)?;
                filters::apply(name, &value, &args, &mut self.budget)
                    .map_err(|message| format!("filter '{name}': {message}"))?
            }
            Expr::Test { value, name, args, negated } => {
                let value = self.eval(value)?;
                let args = self.arguments(args)?;
                let holds = predicates::test(name, &value, &args.positional, &mut self.budget)?;
                Value::Bool(holds != *negated)
            }
            Expr::Not(value) => Value::Bool(!self.eval(value)?.is_true()),
            Expr::Negate(value) => ops::negate(&self.eval(value)?)?,
            Expr::Binary(op, left, right) => self.binary(*op, left, right)?,
            Expr::Conditional { condition, then, otherwise } => {
                if self.eval(condition)?.is_true() {
                    self.eval(then)?
                } else {
                    otherwise.as_ref().map_or(Ok(Value::Undefined), |otherwise| self.eval(otherwise))?
                }
            }
        };
        self.depth -= 1;
        Ok(value)
    }

    fn list(&mut self, items: &[Expr]) -> Result<Value, String> {
        self.budget.entries(items.len())?;
        let items: Result<Vec<_>, String> = items.iter().map(|item| self.eval(item)).collect();
        Value::list(items?)
    }

    fn map(&mut self, entries: &[(Expr, Expr)]) -> Result<Value, String> {
        self.budget.entries(entries.len())?;
        let mut map: Vec<(Str, Value)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.eval(key)?.as_str().map_err(|e| format!("map key: {e}"))?.clone();
            let value = self.eval(value)?;
            self.budget.steps(map.len() / 8)?;
            match map.iter_mut().find(|(k, _)| *k == key) {
                Some((_, old)) => *old = value,
                None => map.push((key, value)),
            }
        }
        Value::map(map)
    }

    fn slice(&mut self, value: &Expr, bounds: &[Option<Box<Expr>>; 3]) -> Result<Value, String> {
        let value = self.eval(value)?;
        let mut evaluated = [None; 3];
        for (slot, bound) in evaluated.iter_mut().zip(bounds) {
            let Some(bound) = bound else { continue };
            match self.eval(bound)? {
                Value::None => {}
                bound => *slot = Some(bound.as_int()?),
            }
        }
        ops::slice(&value, evaluated, &mut self.budget)
    }

    fn binary(&mut self, op: BinaryOp, left: &Expr, right: &Expr) -> Result<Value, String> {
        let left = self.eval(left)?;
        match op {
            BinaryOp::And if !left.is_true() => return Ok(left),
            BinaryOp::Or if left.is_true() => return Ok(left),
            BinaryOp::And | BinaryOp::Or => return self.eval(right),
            _ => {}
        }
        let right = self.eval(right)?;
        ops::binary(op, &left, &right, &mut self.budget)
    }

    fn arguments(&mut self, args: &Args) -> Result<CallArgs, String> {
        let mut evaluated = CallArgs::default();
        for arg in &args.positional {
            evaluated.positional.push(self.eval(arg)?);
        }
        for (name, arg) in &args.named {
            evaluated.named.push((name.clone(), self.eval(arg)?));
        }
        Ok(evaluated)
    }

    fn call(&mut self, callee: &Expr, args: &Args) -> Result<Value, String> {
        match callee {
            Expr::Attribute(receiver, method) => {
                let receiver = self.eval(receiver)?;
                let args = self.arguments(args)?;
                methods::call(&receiver, method, &args, &mut self.budget)
            }
            Expr::Name(name) => {
                let args = self.arguments(args)?;
                match self.lookup(name) {
                    Some(Value::Macro(definition)) => {
                        let definition = definition.clone();
                        self.call_macro(&definition, args)
                    }
                    Some(other) => Err(format!("'{name}' is {}, not a function", other.kind())),
                    None => functions::call(name, &args, &mut self.budget),
                }
            }
            _ => Err("only functions, macros and methods can be called".into()),
        }
    }

    /// Runs a macro, which sees its parameters and the template's own scope.
    fn call_macro(&mut self, definition: &Macro, args: CallArgs) -> Result<Value, String> {
        let line = self.line;
        let mut scope = Scope::new();
        if args.positional.len() > definition.parameters.len() {
            return Err(format!(
                "macro '{}' takes {} arguments, {} were given",
                definition.name,
                definition.parameters.len(),
                args.positional.len()
            ));
        }
        for (index, (parameter, default)) in definition.parameters.iter().enumerate() {
            let value = match (args.get(index, parameter), default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => self.eval(default)?,
                (None, None) => Value::Undefined,
            };
            scope.insert(parameter.clone(), value);
        }
        let outer = self.scopes.split_off(1);
        self.scopes.push(scope);
        let mut text = String::new();
        self.body(&definition.body, &mut text)?;
        self.scopes.truncate(1);
        self.scopes.extend(outer);
        self.line = line;
        Ok(Value::text(text))
    }
}
