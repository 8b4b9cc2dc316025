//! The network adapters, as iphlpapi lists them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

use windows_sys::Win32::Foundation::{ERROR_BUFFER_OVERFLOW, ERROR_NO_DATA};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_MULTICAST, GetAdaptersAddresses,
    IF_TYPE_SOFTWARE_LOOPBACK, IP_ADAPTER_ADDRESSES_LH,
};
use windows_sys::Win32::NetworkManagement::Ndis::{IfOperStatusUnknown, IfOperStatusUp};
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, AF_UNSPEC, IpDadStateDuplicate, IpDadStateInvalid, SOCKADDR_IN,
    SOCKADDR_IN6, SOCKET_ADDRESS,
};
use xshield_wire::telemetry::LinkState;

use super::wide::{Filled, checked, grown, pointed};
use crate::windows_formats::adapters::{Adapter, Reach};

/// Lists them, those that are down included.
///
/// # Errors
/// When Windows does not list them.
#[allow(unsafe_code, reason = "the list of adapters has no safe form in windows-sys")]
pub(super) fn adapters() -> io::Result<Vec<Adapter>> {
    // Microsoft recommends to begin with 15 KB. Words of eight bytes, so that structures are aligned.
    let buffer = grown(15_000 / 8, |buffer: &mut [u64]| {
        let mut size = size_of_val(buffer) as u32;
        let flags = GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST;
        let list = buffer.as_mut_ptr().cast();
        // SAFETY: the buffer is as long as it is said to be.
        let code = unsafe {
            GetAdaptersAddresses(AF_UNSPEC.into(), flags, ptr::null(), list, &raw mut size)
        };
        match code {
            ERROR_BUFFER_OVERFLOW => Ok(Filled::TooSmall((size as usize).div_ceil(8))),
            // No adapter has an address.
            ERROR_NO_DATA => Ok(Filled::Whole(0)),
            code => checked(code).map(|()| Filled::Whole(buffer.len())),
        }
    })?;
    let mut found = Vec::new();
    let mut next: *const IP_ADAPTER_ADDRESSES_LH = match buffer.as_slice() {
        [] => ptr::null(),
        filled => filled.as_ptr().cast(),
    };
    // SAFETY: Windows filled the aligned buffer with a list that ends with null and lies in the buffer.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: an entry of that list.
        found.push(unsafe { adapter(entry) });
        next = entry.Next;
    }
    Ok(found)
}

/// # Safety
/// `entry` must be of a list that Windows made and that is still there.
#[allow(unsafe_code, reason = "follows the pointers of an entry")]
unsafe fn adapter(entry: &IP_ADAPTER_ADDRESSES_LH) -> Adapter {
    let mut addresses = Vec::new();
    let mut next = entry.FirstUnicastAddress;
    // SAFETY: lists of an entry end with null, by this function's contract.
    while let Some(unicast) = unsafe { next.as_ref() } {
        if ![IpDadStateInvalid, IpDadStateDuplicate].contains(&unicast.DadState) {
            // SAFETY: an address of that list.
            addresses.extend(unsafe { address(&unicast.Address) });
        }
        next = unicast.Next;
    }
    let mut name_servers = Vec::new();
    let mut next = entry.FirstDnsServerAddress;
    // SAFETY: as above.
    while let Some(server) = unsafe { next.as_ref() } {
        // SAFETY: an address of that list.
        name_servers.extend(unsafe { address(&server.Address) });
        next = server.Next;
    }
    let is_loopback = entry.IfType == IF_TYPE_SOFTWARE_LOOPBACK;
    let mac_length = (entry.PhysicalAddressLength as usize).min(entry.PhysicalAddress.len());
    #[expect(non_upper_case_globals, reason = "the names of windows-sys")]
    let state = match entry.OperStatus {
        IfOperStatusUp => LinkState::Up,
        IfOperStatusUnknown => LinkState::Unknown,
        _ => LinkState::Down,
    };
    Adapter {
        // SAFETY: texts of an entry end with a zero.
        name: unsafe { pointed(entry.FriendlyName) },
        reach: if is_loopback { Reach::Loopback } else { Reach::Others },
        state,
        mac: entry.PhysicalAddress[..mac_length].to_vec(),
        mtu: entry.Mtu,
        metric: entry.Ipv4Metric.min(entry.Ipv6Metric),
        addresses,
        name_servers,
        // SAFETY: as above.
        suffix: unsafe { pointed(entry.DnsSuffix) },
    }
}

/// # Safety
/// The address must be null or point to one that is as long as its family says.
#[allow(unsafe_code, reason = "reads the socket addresses of C")]
unsafe fn address(address: &SOCKET_ADDRESS) -> Option<IpAddr> {
    // SAFETY: null, or valid by this function's contract.
    let family = unsafe { address.lpSockaddr.as_ref() }?.sa_family;
    match family {
        AF_INET => {
            // SAFETY: AF_INET addresses are SOCKADDR_IN.
            let v4 = unsafe { ptr::read_unaligned(address.lpSockaddr.cast::<SOCKADDR_IN>()) };
            // SAFETY: every view of the union has the same four bytes.
            let number = unsafe { v4.sin_addr.S_un.S_addr };
            Some(Ipv4Addr::from(u32::from_be(number)).into())
        }
        AF_INET6 => {
            // SAFETY: AF_INET6 addresses are SOCKADDR_IN6.
            let v6 = unsafe { ptr::read_unaligned(address.lpSockaddr.cast::<SOCKADDR_IN6>()) };
            // SAFETY: every view of the union has the same sixteen bytes.
            Some(Ipv6Addr::from(unsafe { v6.sin6_addr.u.Byte }).into())
        }
        _ => None,
    }
}
