//! How many rows of a step each sequence gets.

/// Rows for sequences that have so many tokens to read, in the order in which they
/// arrived. Each that has one gets it, because it writes. The others share `budget` rows:
/// half of them are for who came first, so that everybody's turn comes; the rest is for
/// those who have the fewest to read, so that short prompts do not wait for long ones.
/// No share leaves a single token over, which GPUs would read with other kernels than
/// the rest.
pub(super) fn shares(unread: &[usize], budget: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = unread.iter().map(|&n| n.min(1)).collect();
    let mut readers: Vec<usize> = (0..unread.len()).filter(|&i| unread[i] > 1).collect();
    let first = readers.first().copied();
    readers.sort_by_key(|&i| unread[i]);
    readers.iter().for_each(|&i| rows[i] = 0);
    let mut left = budget;
    for (i, most) in first.map(|i| (i, budget / 2)).into_iter().chain(readers.iter().map(|&i| (i, budget))) {
        let more = (unread[i] - rows[i]).min(left).min(most);
        rows[i] += more;
        left -= more;
    }
    for i in readers {
        rows[i] -= usize::from(unread[i] - rows[i] == 1);
        if rows[i] == 1 {
            rows[i] = 0;
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_have_a_row_and_readers_share_the_rest() {
        assert_eq!(shares(&[1, 1, 1], 100), [1, 1, 1]);
        assert_eq!(shares(&[], 100), [] as [usize; 0]);
        assert_eq!(shares(&[1000], 256), [256]);
        assert_eq!(shares(&[0, 5], 256), [0, 5]);
        // Equals one after the other.
        assert_eq!(shares(&[1, 1000, 1, 1000, 1000], 256), [1, 256, 1, 0, 0]);
        // A short one at once, and a long one not much later for it.
        assert_eq!(shares(&[1000, 20], 256), [236, 20]);
        assert_eq!(shares(&[1000, 500], 256), [128, 128]);
        assert_eq!(shares(&[20, 1000], 256), [20, 236]);
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
