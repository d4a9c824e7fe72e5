//! How memory is mapped.

use std::ops::Range;

use crate::query::ahead::Fetch;

/// Octets of a page, and of a large one.
const PAGE: usize = 1 << 12;
const LARGE_PAGE: usize = 1 << 21;

/// Since Linux 6.1; not every C library names it.
const MADV_COLLAPSE: libc::c_int = 25;

/// Has the kernel gather what lies between these addresses into large pages (`MADV_COLLAPSE`, Linux 6.1): of a large zone each
/// answer reads another place, and to find out where small pages are takes longer than to read them. It copies all of it, so
/// it is work for the background. Whether it can be done, and is, changes nothing but the time that reading takes.
pub fn gather_pages(addresses: Range<usize>) {
    let start = addresses.start.next_multiple_of(PAGE);
    let octets = (addresses.end & !(PAGE - 1)).saturating_sub(start);
    if octets < LARGE_PAGE {
        return;
    }
    // SAFETY: the call changes neither what memory holds nor who may use it, whatever the addresses are; where nothing is
    // mapped, or the kernel knows no such advice, it is refused.
    let refused = unsafe { libc::madvise(std::ptr::without_provenance_mut(start), octets, MADV_COLLAPSE) } != 0;
    if refused {
        tracing::debug!(error = %std::io::Error::last_os_error(), "memory stays in small pages");
    }
}

/// Octets of a cache line.
const LINE: usize = 64;
/// Cache lines of a value that are fetched at most: in what answers read, what they need comes first.
const MOST_LINES: usize = 3;

/// Asks the processor for the first cache lines of values, without waiting for them.
#[derive(Clone, Copy, Debug)]
pub(in crate::server) struct Near;

impl Fetch for Near {
    #[inline]
    fn fetch<T: ?Sized>(&self, value: &T) {
        #[cfg(target_arch = "x86_64")]
        for line in 0..size_of_val(value).div_ceil(LINE).min(MOST_LINES) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let address = std::ptr::from_ref(value).cast::<i8>().wrapping_add(line * LINE);
            // SAFETY: it changes nothing and can't fault, whatever the address is; the instruction is of SSE, which each
            // processor of this architecture has.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_memory_holds_stays() {
        let numbers: Vec<u64> = (0..1 << 20).collect();
        let octets = numbers.as_ptr_range();
        gather_pages(octets.start.addr()..octets.end.addr());
        assert!(numbers.iter().zip(0..).all(|(number, expected)| *number == expected));
        gather_pages(0..1 << 30); // refused: nothing lies there
    }
}
