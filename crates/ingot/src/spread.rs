//! Several measurements of one thing.

use serde_json::{Value, json};
use std::time::Duration;

/// The least, the median and the most of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// Half of the values are smaller.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of some values, at least one.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        Self { min: values[0], median: (values[(n - 1) / 2] + values[n / 2]) / 2.0, max: values[n - 1] }
    }

    /// How many of `count` things there were in a second.
    pub fn rates(count: usize, times: &[Duration]) -> Self {
        Self::of(times.iter().map(|&t| crate::units::rate(count, t)))
    }

    /// True if the difference to other measurements may be chance: some of one are
    /// among those of the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.min <= other.max && other.min <= self.max
    }

    /// All of them times a factor.
    pub fn times(&self, factor: f64) -> Self {
        Self { min: self.min * factor, median: self.median * factor, max: self.max * factor }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({ "min": self.min, "median": self.median, "max": self.max })
    }

    /// What [`Spread::json`] gave; `None` if it is anything else.
    pub fn parse(json: &Value) -> Option<Self> {
        let value = |key: &str| json[key].as_f64().filter(|x| x.is_finite());
        Some(Self { min: value("min")?, median: value("median")?, max: value("max")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_rounds() {
        let times: Vec<_> = [100, 50, 200, 400].map(Duration::from_millis).into();
        let rates = Spread::rates(10, &times);
        assert_eq!(rates, Spread { min: 25.0, median: 75.0, max: 200.0 });
        assert_eq!(Spread::rates(10, &times[..1]), Spread { min: 100.0, median: 100.0, max: 100.0 });
        assert_eq!(Spread::parse(&rates.json()), Some(rates));
        assert_eq!(Spread::parse(&json!({ "min": 1.0, "max": 2 })), None);
    }

    #[test]
    fn what_may_be_chance() {
        let of = |min, max| Spread::of([min, max]);
        assert!(of(1.0, 2.0).overlaps(&of(2.0, 3.0)) && of(1.0, 9.0).overlaps(&of(2.0, 3.0)));
        assert!(!of(1.0, 2.0).overlaps(&of(2.1, 3.0)) && !of(2.1, 3.0).overlaps(&of(1.0, 2.0)));
    }
}
