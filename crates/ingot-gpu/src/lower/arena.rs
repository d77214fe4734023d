//! Where buffers lie that live only during a step.

/// Alignment of every buffer, in bytes.
pub(super) const ALIGN: usize = 256;
/// Bytes that nothing may touch after a buffer that is kept.
pub(crate) const GUARD: usize = 256;

/// A buffer's size and the first and last launch that touch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) bytes: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// An offset for each buffer, and the bytes of all together. Buffers share memory
/// if the last launch of one comes before the first of the other; with `keep`
/// none do, and [`GUARD`] bytes follow each.
pub(super) fn arrange(lives: &[Life], keep: bool) -> (Vec<usize>, usize) {
    let guard = if keep { GUARD } else { 0 };
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&i| (lives[i].first, std::cmp::Reverse(lives[i].bytes)));
    let mut offsets = vec![0; lives.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut total = 0;
    for i in order {
        let life = lives[i];
        // In the way: what is alive at the same time, by offset.
        let together = |&&p: &&usize| keep || lives[p].last >= life.first && life.last >= lives[p].first;
        let mut others: Vec<usize> = placed.iter().filter(together).copied().collect();
        others.sort_by_key(|&p| offsets[p]);
        let mut at = 0;
        for p in others {
            if offsets[p] >= at + life.bytes + guard {
                break;
            }
            at = at.max((offsets[p] + lives[p].bytes + guard).next_multiple_of(ALIGN));
        }
        offsets[i] = at;
        total = total.max(at + life.bytes + guard);
        placed.push(i);
    }
    (offsets, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_that_do_not_touch_share() {
        let life = |bytes, first, last| Life { bytes, first, last };
        let lives = [life(1000, 0, 1), life(600, 1, 2), life(1000, 2, 3), life(10, 3, 3)];
        let (offsets, total) = arrange(&lives, false);
        assert_eq!(offsets, [0, 1024, 0, 1024]);
        assert_eq!(total, 1624);
        let (offsets, total) = arrange(&lives, true);
        assert_eq!(total, 1280 + 1024 + 1280 + 10 + GUARD);
        assert!(offsets.iter().all(|o| o % ALIGN == 0));
    }

    #[test]
    fn nothing_alive_together_overlaps() {
        let mut state = 1u64;
        let mut random = |n: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let lives: Vec<Life> = (0..200)
            .map(|_| {
                let first = random(100) as usize;
                Life { bytes: 1 + random(5000) as usize, first, last: first + random(10) as usize }
            })
            .collect();
        let (offsets, total) = arrange(&lives, false);
        for (i, a) in lives.iter().enumerate() {
            assert!(offsets[i] + a.bytes <= total);
            for (j, b) in lives.iter().enumerate().skip(i + 1) {
                let together = a.last >= b.first && b.last >= a.first;
                let apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
                assert!(!together || apart, "{i} and {j}");
            }
        }
    }
}
