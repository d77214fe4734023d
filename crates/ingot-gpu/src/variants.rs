//! The sets of options that a kernel is compiled with ahead of time: by the lint,
//! by the test with NVIDIA's compiler, and for macOS when the program is built.
//! A kernel's file names them in comments, `// variants: A=1 B=2; A=0 B=3`
//! (rule 12 of `kernels/README.md`); options left out keep their defaults.

use crate::launch::Kernel;

/// Options and their values.
type Options = &'static [(&'static str, i64)];

include!(concat!(env!("OUT_DIR"), "/variants.rs"));

/// A kernel with its default options, then with each set that its file names.
/// The specialisation constants are left open.
pub fn variants(name: &'static str) -> Vec<Kernel> {
    let sets = VARIANTS.iter().find(|(kernel, _)| *kernel == name).map_or(&[][..], |(_, sets)| sets);
    let with = |set: &Options| {
        set.iter().fold(Kernel::new(name), |kernel, &(option, value)| kernel.option(option, value))
    };
    std::iter::once(Kernel::new(name)).chain(sets.iter().map(with)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_has_its_defaults_first() {
        for name in crate::source::kernels() {
            let all = variants(name);
            assert_eq!(all[0], Kernel::new(name));
            let text = crate::source::file(&format!("{name}.metal")).unwrap();
            for option in all.iter().flat_map(|kernel| &kernel.options) {
                assert!(text.contains(&option.0), "{name} has no option {}", option.0);
            }
        }
    }
}
