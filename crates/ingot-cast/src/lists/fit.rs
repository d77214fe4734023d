//! Formulas for numbers that depend on the size of a step.

use ingot_gpu::listed::Count;

/// The formula that gives every (size, number), if there is one: always the same, or so many
/// for every begun `per` of the size, perhaps with one more.
pub fn fit(samples: &[(usize, usize)], pers: &[usize]) -> Option<Count> {
    let gives = |count: Count| samples.iter().all(|&(size, number)| count.of(size) == number);
    let &(size, number) = samples.first()?;
    let formula =
        |more| move |&per: &usize| Count::Per { times: number / (size.div_ceil(per) + more), per, more };
    let formulas = pers.iter().map(formula(0)).chain(pers.iter().map(formula(1)));
    std::iter::once(Count::Is(number)).chain(formulas).find(|&count| gives(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formulas() {
        let samples = |f: fn(usize) -> usize| (2..100).map(|n| (n, f(n))).collect::<Vec<_>>();
        let pers = [1, 2, 4, 8, 16, 32];
        assert_eq!(fit(&samples(|_| 7), &pers), Some(Count::Is(7)));
        assert_eq!(fit(&samples(|n| 12 * n), &pers), Some(Count::Per { times: 12, per: 1, more: 0 }));
        assert_eq!(
            fit(&samples(|n| 3 * n.div_ceil(32)), &pers),
            Some(Count::Per { times: 3, per: 32, more: 0 })
        );
        let and_one = Some(Count::Per { times: 3, per: 16, more: 1 });
        assert_eq!(fit(&samples(|n| 3 * (n.div_ceil(16) + 1)), &pers), and_one);
        assert_eq!(fit(&samples(|n| n * n), &pers), None);
        assert_eq!(fit(&samples(|n| n + 2), &pers), None);
        assert_eq!(fit(&[(2, 9)], &pers), Some(Count::Is(9)));
        assert_eq!(fit(&[], &pers), None);
    }
}
