//! A launch as plain data: which kernel, specialised how, on which operands,
//! with how many threads. Made by `launches/`, run by a device.

use ingot_plan::{Buf, StateId, WeightId};

/// One kernel launch of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The kernel and how it is specialised.
    pub kernel: Kernel,
    /// What its buffers 0, 1, 2... are.
    pub operands: Vec<Operand>,
    /// Threadgroups in each dimension.
    pub grid: [u32; 3],
    /// Threads in a threadgroup, a multiple of 32.
    pub threads: u32,
}

/// A kernel with its options and constants: what is compiled once.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kernel {
    /// The file's stem and the function's name.
    pub name: &'static str,
    /// Preprocessor options, in the order of their names.
    pub options: Vec<(String, i64)>,
    /// Specialisation constants by name, in the order of their names.
    pub constants: Vec<(&'static str, Constant)>,
}

/// The value of a specialisation constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Constant {
    /// `uint`
    Uint(u32),
    /// `int`
    Int(i32),
    /// `bool`
    Bool(bool),
    /// `float`, as bits, so that kernels can be looked up by value
    Float(u32),
}

impl Kernel {
    /// A kernel without options and constants.
    pub fn new(name: &'static str) -> Self {
        Self { name, options: Vec::new(), constants: Vec::new() }
    }

    /// With a preprocessor option.
    pub fn option(mut self, name: impl Into<String>, value: impl Into<i64>) -> Self {
        self.options.push((name.into(), value.into()));
        self.options.sort();
        self
    }

    /// With a constant of type `uint`.
    ///
    /// # Panics
    /// If the value does not fit into 32 bits: sizes are checked when a plan is lowered.
    pub fn uint(self, name: &'static str, value: usize) -> Self {
        let value = u32::try_from(value).unwrap_or_else(|_| panic!("{name} = {value} exceeds 32 bits"));
        self.constant(name, Constant::Uint(value))
    }

    /// With a constant of type `float`.
    pub fn float(self, name: &'static str, value: f32) -> Self {
        self.constant(name, Constant::Float(value.to_bits()))
    }

    fn constant(mut self, name: &'static str, value: Constant) -> Self {
        self.constants.push((name, value));
        self.constants.sort();
        self
    }
}

/// Something a kernel reads or writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Operand {
    /// What it is.
    pub what: What,
    /// What is done to it.
    pub access: Access,
    /// The part of it in bytes; the whole if absent.
    pub range: Option<std::ops::Range<usize>>,
}

/// Memory that launches work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// A weight as it lies in the file.
    Weight(WeightId),
    /// A buffer of the plan: `[rows, width]` of f32.
    Buffer(Buf),
    /// All pages, or all slots, of a state.
    State(StateId),
    /// Memory that only launches know, by number (see `lower::Scratch`).
    Scratch(u32),
    /// The step buffer.
    Step,
}

/// What a launch does to an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads some or all of it.
    Read,
    /// Writes all of it, reads nothing that was there before.
    Write,
    /// Reads and writes any part of it.
    Update,
}

impl Operand {
    /// An operand that is read.
    pub fn read(what: What) -> Self {
        Self { what, access: Access::Read, range: None }
    }
    /// An operand that is written completely.
    pub fn write(what: What) -> Self {
        Self { what, access: Access::Write, range: None }
    }
    /// The place of an operand that this launch of the kernel does not touch.
    pub fn absent() -> Self {
        Self { range: Some(0..0), ..Self::read(What::Step) }
    }
    /// An operand that is read and written, or written in part.
    pub fn update(what: What) -> Self {
        Self { what, access: Access::Update, range: None }
    }
}

impl From<WeightId> for What {
    fn from(id: WeightId) -> Self {
        Self::Weight(id)
    }
}
impl From<Buf> for What {
    fn from(buf: Buf) -> Self {
        Self::Buffer(buf)
    }
}
impl From<StateId> for What {
    fn from(id: StateId) -> Self {
        Self::State(id)
    }
}
