//! What this host is made of: processors, memory, disks, interfaces, what it runs in.
//!
//! Whatever can't be found out is left empty: a description with a gap is better than none.

use std::io;
use std::ptr;

use ring::digest::{SHA256, digest};
use windows_sys::Win32::Foundation::ERROR_INSUFFICIENT_BUFFER;
use windows_sys::Win32::Storage::FileSystem::{
    GetDiskFreeSpaceExW, GetDriveTypeW, GetVolumeInformationW,
};
use windows_sys::Win32::System::SystemInformation::{
    GetNativeSystemInfo, GetSystemFirmwareTable, GlobalMemoryStatusEx, MEMORYSTATUSEX,
    PROCESSOR_ARCHITECTURE_AMD64, PROCESSOR_ARCHITECTURE_ARM64, RSMB, SYSTEM_INFO,
};
use windows_sys::Win32::System::Threading::{ALL_PROCESSOR_GROUPS, GetActiveProcessorCount};
use xshield_wire::Bytes;
use xshield_wire::message::{Digest, UnixSeconds};
use xshield_wire::telemetry::{Cpu, Disk, HostTelemetry};

use super::adapters::adapters;
use super::registry::Key;
use super::wide::{succeeded, text, wide};
use super::{paths, system};
use crate::firmware;
use crate::windows_formats::adapters::interfaces;
use crate::windows_formats::smbios;

/// Texts of the firmware and the like.
const LONGEST_TEXT: usize = 200;
const CRYPTOGRAPHY: &str = r"SOFTWARE\Microsoft\Cryptography";
const PROCESSOR: &str = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0";
const FIRMWARE: &str = r"HARDWARE\DESCRIPTION\System\BIOS";
/// A drive that stays, of those that GetDriveType tells.
const DRIVE_FIXED: u32 = 3;

/// Describes this host at `taken`, which started `uptime_ms` before.
#[must_use]
pub fn telemetry(taken: UnixSeconds, uptime_ms: u64) -> HostTelemetry {
    let windows = system::version().ok();
    let said = said_by_firmware();
    let maker = said.iter().take(2).map(String::as_str).collect::<Vec<_>>().join(" ");
    HostTelemetry {
        taken,
        booted: taken.saturating_sub(uptime_ms / 1000),
        os: windows.as_ref().map(|windows| windows.name()).unwrap_or_default(),
        kernel: windows.as_ref().map(|windows| windows.kernel()).unwrap_or_default(),
        architecture: architecture().to_owned(),
        machine: machine(),
        cpu: cpu(),
        memory: memory(),
        disks: disks(),
        interfaces: interfaces(&adapters().unwrap_or_default()),
        runs_in: firmware::machine(&said).map(str::to_owned),
        hardware: tidy(&maker),
        cloud: None,
    }
}

/// Words of others, fit to be shown.
fn tidy(text: &str) -> Option<String> {
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(LONGEST_TEXT).collect();
    (!text.is_empty()).then_some(text)
}

/// Maker and model first.
fn said_by_firmware() -> Vec<String> {
    let Ok(Some(key)) = Key::open(FIRMWARE) else { return Vec::new() };
    let fields = ["SystemManufacturer", "SystemProductName", "SystemVersion", "BIOSVendor"];
    let boards = ["BaseBoardManufacturer"];
    let all = fields.iter().chain(&boards);
    all.map(|name| key.text(name).and_then(|text| tidy(&text)).unwrap_or_default()).collect()
}

/// Tells this installation on this machine from others: by the id that Windows makes when it is
/// installed and, since copies of a disk share that, by the id of the (virtual) machine.
fn machine() -> Option<Digest> {
    let installation = Key::open(CRYPTOGRAPHY).ok()??.text("MachineGuid")?;
    let hardware = firmware_table().ok().and_then(|table| smbios::system_id(&table));
    let hardware: String = hardware.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("xshield machine {installation} {hardware}");
    digest(&SHA256, text.as_bytes()).as_ref().try_into().ok().map(Bytes)
}

#[allow(unsafe_code, reason = "the tables of the firmware have no safe form in windows-sys")]
fn firmware_table() -> io::Result<Vec<u8>> {
    let mut table = vec![0_u8; 1 << 16];
    loop {
        let size = table.len() as u32;
        // SAFETY: the buffer is as long as it is said to be.
        let needed = unsafe { GetSystemFirmwareTable(RSMB, 0, table.as_mut_ptr(), size) } as usize;
        match needed {
            0 => return Err(io::Error::last_os_error()),
            needed if needed <= table.len() => {
                table.truncate(needed);
                return Ok(table);
            }
            needed if needed <= 1 << 24 => table.resize(needed, 0),
            _ => return Err(io::Error::from_raw_os_error(ERROR_INSUFFICIENT_BUFFER.cast_signed())),
        }
    }
}

#[allow(unsafe_code, reason = "facts of the processor have no safe form in windows-sys")]
fn architecture() -> &'static str {
    let mut info = SYSTEM_INFO::default();
    // SAFETY: `info` takes the result.
    unsafe { GetNativeSystemInfo(&raw mut info) };
    // SAFETY: every view of the union has this word.
    match unsafe { info.Anonymous.Anonymous.wProcessorArchitecture } {
        PROCESSOR_ARCHITECTURE_AMD64 => "x86_64",
        PROCESSOR_ARCHITECTURE_ARM64 => "aarch64",
        _ => "",
    }
}

#[allow(unsafe_code, reason = "facts of the processor have no safe form in windows-sys")]
fn cpu() -> Cpu {
    let model = Key::open(PROCESSOR).ok().flatten().and_then(|key| key.text("ProcessorNameString"));
    // SAFETY: takes a number alone.
    let count = unsafe { GetActiveProcessorCount(ALL_PROCESSOR_GROUPS) };
    Cpu { model: model.and_then(|model| tidy(&model)).unwrap_or_default(), count }
}

/// This host's memory in bytes; 0 if Windows does not say.
pub(super) fn memory() -> u64 {
    total_memory().unwrap_or(0)
}

#[allow(unsafe_code, reason = "facts of the memory have no safe form in windows-sys")]
fn total_memory() -> io::Result<u64> {
    let size = size_of::<MEMORYSTATUSEX>() as u32;
    let mut status = MEMORYSTATUSEX { dwLength: size, ..Default::default() };
    // SAFETY: the structure says how long it is.
    succeeded(unsafe { GlobalMemoryStatusEx(&raw mut status) })?;
    Ok(status.ullTotalPhys)
}

fn disks() -> Vec<Disk> {
    let drives = paths::drive_targets().into_iter();
    drives.filter_map(|(letter, device)| disk(letter, device)).collect()
}

#[allow(unsafe_code, reason = "facts of volumes have no safe form in windows-sys")]
fn disk(letter: char, device: String) -> Option<Disk> {
    let mount = format!(r"{letter}:\");
    let root = wide(&mount);
    // SAFETY: the path ends with a zero.
    if unsafe { GetDriveTypeW(root.as_ptr()) } != DRIVE_FIXED {
        return None;
    }
    let (mut free, mut size, mut all_free) = (0, 0, 0);
    // SAFETY: the path ends with a zero, and all three take results.
    let result = unsafe {
        GetDiskFreeSpaceExW(root.as_ptr(), &raw mut free, &raw mut size, &raw mut all_free)
    };
    succeeded(result).ok()?;
    let mut file_system = [0_u16; 64];
    // SAFETY: the path ends with a zero, and the buffer is as long as it is said to be. When it fails, the
    // buffer stays empty.
    unsafe {
        GetVolumeInformationW(
            root.as_ptr(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            file_system.as_mut_ptr(),
            file_system.len() as u32,
        )
    };
    Some(Disk { mount, device, file_system: text(&file_system), size, free })
}
