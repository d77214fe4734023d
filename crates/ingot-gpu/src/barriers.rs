//! Where barriers go when launches that wait for others are put in one queue in
//! which they run side by side: one barrier makes everything after it wait for
//! everything before it, so it covers the hazards of many launches.

/// For each launch, whether a barrier precedes it. `after[i]` names the earlier
/// launches that launch i waits for. Each barrier is as late as possible, which
/// makes them as few as possible.
pub fn barriers(after: &[Vec<usize>]) -> Vec<bool> {
    let mut last = 0; // all launches before this one are over: there is a barrier
    let place = |(i, waits): (usize, &Vec<usize>)| {
        let needed = waits.iter().any(|&earlier| earlier >= last);
        if needed {
            last = i;
        }
        needed
    };
    after.iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_barrier_covers_all_before_it() {
        // 0 and 1 are independent; 2 and 3 wait for them; 4 waits for 3; 5 for 0.
        let after = [vec![], vec![], vec![0], vec![1], vec![3], vec![0]];
        assert_eq!(barriers(&after), [false, false, true, false, true, false]);
    }

    #[test]
    fn a_chain_has_a_barrier_at_every_link() {
        assert_eq!(barriers(&[vec![], vec![0], vec![1], vec![2]]), [false, true, true, true]);
        assert_eq!(barriers(&[]), [] as [bool; 0]);
    }
}
