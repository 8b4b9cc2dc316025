//! The host's own description: name, OS, kernel, addresses, boot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::ptr;
use std::{fs, io};

use xshield_wire::message::HostFacts;

use super::bridges::inner_addresses;
use super::os_release::OsRelease;

/// Why the host could not be described.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The addresses can't be listed.
    #[error("could not list this host's addresses")]
    Addresses(#[source] io::Error),
    /// The boot id can't be read.
    #[error("could not read {BOOT_ID}; is /proc mounted?")]
    BootId(#[source] io::Error),
}

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// All addresses of this network namespace, including loopback and those of inner bridges.
///
/// # Errors
/// When the kernel's addresses can't be listed.
pub fn all_addresses() -> Result<Vec<IpAddr>, SystemError> {
    interface_addresses().map_err(SystemError::Addresses)
}

/// Describes this host.
///
/// # Errors
/// When `/proc` is missing or the kernel's addresses can't be listed.
pub fn host_facts(os: &OsRelease) -> Result<HostFacts, SystemError> {
    let system = rustix::system::uname();
    Ok(HostFacts {
        name: host_name(),
        os: os.name(),
        kernel: system.release().to_string_lossy().into_owned(),
        addresses: addresses().map_err(SystemError::Addresses)?,
        boot_id: boot_id()?,
    })
}

/// The name under which this host registers.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The id of this boot.
///
/// # Errors
/// When `/proc` is missing.
pub fn boot_id() -> Result<String, SystemError> {
    let text = fs::read_to_string(Path::new(BOOT_ID)).map_err(SystemError::BootId)?;
    Ok(text.trim().to_owned())
}

/// The addresses of this network namespace, sorted, without loopback and link-local ones, and without those
/// of bridges that connect only this host's own containers and virtual machines.
pub(super) fn addresses() -> io::Result<Vec<IpAddr>> {
    let inner = inner_addresses()?;
    let mut addresses: Vec<IpAddr> = interface_addresses()?
        .into_iter()
        .filter(|address| is_own(*address) && !inner.contains(address))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn is_own(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || link_local)
}

#[allow(unsafe_code, reason = "getifaddrs(3) has no safe form in the standard library")]
pub(super) fn interface_addresses() -> io::Result<Vec<IpAddr>> {
    let mut list: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: `list` is a valid location for the result, which is freed below exactly once.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut addresses = Vec::new();
    let mut next = list;
    // SAFETY: getifaddrs returned a valid, null-terminated list that stays until freeifaddrs.
    while let Some(interface) = unsafe { next.as_ref() } {
        next = interface.ifa_next;
        // SAFETY: a non-null `ifa_addr` points to a socket address of the family it names.
        addresses.extend(unsafe { socket_address(interface.ifa_addr) });
    }
    // SAFETY: `list` came from getifaddrs and no reference into it is left.
    unsafe { libc::freeifaddrs(list) };
    Ok(addresses)
}

/// The IP address of a socket address; `None` for null and for other families.
///
/// # Safety
/// `address` must be null or point to a socket address that is as long as its family says.
#[allow(unsafe_code, reason = "reads the C union that getifaddrs(3) returns")]
unsafe fn socket_address(address: *const libc::sockaddr) -> Option<IpAddr> {
    // SAFETY: null, or valid by this function's contract.
    let family = i32::from(unsafe { address.as_ref() }?.sa_family);
    match family {
        libc::AF_INET => {
            // SAFETY: AF_INET addresses are sockaddr_in.
            let v4 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in>()) };
            Some(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: AF_INET6 addresses are sockaddr_in6.
            let v6 = unsafe { ptr::read_unaligned(address.cast::<libc::sockaddr_in6>()) };
            Some(Ipv6Addr::from(v6.sin6_addr.s6_addr).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_describes_itself() {
        let os = OsRelease::read(Path::new("/")).unwrap();
        let facts = host_facts(&os).unwrap();
        assert!(!facts.name.is_empty() && !facts.kernel.is_empty(), "{facts:?}");
        assert_eq!(facts.boot_id.len(), 36, "{facts:?}");
        assert_eq!(facts.os, os.name());
        assert!(facts.addresses.iter().all(|address| is_own(*address)), "{facts:?}");
    }

    #[test]
    fn loopback_is_left_out() {
        let all = interface_addresses().unwrap();
        assert!(all.iter().any(IpAddr::is_loopback), "{all:?}");
        for (address, own) in [
            ("127.0.0.1", false),
            ("::1", false),
            ("169.254.1.1", false),
            ("fe80::1", false),
            ("10.0.0.5", true),
            ("2001:db8::5", true),
            ("fd00::5", true),
        ] {
            assert_eq!(is_own(address.parse().unwrap()), own, "{address}");
        }
    }
}
