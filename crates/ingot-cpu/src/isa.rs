//! Which instruction set to use, chosen once at run time, and the only place
//! where instructions are enabled.

#[cfg(target_arch = "aarch64")]
use crate::simd::neon::{self, Neon};
use crate::simd::{Kernel, scalar::Scalar};
use std::{fmt, str::FromStr};

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// No vector instructions.
    Scalar,
    /// x86-64: AVX2, FMA and F16C.
    Avx2,
    /// x86-64: AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// aarch64: NEON.
    Neon,
    /// aarch64: NEON with dot products.
    DotProd,
    /// aarch64: NEON with dot and matrix products of bytes.
    I8mm,
}

impl Isa {
    const ALL: [Isa; 6] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon, Self::DotProd, Self::I8mm];

    /// The instruction sets of this machine, the best last.
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// The best instruction set of this machine.
    pub fn best() -> Self {
        Self::available().pop().unwrap_or(Self::Scalar)
    }

    /// What the environment variable `INGOT_CPU` asks for, otherwise the best.
    ///
    /// # Errors
    /// A message if it asks for something this machine does not have; callers
    /// may show it and go on with [`Isa::best`].
    pub fn from_env() -> Result<Self, String> {
        match std::env::var("INGOT_CPU") {
            Ok(name) => name.parse().map_err(|e| format!("INGOT_CPU: {e}")),
            Err(_) => Ok(Self::best()),
        }
    }

    /// The name that `INGOT_CPU` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Neon => "neon",
            Self::DotProd => "dotprod",
            Self::I8mm => "i8mm",
        }
    }

    fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            #[cfg(target_arch = "aarch64")]
            Self::DotProd => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Self::I8mm => Self::DotProd.is_available() && std::arch::is_aarch64_feature_detected!("i8mm"),
            #[allow(unreachable_patterns)] // the other architecture's
            _ => false,
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Isa {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::available();
        known.iter().copied().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = known.iter().map(|isa| isa.name()).collect();
            format!("'{name}' is not an instruction set of this machine, which has {}", names.join(", "))
        })
    }
}

/// An instruction set this machine has been found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Enabled(Isa);

impl Enabled {
    /// `None` if the machine does not have it.
    pub(crate) fn new(isa: Isa) -> Option<Self> {
        isa.is_available().then_some(Self(isa))
    }

    pub(crate) fn isa(self) -> Isa {
        self.0
    }

    /// Runs a kernel with the instruction set.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `new` has found the instructions.
            Isa::Avx2 => unsafe { run_avx2(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512 => unsafe { run_avx512(kernel) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Isa::Neon => kernel.run(unsafe { Neon::<{ neon::BASE }>::assume() }),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Isa::DotProd => kernel.run(unsafe { Neon::<{ neon::DOT }>::assume() }),
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            Isa::I8mm => kernel.run(unsafe { Neon::<{ neon::MATRIX }>::assume() }),
            _ => kernel.run(Scalar),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the instructions are enabled here, so the caller vouched for them.
    kernel.run(unsafe { crate::simd::avx2::Avx2::assume() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: the instructions are enabled here, so the caller vouched for them.
    kernel.run(unsafe { crate::simd::avx512::Avx512::assume() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Simd;

    #[test]
    fn names() {
        assert_eq!("scalar".parse(), Ok(Isa::Scalar));
        assert!("mmx".parse::<Isa>().unwrap_err().contains("scalar"));
        for isa in Isa::available() {
            assert_eq!(isa.to_string().parse(), Ok(isa));
            assert_eq!(Enabled::new(isa).map(Enabled::isa), Some(isa));
        }
        assert!(Isa::available().contains(&Isa::best()));
    }

    struct UsesPairs;

    impl Kernel for UsesPairs {
        type Output = bool;
        fn run<S: Simd>(self, _: S) -> bool {
            S::PAIRS
        }
    }

    #[test]
    fn matrix_instructions_are_used_where_they_are() {
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("i8mm") {
            assert_eq!(Isa::best(), Isa::I8mm);
        }
        for isa in Isa::available() {
            let pairs = Enabled::new(isa).map(|isa| isa.run(UsesPairs));
            assert_eq!(pairs, Some(isa == Isa::I8mm), "{isa}");
        }
    }
}
