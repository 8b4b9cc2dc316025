//! The resources that this program uses.

use std::mem;
use std::time::Duration;

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, GetProcessTimes};

/// The unit of the times that Windows counts, in nanoseconds.
const NANOSECONDS: u64 = 100;

/// The processor time of all threads since this program was started; `None` if Windows does not tell.
#[must_use]
#[allow(unsafe_code, reason = "times of processes have no safe form in windows-sys")]
pub fn processor_time() -> Option<Duration> {
    let zero = FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 };
    let (mut created, mut exited, mut kernel, mut user) = (zero, zero, zero, zero);
    // SAFETY: the handle is this process's own, and Windows writes to four values that are there.
    let result = unsafe {
        GetProcessTimes(
            GetCurrentProcess(),
            &raw mut created,
            &raw mut exited,
            &raw mut kernel,
            &raw mut user,
        )
    };
    let units = units(kernel).saturating_add(units(user));
    (result != 0).then(|| Duration::from_nanos(units.saturating_mul(NANOSECONDS)))
}

fn units(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

/// The memory of this program that is in RAM, in KiB; `None` if Windows does not tell.
#[must_use]
#[allow(unsafe_code, reason = "the memory of processes has no safe form in windows-sys")]
pub fn resident_kib() -> Option<u64> {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    // SAFETY: the structure consists of integers, for which zero is a valid value.
    let mut counters: PROCESS_MEMORY_COUNTERS = unsafe { mem::zeroed() };
    counters.cb = size;
    // SAFETY: the handle is this process's own, and the structure is as long as it is said to be.
    let result = unsafe { K32GetProcessMemoryInfo(GetCurrentProcess(), &raw mut counters, size) };
    (result != 0).then_some(counters.WorkingSetSize as u64 / 1024)
}
