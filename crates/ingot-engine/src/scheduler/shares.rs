//! How many rows of a step each sequence gets.

/// The least worth beginning with: fewer rows of a prompt take nearly as long.
const LEAST: usize = 16;

/// Rows for sequences that have so many tokens to read, in the order in which they
/// arrived. Each that has one gets it, because it writes; the others share `budget`
/// rows evenly, so that a short prompt does not wait for a long one. No share leaves
/// a single token over, which GPUs would read with other kernels than the rest.
pub(super) fn shares(unread: &[usize], budget: usize) -> Vec<usize> {
    let mut readers = unread.iter().filter(|&&n| n > 1).count();
    let mut left = budget;
    let mut share = |n: usize| {
        if n <= 1 {
            return n;
        }
        let rows = n.min((left / readers).max(LEAST)).min(left);
        let rows = if n - rows == 1 { rows.saturating_sub(1) } else { rows };
        readers -= 1;
        left -= rows;
        if rows == 1 { 0 } else { rows }
    };
    unread.iter().map(|&n| share(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_have_a_row_and_readers_share_the_rest() {
        assert_eq!(shares(&[1, 1, 1], 100), [1, 1, 1]);
        assert_eq!(shares(&[1000], 256), [256]);
        assert_eq!(shares(&[1, 1000, 1, 1000], 256), [1, 128, 1, 128]);
        // What a short one does not need goes to those behind it.
        assert_eq!(shares(&[20, 1000], 256), [20, 236]);
        assert_eq!(shares(&[1000, 20], 256), [128, 20]);
        assert_eq!(shares(&[0, 5], 256), [0, 5]);
    }

    #[test]
    fn many_readers_take_turns_in_order() {
        assert_eq!(shares(&[500; 5], 48), [16, 16, 16, 0, 0]);
    }

    #[test]
    fn no_token_is_left_alone() {
        assert_eq!(shares(&[257], 256), [255]);
        assert_eq!(shares(&[2], 256), [2]);
        for n in 2..600 {
            let mut left = n;
            let mut steps = 0;
            while left > 0 {
                let rows = shares(&[left], 256)[0];
                assert!(rows > 1, "{rows} of {left}");
                left -= rows;
                steps += 1;
            }
            assert!(steps <= n.div_ceil(255), "{n}");
        }
    }
}
