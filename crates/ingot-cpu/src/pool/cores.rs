//! How many cores there are for threads of this process.

/// Number of cores that this thread may run on, those for speed where there are
/// others; `None` if the system does not tell.
#[cfg(target_os = "linux")]
pub(super) fn cores() -> Option<usize> {
    use std::collections::BTreeSet;
    use std::fs::read_to_string;
    // The thread's own affinity: this is also what `available_parallelism` counts.
    let status = read_to_string("/proc/thread-self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = BTreeSet::new();
    for cpu in cpus(allowed)? {
        let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
        // Hardware threads of one core have the same list.
        cores.insert(read_to_string(path).ok()?);
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// The numbers in a list like `0-3,8`; `None` if it is not one.
#[cfg(any(target_os = "linux", test))]
fn cpus(list: &str) -> Option<Vec<usize>> {
    /// More than any system has.
    const MOST: usize = 1 << 16;
    let mut cpus = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// As on Linux; there is no affinity.
#[cfg(target_vendor = "apple")]
pub(super) fn cores() -> Option<usize> {
    let (mut count, mut size) = (0i32, size_of::<i32>());
    // SAFETY: the name ends with a zero, and `size` is that of the value.
    let result = unsafe {
        libc::sysctlbyname(
            c"hw.perflevel0.physicalcpu".as_ptr(),
            (&raw mut count).cast(),
            &raw mut size,
            std::ptr::null_mut(),
            0,
        )
    };
    (result == 0 && count > 0).then_some(count as usize)
}

/// As on Linux: not known.
#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn cores() -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpus(" 0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(cpus("5"), Some(vec![5]));
        for bad in ["", "a", "3-1", "1,,2", "0-999999999999", "-1"] {
            assert_eq!(cpus(bad), None, "{bad:?}");
        }
    }

    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn affinity_counts() {
        use crate::Pool;
        let all = Pool::default_threads();
        let may = std::thread::available_parallelism().unwrap().get();
        assert!((1..=may).contains(&all));
        // In a thread of its own, whose affinity is nobody else's.
        let one = std::thread::spawn(|| {
            // SAFETY: a set of processors is plain bits, of the size that is said.
            unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                let size = size_of_val(&set);
                assert_eq!(libc::sched_getaffinity(0, size, &mut set), 0);
                let first = (0..8 * size).find(|&cpu| libc::CPU_ISSET(cpu, &set)).unwrap();
                libc::CPU_ZERO(&mut set);
                libc::CPU_SET(first, &mut set);
                assert_eq!(libc::sched_setaffinity(0, size, &set), 0);
            }
            (Pool::default_threads(), cores())
        });
        assert_eq!(one.join().unwrap(), (1, Some(1)));
    }
}
