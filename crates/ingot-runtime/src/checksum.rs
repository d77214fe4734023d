//! The checksum of a file with weights.

use std::thread;

/// Bytes that are worth a thread.
const PART: usize = 16 << 20;

/// CRC-32 (of zlib and PNG), computed by as many threads as there are processors: what takes
/// time is to bring the file into memory, where it is needed anyway.
pub fn crc32(bytes: &[u8]) -> u32 {
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    let part = bytes.len().div_ceil(threads).max(PART);
    let of_part = |part| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(part);
        hasher
    };
    thread::scope(|scope| {
        let parts: Vec<_> = bytes.chunks(part).map(|part| scope.spawn(move || of_part(part))).collect();
        let mut whole = crc32fast::Hasher::new();
        for part in parts {
            whole.combine(&part.join().expect("computing a checksum does not panic"));
        }
        whole.finalize()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_checksum_of_the_whole() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926); // the customary check value
        assert_eq!(crc32(b""), 0);
        let long: Vec<u8> = (0..2 * PART + 77).map(|i| ((i * i) >> 7) as u8).collect();
        assert_eq!(crc32(&long), crc32fast::hash(&long));
    }
}
