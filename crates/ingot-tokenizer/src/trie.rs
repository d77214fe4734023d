//! A trie over bytes for longest-match lookups.
//!
//! It is built once from sorted keys, level by level, so that the children of a
//! node lie next to each other: four flat arrays, no allocation per node, and
//! 65,536 keys take a few milliseconds.

/// Marks a node at which no key ends.
const NO_VALUE: u32 = u32::MAX;

/// A map from byte strings to ids, below [`u32::MAX`].
#[derive(Debug)]
pub(crate) struct Trie {
    /// The byte that leads to a node. The root is node 0.
    labels: Vec<u8>,
    /// Where a node's children begin; they end where the next node's begin.
    children: Vec<u32>,
    values: Vec<u32>,
}

impl Trie {
    /// Builds from `(key, id)`. Of equal keys the lowest id counts; empty keys are ignored.
    pub(crate) fn new<'k>(keys: impl IntoIterator<Item = (&'k [u8], u32)>) -> Self {
        let mut keys: Vec<(&[u8], u32)> = keys.into_iter().filter(|(key, _)| !key.is_empty()).collect();
        keys.sort_unstable();
        keys.dedup_by_key(|(key, _)| *key);

        let mut trie = Self { labels: vec![0], children: Vec::new(), values: vec![NO_VALUE] };
        // The keys that pass through each node of the current level.
        let mut level: Vec<_> = std::iter::once(0..keys.len()).collect();
        let mut depth = 0;
        while !level.is_empty() {
            let mut next = Vec::new();
            for range in level {
                trie.children.push(trie.labels.len() as u32);
                let mut at = range.start;
                // A key that ends here sorts before those that go on.
                if depth > 0 && at < range.end && keys[at].0.len() == depth {
                    at += 1;
                }
                while at < range.end {
                    let label = keys[at].0[depth];
                    let group = keys[at..range.end].partition_point(|(key, _)| key[depth] == label);
                    trie.labels.push(label);
                    trie.values.push(if keys[at].0.len() == depth + 1 { keys[at].1 } else { NO_VALUE });
                    next.push(at..at + group);
                    at += group;
                }
            }
            level = next;
            depth += 1;
        }
        trie.children.push(trie.labels.len() as u32);
        trie
    }

    fn child(&self, node: usize, label: u8) -> Option<usize> {
        let children = self.children[node] as usize..self.children[node + 1] as usize;
        let labels = &self.labels[children.clone()];
        // Near the root nearly every byte has a child, at its own place.
        if labels.get(usize::from(label)) == Some(&label) {
            return Some(children.start + usize::from(label));
        }
        labels.binary_search(&label).ok().map(|i| children.start + i)
    }

    /// The longest key that `bytes` begins with: its id and length.
    pub(crate) fn longest_prefix(&self, bytes: &[u8]) -> Option<(u32, usize)> {
        let mut node = 0;
        let mut found = None;
        for (i, &byte) in bytes.iter().enumerate() {
            let Some(child) = self.child(node, byte) else { break };
            node = child;
            if self.values[node] != NO_VALUE {
                found = Some((self.values[node], i + 1));
            }
        }
        found
    }

    /// Whether `bytes` begins with a key, or is itself the beginning of one.
    pub(crate) fn touches(&self, bytes: &[u8]) -> bool {
        let mut node = 0;
        for &byte in bytes {
            let Some(child) = self.child(node, byte) else { return false };
            node = child;
            if self.values[node] != NO_VALUE {
                return true;
            }
        }
        !bytes.is_empty()
    }

    /// Whether some key begins with `byte`.
    pub(crate) fn begins_with(&self, byte: u8) -> bool {
        self.child(0, byte).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::Trie;

    #[test]
    fn longest_match_wins() {
        let trie = Trie::new([(&b"a"[..], 1), (b"abc", 2), (b"ab", 3), (b"b", 4), (b"abc", 9), (b"", 5)]);
        assert_eq!(trie.longest_prefix(b"abcd"), Some((2, 3)));
        assert_eq!(trie.longest_prefix(b"abd"), Some((3, 2)));
        assert_eq!(trie.longest_prefix(b"ax"), Some((1, 1)));
        assert_eq!(trie.longest_prefix(b"xa"), None);
        assert_eq!(trie.longest_prefix(b""), None);
        assert!(trie.begins_with(b'b') && !trie.begins_with(b'c'));
    }

    #[test]
    fn touching_is_either_way() {
        let trie = Trie::new([(&b"<end>"[..], 0)]);
        assert!(trie.touches(b"<end>!"));
        assert!(trie.touches(b"<en"));
        assert!(!trie.touches(b"<em"));
        assert!(!trie.touches(b""));
    }

    #[test]
    fn all_bytes() {
        let keys: Vec<[u8; 2]> = (0..=255).flat_map(|a| [[a, 0], [a, 255]]).collect();
        let trie = Trie::new(keys.iter().enumerate().map(|(i, k)| (&k[..], i as u32)));
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(trie.longest_prefix(key), Some((i as u32, 2)));
        }
    }
}
