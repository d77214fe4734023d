//! Launches that were made before: what a program made of one model has instead of [`lower`].
//!
//! A [`List`] is plain static data for one sequence: launches in order, where buffers lie, and
//! the few numbers that depend on the size of a step as formulas. What is listed has to equal
//! what `lower` would make, for every size it is for: whoever writes lists checks that.
//!
//! [`lower`]: crate::lower::lower

use crate::launch::{Access, Constant, Kernel, Launch, Operand, What};
use crate::launches::Shape;
use crate::lower::{LowerError, Lowered, Node, Path};
use ingot_plan::{Buf, StateId, WeightId};

/// All launches of a model for one sequence with one output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lists {
    /// Matrices of some types are arranged in [`eights`](crate::eights).
    pub eights: bool,
    /// For one row; a list's size is the longest context in positions.
    pub decode: &'static [List],
    /// For several rows of a prompt; a list's size is their number.
    pub prompt: &'static [List],
}

/// The launches of steps up to a size. Lists are in the order of their sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct List {
    /// The largest size it is for.
    pub most: usize,
    /// Every kernel once.
    pub kernels: &'static [Specialised],
    /// In an order that respects every dependency.
    pub launches: &'static [Listed],
    /// Bytes of each scratch, by number.
    pub scratch: &'static [Count],
    /// Scratch that is filled once, before the first step.
    pub tables: &'static [(u32, &'static [f32])],
    /// Where buffers and scratch lie in the arena, in bytes.
    pub places: &'static [(What, usize)],
    /// Bytes of the arena.
    pub arena: usize,
}

/// A kernel with its options and constants, as [`Kernel`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Specialised {
    /// The file's stem and the function's name.
    pub name: &'static str,
    /// Preprocessor options, in the order of their names.
    pub options: &'static [(&'static str, i64)],
    /// Specialisation constants, in the order of their names.
    pub constants: &'static [(&'static str, Constant)],
}

/// A launch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Listed {
    /// How it is launched, by size: the first that is for the step's.
    pub forms: &'static [Form],
    /// Number of the kernel's buffers.
    pub bindings: usize,
    /// What they are, by index; those left out are not touched.
    pub operands: &'static [(usize, Part)],
    /// The layer it belongs to, if one.
    pub layer: Option<usize>,
}

/// A kernel and its threads, for steps up to a size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Form {
    /// The largest size it is for.
    pub most: usize,
    /// The kernel, by position in [`List::kernels`].
    pub kernel: usize,
    /// Threadgroups in each dimension.
    pub grid: [Count; 3],
    /// Threads in a threadgroup.
    pub threads: u32,
}

/// What a launch does to which part of a memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The memory.
    pub what: What,
    /// What is done.
    pub access: Access,
    /// Beginning and end in bytes; the whole if absent.
    pub range: Option<(Count, Count)>,
}

/// A number that may depend on the size of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Always this.
    Is(usize),
    /// `times` for every begun `per` of the size, and for `more`.
    Per {
        /// How many.
        times: usize,
        /// Of the size.
        per: usize,
        /// Of them, whatever the size is.
        more: usize,
    },
}

impl Count {
    /// The number for a size.
    pub const fn of(self, size: usize) -> usize {
        match self {
            Self::Is(n) => n,
            Self::Per { times, per, more } => times * (size.div_ceil(per) + more),
        }
    }
}

/// [`Count::Is`], for lists.
pub const fn is(n: usize) -> Count {
    Count::Is(n)
}
/// [`Count::Per`], for lists.
pub const fn per(times: usize, per: usize) -> Count {
    per_and(times, per, 0)
}
/// The same and more of them, for lists.
pub const fn per_and(times: usize, per: usize, more: usize) -> Count {
    Count::Per { times, per, more }
}
/// A constant of type `uint`, for lists.
pub const fn uint(name: &'static str, value: u32) -> (&'static str, Constant) {
    (name, Constant::Uint(value))
}
/// A constant of type `int`, for lists.
pub const fn int(name: &'static str, value: i32) -> (&'static str, Constant) {
    (name, Constant::Int(value))
}
/// A constant of type `bool`, for lists.
pub const fn boolean(name: &'static str, value: bool) -> (&'static str, Constant) {
    (name, Constant::Bool(value))
}
/// A constant of type `float`, for lists.
pub const fn float(name: &'static str, value: f32) -> (&'static str, Constant) {
    (name, Constant::Float(value.to_bits()))
}
/// A weight by its position in the plan.
pub const fn weight(position: u32) -> What {
    What::Weight(WeightId::new(position))
}
/// A buffer by its position in the plan.
pub const fn buffer(position: u32) -> What {
    What::Buffer(Buf::new(position))
}
/// A state by its position in the plan.
pub const fn state(position: u32) -> What {
    What::State(StateId::new(position))
}
/// The step buffer.
pub const STEP: What = What::Step;
/// A scratch by its number.
pub const fn scratch(number: u32) -> What {
    What::Scratch(number)
}
/// A part that is read.
pub const fn read(what: What) -> Part {
    Part { what, access: Access::Read, range: None }
}
/// A part that is written completely.
pub const fn write(what: What) -> Part {
    Part { what, access: Access::Write, range: None }
}
/// A part that is read and written, or written in part.
pub const fn update(what: What) -> Part {
    Part { what, access: Access::Update, range: None }
}

impl Part {
    /// These bytes of it alone.
    pub const fn bytes(self, from: Count, to: Count) -> Self {
        Self { range: Some((from, to)), ..self }
    }

    fn operand(&self, size: usize) -> Operand {
        let range = self.range.map(|(from, to)| from.of(size)..to.of(size));
        Operand { what: self.what, access: self.access, range }
    }
}

impl Lists {
    /// The launches of a step of this shape.
    ///
    /// # Errors
    /// If there are none: for several sequences or outputs, or a longer context.
    pub fn lowered(&self, shape: &Shape, path: Path) -> Result<Lowered, LowerError> {
        let (lists, size) = match path {
            Path::Vector | Path::Few => (self.decode, shape.context),
            Path::Tile => (self.prompt, shape.rows),
        };
        let one = Shape { rows: shape.rows, outputs: 1, sequences: 1, context: shape.context };
        let listed = *shape == one && (path == Path::Tile || shape.rows == 1);
        let list = lists.iter().find(|list| listed && size <= list.most);
        list.map(|list| list.lowered(size)).ok_or_else(|| {
            LowerError::Unsupported(format!("this program has no launches for a step of {shape:?}"))
        })
    }
}

impl List {
    /// The launches of a step of this size.
    ///
    /// # Panics
    /// If the list is not for it.
    pub fn lowered(&self, size: usize) -> Lowered {
        Lowered {
            launches: self.launches.iter().map(|listed| self.node(listed, size)).collect(),
            scratch: self.scratch.iter().map(|bytes| bytes.of(size)).collect(),
            tables: self.tables.iter().map(|(id, values)| (*id, values.to_vec())).collect(),
            sampling: None,
            places: self.places.iter().copied().collect(),
            arena: self.arena,
            guards: Vec::new(),
        }
    }

    fn node(&self, listed: &Listed, size: usize) -> Node {
        let form = listed.forms.iter().find(|form| size <= form.most).expect("a form for every size");
        let mut operands = vec![Operand::absent(); listed.bindings];
        for (binding, part) in listed.operands {
            operands[*binding] = part.operand(size);
        }
        let launch = Launch {
            kernel: self.kernels[form.kernel].kernel(),
            operands,
            grid: form.grid.map(|count| count.of(size) as u32),
            threads: form.threads,
        };
        Node { launch, ops: Vec::new(), layer: listed.layer }
    }
}

impl Specialised {
    /// The kernel.
    pub fn kernel(&self) -> Kernel {
        Kernel {
            name: self.name,
            options: self.options.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
            constants: self.constants.to_vec(),
        }
    }
}
