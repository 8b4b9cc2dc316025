//! Detects changes of this host's addresses: when it is renumbered, joins a network, or gets a new temporary
//! IPv6 address (RFC 8981).
//!
//! The kernel notifies about every address that is added, removed or renewed (rtnetlink, groups
//! `RTNLGRP_IPV4_IFADDR` and `RTNLGRP_IPV6_IFADDR`), so nothing is polled. Router advertisements renew
//! addresses all the time; therefore the list of addresses is compared, once there was no notification for a
//! while.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;

use super::netlink::{Link, RECEIVE_BYTES, ReceiveResult};
use super::system;

/// `RTNLGRP_IPV4_IFADDR`, linux/rtnetlink.h.
const V4_GROUP: u32 = 5;
/// `RTNLGRP_IPV6_IFADDR`.
const V6_GROUP: u32 = 9;
/// Changes come in groups: an interface that comes up gets several addresses, one after the other.
const QUIET: Duration = Duration::from_secs(1);
/// The longest wait for the end of a group of changes.
const LONGEST_SETTLING: Duration = Duration::from_secs(10);

/// Why changes can't be detected.
#[derive(Debug, thiserror::Error)]
pub enum AddressWatchError {
    /// Subscribing to the kernel's notifications failed.
    #[error("could not subscribe to the kernel's notifications about addresses")]
    Subscribe(#[source] io::Error),
    /// Reading a notification failed.
    #[error("could not read the kernel's notifications about addresses")]
    Read(#[source] io::Error),
    /// Listing the addresses failed.
    #[error("could not list this host's addresses")]
    List(#[source] io::Error),
}

/// Follows changes of the addresses of the network namespace in which it was opened.
#[derive(Debug)]
pub struct AddressWatch {
    link: Link,
    buffer: Vec<u8>,
    known: Vec<IpAddr>,
}

impl AddressWatch {
    /// Starts with the host's current addresses.
    ///
    /// # Errors
    /// [`AddressWatchError`]
    pub fn open() -> Result<Self, AddressWatchError> {
        let open = || {
            let mut link = Link::open(NETLINK_ROUTE)?;
            link.join(V4_GROUP)?;
            link.join(V6_GROUP)?;
            Ok(link)
        };
        let link = open().map_err(AddressWatchError::Subscribe)?;
        let known = system::addresses().map_err(AddressWatchError::List)?;
        Ok(Self { link, buffer: vec![0; RECEIVE_BYTES], known })
    }

    /// Waits at most for `time`, and some seconds longer while addresses are changing. Returns the host's
    /// addresses if they have changed.
    ///
    /// # Errors
    /// [`AddressWatchError`]
    pub fn wait(&mut self, time: Duration) -> Result<Option<&[IpAddr]>, AddressWatchError> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.is_told(left)? {
                return Ok(None);
            }
            let settled = Instant::now() + LONGEST_SETTLING;
            while Instant::now() < settled && self.is_told(QUIET)? {}
            let now = system::addresses().map_err(AddressWatchError::List)?;
            if now != self.known {
                self.known = now;
                return Ok(Some(&self.known));
            }
        }
    }

    /// Whether a notification arrives within this time.
    fn is_told(&mut self, time: Duration) -> Result<bool, AddressWatchError> {
        match self.link.receive(&mut self.buffer, time).map_err(AddressWatchError::Read)? {
            ReceiveResult::Nothing => Ok(false),
            ReceiveResult::Datagram(_) | ReceiveResult::Overrun => Ok(true),
        }
    }
}
