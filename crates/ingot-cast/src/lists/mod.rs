//! The launches of a model as [`Lists`], made by lowering its plan for every size of step and
//! finding what depends on the size and how.

mod fit;

use fit::fit;
use ingot_gpu::launch::{Kernel, Launch, What};
use ingot_gpu::launches::{Shape, Target};
use ingot_gpu::listed::{Count, Form, List, Listed, Lists, Part, Specialised};
use ingot_gpu::lower::{LowerError, Lowered, Path, lower};
use ingot_gpu::{GpuOptions, LEAST_CONTEXT, MOST_ROWS};
use ingot_plan::{Plan, StateDecl};

/// The longest context that launches are listed for, of models that have no limit.
const LONGEST_CONTEXT: usize = 1 << 20;

/// The GPUs that launches are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its cores; on GPUs with more or fewer results are the same.
    pub cores: u32,
    /// Weights are copied, matrices of some types in eights.
    pub eights: bool,
}

/// An H100, and its like.
pub const CUDA: Device = Device { cores: 132, eights: true };
/// One of the larger of Apple's.
pub const METAL: Device = Device { cores: 20, eights: false };

/// Launches, and what each is about.
#[derive(Clone, Debug)]
pub struct Made {
    /// The launches.
    pub lists: Lists,
    /// For each list of `lists.decode`, then of `lists.prompt`, the ops that each of its
    /// launches stands for.
    pub ops: Vec<Vec<Vec<usize>>>,
}

/// All launches of one sequence of at most `context` positions, with the usual options.
///
/// # Errors
/// If something of the plan has no kernel.
///
/// # Panics
/// If the launches depend on sizes in a way that lists cannot say.
pub fn make(plan: &Plan, device: Device, context: Option<usize>) -> Result<Made, LowerError> {
    let target = &Target { eights: device.eights, ..Target::new(plan, device.cores, &GpuOptions::default()) };
    let has_pages = plan.states().iter().any(|s| matches!(s, StateDecl::Kv { .. }));
    let longest = if has_pages { context.unwrap_or(LONGEST_CONTEXT).min(LONGEST_CONTEXT) } else { 0 };
    let longest = longest.max(LEAST_CONTEXT).next_power_of_two();
    let contexts = (0..).map(|i| LEAST_CONTEXT << i).take_while(|&size| size <= longest);
    let shape = |rows, context| Shape { rows, outputs: 1, sequences: 1, context };
    let decode = contexts.map(|size| Ok((size, lower(plan, target, &shape(1, size), Path::Vector, false)?)));
    let decode: Vec<_> = decode.collect::<Result<_, LowerError>>()?;
    let prompt = (2..=MOST_ROWS)
        .map(|size| Ok((size, lower(plan, target, &shape(size, LEAST_CONTEXT), Path::Tile, false)?)));
    let prompt: Vec<_> = prompt.collect::<Result<_, LowerError>>()?;

    let mut kernels = Vec::new();
    let mut ops = Vec::new();
    let mut lists = |all: &[(usize, Lowered)], pers: &[usize]| -> Vec<List> {
        let alike = all.chunk_by(|(_, a), (_, b)| structure(a) == structure(b));
        alike
            .map(|sizes| {
                ops.push(sizes[0].1.launches.iter().map(|node| node.ops.clone()).collect());
                list(sizes, pers, &mut kernels)
            })
            .collect()
    };
    let rows: Vec<usize> = (0..=MOST_ROWS.ilog2()).map(|i| 1 << i).collect();
    let (mut decode_lists, mut prompt_lists) = (lists(&decode, &[LEAST_CONTEXT]), lists(&prompt, &rows));
    let specialised: &[Specialised] = keep(kernels.iter().map(specialised).collect());
    decode_lists.iter_mut().chain(&mut prompt_lists).for_each(|list| list.kernels = specialised);
    let lists = Lists { eights: device.eights, decode: keep(decode_lists), prompt: keep(prompt_lists) };
    check(lists.decode, &decode);
    check(lists.prompt, &prompt);
    Ok(Made { lists, ops })
}

/// What a list has once for all of its sizes.
fn structure(lowered: &Lowered) -> impl PartialEq + use<> {
    let operand = |o: &ingot_gpu::launch::Operand| (o.what, o.access as u8, o.range.is_some());
    let launch = |launch: &Launch| launch.operands.iter().map(operand).collect::<Vec<_>>();
    let launches: Vec<_> = lowered.launches.iter().map(|n| (launch(&n.launch), n.layer)).collect();
    (launches, lowered.scratch.len(), lowered.tables.clone())
}

/// The list of sizes that have the same structure; its kernels are added to those known, and
/// put into it when all are known.
fn list(sizes: &[(usize, Lowered)], pers: &[usize], kernels: &mut Vec<Kernel>) -> List {
    let (most, last) = sizes.last().expect("a chunk is not empty");
    let values = |get: &dyn Fn(&Lowered) -> usize| -> Count {
        let samples: Vec<_> = sizes.iter().map(|(size, lowered)| (*size, get(lowered))).collect();
        fit(&samples, pers).unwrap_or_else(|| panic!("no formula for {samples:?}"))
    };
    let listed = |i: usize| {
        let first = &last.launches[i];
        let operands = first.launch.operands.iter().enumerate().map(|(binding, operand)| {
            let of = |lowered: &Lowered| lowered.launches[i].launch.operands[binding].range.clone();
            let range = operand.range.is_some().then(|| {
                let (from, to) =
                    (|l: &Lowered| of(l).map_or(0, |r| r.start), |l: &Lowered| of(l).map_or(0, |r| r.end));
                (values(&from), values(&to))
            });
            (binding, Part { what: operand.what, access: operand.access, range })
        });
        let absent =
            |part: &Part| part.what == What::Step && part.range == Some((Count::Is(0), Count::Is(0)));
        Listed {
            forms: keep(forms(sizes, i, pers, kernels)),
            bindings: first.launch.operands.len(),
            operands: keep(operands.filter(|(_, part)| !absent(part)).collect()),
            layer: first.layer,
        }
    };
    List {
        most: *most,
        kernels: &[],
        launches: keep((0..last.launches.len()).map(listed).collect()),
        scratch: keep((0..last.scratch.len()).map(|s| values(&|l: &Lowered| l.scratch[s])).collect()),
        tables: keep(last.tables.iter().map(|(id, table)| (*id, keep(table.clone()))).collect()),
        places: keep(last.places.iter().map(|(what, at)| (*what, *at)).collect()),
        arena: last.arena,
    }
}

/// How launch `i` is launched, in as few forms as say it.
fn forms(sizes: &[(usize, Lowered)], i: usize, pers: &[usize], kernels: &mut Vec<Kernel>) -> Vec<Form> {
    let launch = |(_, lowered): &'_ (usize, Lowered)| lowered.launches[i].launch.clone();
    let grid = |part: &[(usize, Lowered)]| -> Option<[Count; 3]> {
        let dimension = |d: usize| {
            let samples: Vec<_> =
                part.iter().map(|(size, l)| (*size, l.launches[i].launch.grid[d] as usize)).collect();
            fit(&samples, pers)
        };
        Some([dimension(0)?, dimension(1)?, dimension(2)?])
    };
    let mut forms = Vec::new();
    let same = |a: &(usize, Lowered), b: &(usize, Lowered)| {
        let (a, b) = (launch(a), launch(b));
        a.kernel == b.kernel && a.threads == b.threads
    };
    for mut run in sizes.chunk_by(same) {
        while !run.is_empty() {
            // All of it, or as much as there is a formula for.
            let fitting = match grid(run) {
                Some(_) => run.len(),
                None => (1..run.len()).take_while(|&n| grid(&run[..n]).is_some()).last().unwrap_or(1),
            };
            let (part, rest) = run.split_at(fitting);
            let Launch { kernel, threads, .. } = launch(&part[0]);
            let known = kernels.iter().position(|k| *k == kernel).unwrap_or(kernels.len());
            if known == kernels.len() {
                kernels.push(kernel);
            }
            let most = part.last().expect("not empty").0;
            let grid = grid(part).expect("one size always has a formula");
            forms.push(Form { most, kernel: known, grid, threads });
            run = rest;
        }
    }
    forms
}

fn specialised(kernel: &Kernel) -> Specialised {
    let option = |(name, value): &(String, i64)| -> (&'static str, i64) { (name.clone().leak(), *value) };
    Specialised {
        name: kernel.name,
        options: keep(kernel.options.iter().map(option).collect()),
        constants: keep(kernel.constants.clone()),
    }
}

/// Lists are data of a program; here they live as long as this one does.
fn keep<T>(all: Vec<T>) -> &'static [T] {
    all.leak()
}

/// Panics unless the lists give for each size what was lowered for it, in places that are at
/// least as large as what is in them.
fn check(lists: &[List], lowered: &[(usize, Lowered)]) {
    for (size, lowered) in lowered {
        let list = lists.iter().find(|list| size <= &list.most).expect("a list for every size");
        let listed = list.lowered(*size);
        assert!(listed.launches.len() == lowered.launches.len(), "size {size}");
        for (i, (ours, theirs)) in listed.launches.iter().zip(&lowered.launches).enumerate() {
            assert_eq!(ours.launch, theirs.launch, "size {size}, launch {i}");
            assert_eq!(ours.layer, theirs.layer, "size {size}, launch {i}");
        }
        assert_eq!(listed.scratch, lowered.scratch, "size {size}");
        assert_eq!(listed.tables, lowered.tables, "size {size}");
        assert!(listed.places.keys().eq(lowered.places.keys()), "size {size}");
        let largest = list.lowered(list.most);
        assert!(listed.scratch.iter().zip(&largest.scratch).all(|(a, b)| a <= b), "size {size}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingot_golden::Golden;
    use ingot_plan::Precision;

    /// `make` checks itself: every size against what is lowered for it.
    #[test]
    fn lists_equal_what_is_lowered() {
        for golden in Golden::all() {
            for precision in [Precision::Q8, Precision::F32] {
                let model = golden.load(precision);
                let made = make(&model.plan, METAL, Some(2000)).unwrap();
                let launches = made.lists.prompt.iter().map(|list| list.launches.len()).max().unwrap();
                assert!(launches > model.info.layers && made.lists.prompt.len() <= 3, "{}", golden.name);
                let one = Shape { rows: 1, outputs: 1, sequences: 1, context: 256 };
                assert!(made.lists.lowered(&one, Path::Vector).is_ok());
                for other in [
                    Shape { sequences: 2, ..one },
                    Shape { outputs: 0, ..one },
                    Shape { rows: MOST_ROWS + 1, ..one },
                ] {
                    let refused = made.lists.lowered(&other, Path::Tile);
                    assert!(matches!(refused, Err(LowerError::Unsupported(_))), "{other:?}");
                }
            }
        }
    }
}
