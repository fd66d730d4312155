//! Random numbers that are the same on every machine and in every release: SplitMix64.
//!
//! Goes in: a seed. Comes out: numbers. A published seed must still give the same run in years, so the generator is
//! written out here instead of taken from a crate that may change its own. Must never: be used for secrets.

/// A stream of numbers; equal seeds give equal streams.
#[derive(Clone, Debug)]
pub struct Dice(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    /// A stream from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent stream, the same for the same `stream` number; `self` does not move.
    #[must_use]
    pub fn fork(&self, stream: u64) -> Self {
        let mut child = Self(self.0 ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        child.next();
        Self(child.next())
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "a stream without an end is no iterator here")]
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 <= x < 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// 0 <= x < `n`; 0 when `n` is 0.
    pub fn below(&mut self, n: u64) -> u64 {
        u64::try_from((u128::from(self.next()) * u128::from(n)) >> 64).unwrap_or(0)
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Normal with this mean and standard deviation (Box-Muller, one of the pair).
    pub fn normal(&mut self, mean: f64, sd: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        mean + sd * radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// One of `all`; `all` must not be empty, else the default is given.
    pub fn one_of<T: Copy + Default>(&mut self, all: &[T]) -> T {
        let n = self.below(u64::try_from(all.len()).unwrap_or(0));
        usize::try_from(n).ok().and_then(|n| all.get(n)).copied().unwrap_or_default()
    }
}

/// The nearest whole number; values beyond an i64 are held at its ends.
#[allow(clippy::cast_possible_truncation, reason = "the cast saturates, which is what is said")]
pub fn whole(x: f64) -> i64 {
    x.round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_promise() {
        let mut dice = Dice::new(1_234_567);
        // Published reference outputs of SplitMix64 for this seed.
        assert_eq!(
            [dice.next(), dice.next(), dice.next()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn shapes_are_right() {
        let mut dice = Dice::new(7).fork(3);
        let mean = (0..20_000).map(|_| dice.normal(120.0, 5.0)).sum::<f64>() / 20_000.0;
        assert!((mean - 120.0).abs() < 0.2, "{mean}");
        assert!((0..1000).all(|_| dice.below(7) < 7));
        assert_eq!(dice.below(0), 0);
    }
}
