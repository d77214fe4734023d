//! The random numbers behind sampling: SplitMix64, a counter run through a mixing function.
//!
//! Draw number `i` is a function of (seed, `i`) alone, and only integer operations make it. So the same seed
//! gives the same draws on every platform, and a device kernel can compute draw `i` without the ones before.
//! It is not a cryptographic generator.

/// The odd step of the counter: 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A deterministic generator. Copies continue independently from the same point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    counter: u64,
}

impl Rng {
    /// The generator of `seed`. Every seed is fine, and neighboring seeds give unrelated draws.
    pub fn new(seed: u64) -> Self {
        // Without the mixing, seeds a multiple of STEP apart would share one stream, shifted.
        Self { counter: mix(seed) }
    }

    /// The next draw, uniform over all 64-bit values.
    pub fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(STEP);
        mix(self.counter)
    }

    /// The next draw as a number in `[0, 1)`, a multiple of 2^-53.
    pub fn next_f64(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * UNIT
    }
}

/// SplitMix64's finalizer: a bijection in which every input bit affects every output bit.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_sequence() {
        // SplitMix64 from state 1234567, the values its reference program prints.
        let mut rng = Rng { counter: 1_234_567 };
        let draws = [rng.next_u64(), rng.next_u64(), rng.next_u64()];
        assert_eq!(draws, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn equal_seeds_agree_and_others_do_not() {
        let draws = |seed| {
            let mut rng = Rng::new(seed);
            [(); 8].map(|()| rng.next_u64())
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
        // Shifted by one step of the counter: must not be the same stream one draw later.
        assert!(!draws(7).contains(&draws(7u64.wrapping_add(STEP))[0]));
    }

    #[test]
    fn unit_interval_is_covered_evenly() {
        let mut rng = Rng::new(3);
        let (bins, draws) = (16, 160_000);
        let mut counts = vec![0i32; bins];
        for _ in 0..draws {
            let x = rng.next_f64();
            assert!((0.0..1.0).contains(&x));
            counts[(x * bins as f64) as usize] += 1;
        }
        // 10 000 expected in each, standard deviation sqrt(n p (1 - p)) = 96.8.
        assert!(counts.iter().all(|n| (n - 10_000).abs() < 4 * 97), "{counts:?}");
    }
}
