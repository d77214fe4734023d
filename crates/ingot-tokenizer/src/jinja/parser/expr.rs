//! Expressions, by precedence from the loosest to the tightest.

use super::{Args, Expr, Parser, Token};
use crate::jinja::ast::BinaryOp;

/// Most operators, brackets and calls in one expression. It bounds the depth of
/// the tree whatever its shape: of parentheses as of `a ~ b ~ c ~ ...`.
const MAX_EXPR_NODES: usize = 400;
/// How deep brackets may be nested. A level takes about five kilobytes of stack
/// without optimization, for it passes through every level of precedence.
const MAX_NESTING: usize = 64;

const COMPARISONS: [(&str, BinaryOp); 6] = [
    ("==", BinaryOp::Equal),
    ("!=", BinaryOp::NotEqual),
    ("<", BinaryOp::Less),
    ("<=", BinaryOp::LessEqual),
    (">", BinaryOp::Greater),
    (">=", BinaryOp::GreaterEqual),
];
/// Left-associative levels below comparisons, loosest first.
const LEVELS: [&[(&str, BinaryOp)]; 3] = [
    &[("+", BinaryOp::Add), ("-", BinaryOp::Subtract)],
    &[("~", BinaryOp::Concat)],
    &[
        ("*", BinaryOp::Multiply),
        ("/", BinaryOp::Divide),
        ("//", BinaryOp::FloorDivide),
        ("%", BinaryOp::Remainder),
    ],
];

impl Parser {
    /// A whole expression with a fresh allowance of operators.
    pub(super) fn expression(&mut self) -> Result<Expr, String> {
        self.expr_nodes = 0;
        self.conditional()
    }

    /// The items of a loop, where `if` begins the loop's own condition.
    pub(super) fn expression_without_condition(&mut self) -> Result<Expr, String> {
        self.expr_nodes = 0;
        self.or()
    }

    /// The right side of `set`: several values without brackets are a list.
    pub(super) fn tuple(&mut self) -> Result<Expr, String> {
        let first = self.expression()?;
        if !self.at_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.take_op(",") {
            items.push(self.conditional()?);
        }
        Ok(Expr::List(items))
    }

    fn node(&mut self) -> Result<(), String> {
        self.expr_nodes += 1;
        if self.expr_nodes > MAX_EXPR_NODES {
            return self
                .fail(format_args!("an expression has more than {MAX_EXPR_NODES} operators and brackets"));
        }
        Ok(())
    }

    fn conditional(&mut self) -> Result<Expr, String> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.fail(format_args!("brackets are nested more than {MAX_NESTING} deep"));
        }
        let mut expr = self.or()?;
        while self.take_name("if") {
            self.node()?;
            let condition = Box::new(self.or()?);
            let otherwise = if self.take_name("else") { Some(Box::new(self.conditional()?)) } else { None };
            expr = Expr::Conditional { condition, then: Box::new(expr), otherwise };
        }
        self.nesting -= 1;
        Ok(expr)
    }

    fn binary(&mut self, op: BinaryOp, left: Expr, right: Expr) -> Result<Expr, String> {
        self.node()?;
        Ok(Expr::Binary(op, Box::new(left), Box::new(right)))
    }

    fn or(&mut self) -> Result<Expr, String> {
        let mut left = self.and()?;
        while self.take_name("or") {
            let right = self.and()?;
            left = self.binary(BinaryOp::Or, left, right)?;
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr, String> {
        let mut left = self.not()?;
        while self.take_name("and") {
            let right = self.not()?;
            left = self.binary(BinaryOp::And, left, right)?;
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr, String> {
        if self.take_name("not") {
            self.node()?;
            return Ok(Expr::Not(Box::new(self.not()?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr, String> {
        let left = self.level(0)?;
        let Some(op) = self.comparison_operator() else { return Ok(left) };
        let right = self.level(0)?;
        if self.comparison_operator().is_some() {
            return self.fail("chained comparisons are not supported; write 'a < b and b < c'");
        }
        self.binary(op, left, right)
    }

    fn comparison_operator(&mut self) -> Option<BinaryOp> {
        if let Token::Op(op) = *self.peek() {
            let found = COMPARISONS.iter().find(|(text, _)| *text == op)?.1;
            self.next();
            return Some(found);
        }
        if self.take_name("in") {
            return Some(BinaryOp::In);
        }
        let not_in = self.at_name("not")
            && matches!(self.tokens.get(self.at + 1), Some((Token::Name(n), _)) if &**n == "in");
        if not_in {
            self.next();
            self.next();
        }
        not_in.then_some(BinaryOp::NotIn)
    }

    fn level(&mut self, level: usize) -> Result<Expr, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary(true) };
        let mut left = self.level(level + 1)?;
        while let Token::Op(op) = *self.peek()
            && let Some((_, op)) = operators.iter().find(|(text, _)| *text == op)
        {
            self.next();
            let right = self.level(level + 1)?;
            left = self.binary(*op, left, right)?;
        }
        Ok(left)
    }

    fn unary(&mut self, with_filters: bool) -> Result<Expr, String> {
        let mut expr = if self.take_op("-") {
            self.node()?;
            Expr::Negate(Box::new(self.unary(false)?))
        } else if self.take_op("+") {
            self.node()?;
            self.unary(false)?
        } else {
            let primary = self.primary()?;
            self.postfix(primary)?
        };
        if self.take_op("**") {
            let exponent = self.unary(false)?;
            expr = self.binary(BinaryOp::Power, expr, exponent)?;
        }
        if with_filters { self.filters(expr) } else { Ok(expr) }
    }

    fn primary(&mut self) -> Result<Expr, String> {
        self.node()?;
        let start = self.at;
        match self.next() {
            Token::Name(name) => Ok(match &*name {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ => Expr::Name(name),
            }),
            Token::Int(i) => Ok(Expr::Int(i)),
            Token::Float(f) => Ok(Expr::Float(f)),
            Token::Str(text) => {
                // Adjacent strings are one string.
                let mut text = text;
                while let Token::Str(more) = self.peek() {
                    text = [&*text, &**more].concat().into();
                    self.next();
                    self.node()?;
                }
                Ok(Expr::Str(text))
            }
            Token::Op("(") => {
                if self.take_op(")") {
                    return Ok(Expr::List(Vec::new()));
                }
                let first = self.conditional()?;
                if self.take_op(")") {
                    return Ok(first);
                }
                self.expect_op(",")?;
                let mut items = vec![first];
                items.extend(self.items(")")?);
                Ok(Expr::List(items))
            }
            Token::Op("[") => Ok(Expr::List(self.items("]")?)),
            Token::Op("{") => self.map(),
            _ => {
                self.at = start;
                self.expected("a value")
            }
        }
    }

    /// Comma-separated expressions up to and including `close`.
    fn items(&mut self, close: &str) -> Result<Vec<Expr>, String> {
        let mut items = Vec::new();
        while !self.take_op(close) {
            items.push(self.conditional()?);
            if !self.at_op(close) {
                self.expect_op(",")?;
            }
        }
        Ok(items)
    }

    fn map(&mut self) -> Result<Expr, String> {
        let mut entries = Vec::new();
        while !self.take_op("}") {
            let key = self.conditional()?;
            self.expect_op(":")?;
            entries.push((key, self.conditional()?));
            if !self.at_op("}") {
                self.expect_op(",")?;
            }
        }
        Ok(Expr::Map(entries))
    }

    fn postfix(&mut self, mut expr: Expr) -> Result<Expr, String> {
        loop {
            expr = if self.take_op(".") {
                match self.next() {
                    Token::Name(name) => Expr::Attribute(Box::new(expr), name),
                    Token::Int(i) => Expr::Item(Box::new(expr), Box::new(Expr::Int(i))),
                    _ => return self.fail("expected a name after '.'"),
                }
            } else if self.take_op("[") {
                self.subscript(expr)?
            } else if self.take_op("(") {
                Expr::Call(Box::new(expr), self.arguments()?)
            } else {
                return Ok(expr);
            };
            self.node()?;
        }
    }

    fn subscript(&mut self, value: Expr) -> Result<Expr, String> {
        let mut bounds = [None, None, None];
        let mut colons = 0;
        while !self.at_op("]") {
            if self.take_op(":") {
                colons += 1;
                if colons > 2 {
                    return self.expected("']'");
                }
            } else if bounds[colons].is_none() {
                bounds[colons] = Some(Box::new(self.conditional()?));
            } else {
                return self.expected("']'");
            }
        }
        self.expect_op("]")?;
        if colons > 0 {
            return Ok(Expr::Slice(Box::new(value), bounds));
        }
        let [Some(index), ..] = bounds else { return self.fail("an index is missing between '[' and ']'") };
        Ok(Expr::Item(Box::new(value), index))
    }

    /// Arguments after `(`, up to and including `)`.
    fn arguments(&mut self) -> Result<Args, String> {
        let mut args = Args::default();
        while !self.take_op(")") {
            let named = matches!(self.peek(), Token::Name(_))
                && matches!(self.tokens.get(self.at + 1), Some((Token::Op("="), _)));
            if named {
                let name = self.identifier()?;
                self.expect_op("=")?;
                args.named.push((name, self.conditional()?));
            } else if args.named.is_empty() {
                args.positional.push(self.conditional()?);
            } else {
                return self.fail("a positional argument follows a named one");
            }
            if !self.at_op(")") {
                self.expect_op(",")?;
            }
        }
        Ok(args)
    }

    /// Filters (`| name(args)`) and tests (`is not name args`).
    fn filters(&mut self, mut expr: Expr) -> Result<Expr, String> {
        loop {
            if self.take_op("|") {
                let name = self.identifier()?;
                let args = if self.take_op("(") { self.arguments()? } else { Args::default() };
                expr = Expr::Filter(Box::new(expr), name, args);
            } else if self.take_name("is") {
                let negated = self.take_name("not");
                let name = self.identifier()?;
                let args = self.test_arguments()?;
                expr = Expr::Test { value: Box::new(expr), name, args, negated };
            } else if self.at_op("(") || self.at_op(".") || self.at_op("[") {
                expr = self.postfix(expr)?;
            } else {
                return Ok(expr);
            }
            self.node()?;
        }
    }

    /// A test takes arguments in brackets, or one simple value without.
    fn test_arguments(&mut self) -> Result<Args, String> {
        if self.take_op("(") {
            return self.arguments();
        }
        let mut args = Args::default();
        let begins_value = match self.peek() {
            Token::Name(name) => {
                !matches!(&**name, "else" | "or" | "and" | "is" | "if" | "in" | "not" | "recursive")
            }
            Token::Str(_) | Token::Int(_) | Token::Float(_) => true,
            Token::Op(op) => matches!(*op, "[" | "{"),
            _ => false,
        };
        if begins_value {
            let value = self.primary()?;
            args.positional.push(self.postfix(value)?);
        }
        Ok(args)
    }
}
