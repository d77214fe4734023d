//! The tree that a template is parsed into.

use super::value::Str;

/// A statement with the line it starts on.
#[derive(Debug)]
pub(super) struct Stmt {
    pub line: u32,
    pub kind: StmtKind,
}

#[derive(Debug)]
pub(super) enum StmtKind {
    /// Text outside tags.
    Text(Str),
    /// `{{ expr }}`
    Print(Expr),
    /// `{% if %}`: the branches in order, then `else`.
    If {
        branches: Vec<(Expr, Vec<Stmt>)>,
        otherwise: Vec<Stmt>,
    },
    For(Box<For>),
    /// `{% set a, b = value %}`
    Set {
        targets: Vec<Str>,
        value: Expr,
    },
    /// `{% set namespace.field = value %}`
    SetField {
        namespace: Str,
        field: Str,
        value: Expr,
    },
    /// `{% set name %}body{% endset %}`
    SetBlock {
        name: Str,
        body: Vec<Stmt>,
    },
    Macro(std::sync::Arc<Macro>),
    Break,
    Continue,
}

/// `{% for targets in items if condition %}body{% else %}otherwise{% endfor %}`
#[derive(Debug)]
pub(super) struct For {
    pub targets: Vec<Str>,
    pub items: Expr,
    pub condition: Option<Expr>,
    pub body: Vec<Stmt>,
    pub otherwise: Vec<Stmt>,
}

/// `{% macro name(parameter=default) %}body{% endmacro %}`
#[derive(Debug)]
pub(super) struct Macro {
    pub name: Str,
    pub parameters: Vec<(Str, Option<Expr>)>,
    pub body: Vec<Stmt>,
}

#[derive(Debug)]
pub(super) enum Expr {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Str),
    Name(Str),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Attribute(Box<Expr>, Str),
    Item(Box<Expr>, Box<Expr>),
    /// `value[start:stop:step]`
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, Args),
    Filter(Box<Expr>, Str, Args),
    Test {
        value: Box<Expr>,
        name: Str,
        args: Args,
        negated: bool,
    },
    Not(Box<Expr>),
    Negate(Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `then if condition else otherwise`
    Conditional {
        condition: Box<Expr>,
        then: Box<Expr>,
        otherwise: Option<Box<Expr>>,
    },
}

/// Arguments of a call, filter or test.
#[derive(Debug, Default)]
pub(super) struct Args {
    pub positional: Vec<Expr>,
    pub named: Vec<(Str, Expr)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
    NotIn,
    Add,
    Subtract,
    Concat,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}
