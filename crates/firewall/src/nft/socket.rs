//! The netlink socket: transactions and dumps.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{Socket, SocketAddr};

use super::constants::{
    BATCH_GENERATION, FAMILY_INET, GENERATION_ID, OWNER, SUBSYSTEM, flag, message as kind,
};
use super::wire::{Attributes, Head, Messages, Received, Writer, message};
use crate::error::FirewallError;
use crate::plan::TABLE;
use crate::programmed::Generation;

/// The buffer for the answers of one dump step; the kernel sends at most 32 KiB.
const RECEIVE_BYTES: usize = 1 << 17;
/// Socket buffer for answers and error reports.
const RECEIVE_BUFFER: usize = 4 << 20;
/// How often a list that changed while it was read is requested again.
const LIST_TRIES: u32 = 20;

/// How a list was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Nothing changed meanwhile.
    Whole,
    /// Something changed between its messages.
    InPieces,
    /// The kernel did not complete it.
    BrokenOff,
}

/// Messages that take effect together.
pub(crate) struct Batch {
    /// The table of the messages.
    pub(crate) table: &'static str,
    bytes: Vec<u8>,
    sequence: u32,
    last: usize,
}

impl Batch {
    /// A batch that the kernel refuses with `ERESTART` unless its tables are at this generation.
    pub(crate) fn new(at: Option<Generation>) -> Self {
        Self::of_table(TABLE, at)
    }

    /// The same for another of our tables.
    pub(crate) fn of_table(table: &'static str, at: Option<Generation>) -> Self {
        let mut bytes = Vec::with_capacity(1 << 16);
        let head = Head {
            kind: kind::BATCH_BEGIN,
            flags: flag::REQUEST,
            resource: SUBSYSTEM,
            ..Head::default()
        };
        message(&mut bytes, head, |w| {
            if let Some(Generation(id)) = at {
                w.be32(BATCH_GENERATION, id);
            }
        });
        Self { table, bytes, sequence: 0, last: 0 }
    }

    /// Adds a message; `what` is one of `message::*`.
    pub(crate) fn add(&mut self, what: u16, flags: u16, content: impl FnOnce(&mut Writer<'_>)) {
        self.sequence += 1;
        self.last = self.bytes.len();
        let head = Head {
            kind: SUBSYSTEM << 8 | what,
            flags: flag::REQUEST | flags,
            sequence: self.sequence,
            family: FAMILY_INET,
            resource: 0,
        };
        message(&mut self.bytes, head, content);
    }

    /// Its size in bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.last == 0
    }

    /// The sequence number of the last message.
    pub(crate) fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Completes the batch; only its last message is acknowledged.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.last > 0 {
            let at = self.last + 6;
            let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]) | flag::ACK;
            self.bytes[at..at + 2].copy_from_slice(&flags.to_ne_bytes());
        }
        let head = Head {
            kind: kind::BATCH_END,
            flags: flag::REQUEST,
            sequence: self.sequence + 1,
            resource: SUBSYSTEM,
            ..Head::default()
        };
        message(&mut self.bytes, head, |_| {});
        self.bytes
    }
}

/// The kernel's reply to one message.
pub(crate) enum Reply<'a> {
    /// An error number, or 0 for success.
    Error(i32),
    /// The requested object.
    Content(Attributes<'a>),
}

/// A netlink socket in the network namespace in which it was opened.
pub(crate) struct Link {
    socket: Socket,
}

impl Link {
    pub(crate) fn open() -> Result<Self, FirewallError> {
        let open = || -> io::Result<Self> {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            // Requires a privilege that may be missing; then the default size is used.
            let _ =
                rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
            Ok(Self { socket })
        };
        open().map_err(|source| match source.raw_os_error() {
            Some(libc::EPROTONOSUPPORT) => FirewallError::NoNfTables,
            _ => FirewallError::Socket { action: "opening a netlink socket", source },
        })
    }

    /// Sends a batch and returns its result.
    pub(crate) fn commit(
        &mut self,
        batch: Batch,
        action: &'static str,
    ) -> Result<(), FirewallError> {
        let mut acknowledged = false;
        for (_, refusal) in self.exchange(batch, action)? {
            match refusal {
                Some(refusal) => return Err(refusal.into_error(action)),
                None => acknowledged = true,
            }
        }
        if acknowledged { Ok(()) } else { Err(FirewallError::NoAnswer { action }) }
    }

    /// Sends a batch of which some messages are expected to be refused; returns these.
    pub(crate) fn refusals(
        &mut self,
        batch: Batch,
        action: &'static str,
    ) -> Result<Vec<u32>, FirewallError> {
        let mut refused = Vec::new();
        for (sequence, refusal) in self.exchange(batch, action)? {
            match refusal.map(|refusal| (refusal.errno, refusal.into_error(action))) {
                Some((_, error @ FirewallError::NoPermission { .. })) => return Err(error),
                Some(_) => refused.push(sequence),
                None => {}
            }
        }
        Ok(refused)
    }

    fn exchange(
        &mut self,
        batch: Batch,
        action: &'static str,
    ) -> Result<Vec<(u32, Option<Refusal>)>, FirewallError> {
        let mut answers = Vec::new();
        self.send_all(&batch.finish(), action, |received| {
            if received.kind == kind::ERROR {
                answers.push((received.sequence, Refusal::of(received)));
            }
        })?;
        Ok(answers)
    }

    /// Sends messages and passes on every reply with the sequence number of its message.
    pub(crate) fn each_reply(
        &mut self,
        bytes: &[u8],
        action: &'static str,
        mut each: impl FnMut(u32, Reply<'_>),
    ) -> Result<(), FirewallError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.send_all(bytes, action, |received| {
            let reply = match received.kind {
                kind::ERROR => {
                    Reply::Error(Refusal::of(received).map_or(0, |refusal| refusal.errno))
                }
                _ => Reply::Content(received.attributes()),
            };
            each(received.sequence, reply);
        })
    }

    fn send_all(
        &mut self,
        bytes: &[u8],
        action: &'static str,
        mut each: impl FnMut(&Received<'_>),
    ) -> Result<(), FirewallError> {
        // The kernel receives a batch as a whole, and accounts for more than its size.
        let room = bytes.len() * 2 + (1 << 16);
        if rustix::net::sockopt::set_socket_send_buffer_size_force(&self.socket, room).is_err() {
            // Without the privilege, the system's limit applies; `send` fails if it is too small.
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(&self.socket, room);
        }
        let failed = |source| FirewallError::Socket { action, source };
        self.socket.send(bytes, 0).map_err(failed)?;
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        // The kernel has answered before `send` returns.
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            }
            Messages(&buffer).for_each(|received| each(&received));
        }
    }

    /// Lists the objects of a table; `content` adds to the request, `each` gets every answer.
    ///
    /// The kernel lists in several messages, and reports if anything changed in between. If it lists only the
    /// requested table, changes of other tables do not affect the list, and the caller, who usually reads
    /// several lists, has to detect changes of ours ([`super::steady`]). If it also lists other tables, a
    /// list that changed meanwhile is requested again.
    pub(crate) fn list<T: Default>(
        &mut self,
        what: u16,
        table: &str,
        action: &'static str,
        content: impl Fn(&mut Writer<'_>),
        mut each: impl FnMut(&mut T, Attributes<'_>),
    ) -> Result<T, FirewallError> {
        let question = |w: &mut Writer<'_>| {
            w.text(OWNER, table);
            content(w);
        };
        for _ in 0..LIST_TRIES {
            let mut result = T::default();
            let mut kept_to_it = true;
            let answer = self.ask(
                what,
                flag::DUMP,
                action,
                &question,
                &mut |answer| match answer.text(OWNER) == Some(table) {
                    true => each(&mut result, answer),
                    false => kept_to_it = false,
                },
            )?;
            match answer {
                Answer::Whole => return Ok(result),
                Answer::InPieces if kept_to_it => return Ok(result),
                Answer::InPieces | Answer::BrokenOff => {}
            }
        }
        Err(FirewallError::Busy { action })
    }

    /// Requests one object, with [`flag::ACK`] if the kernel acknowledges such a request.
    pub(crate) fn get<T>(
        &mut self,
        what: u16,
        extra_flags: u16,
        action: &'static str,
        content: impl Fn(&mut Writer<'_>),
        read: impl Fn(Attributes<'_>) -> Option<T>,
    ) -> Result<Option<T>, FirewallError> {
        let mut result = None;
        self.ask(what, extra_flags, action, &content, &mut |answer| result = read(answer))?;
        Ok(result)
    }

    fn ask(
        &mut self,
        what: u16,
        extra_flags: u16,
        action: &'static str,
        content: &impl Fn(&mut Writer<'_>),
        each: &mut dyn FnMut(Attributes<'_>),
    ) -> Result<Answer, FirewallError> {
        let mut request = Vec::new();
        let family = if what == kind::GET_GENERATION { 0 } else { FAMILY_INET };
        let head = Head {
            kind: SUBSYSTEM << 8 | what,
            flags: flag::REQUEST | extra_flags,
            sequence: 1,
            family,
            resource: 0,
        };
        message(&mut request, head, content);
        let failed = |source| FirewallError::Socket { action, source };
        self.socket.send(&request, 0).map_err(failed)?;
        // A request with an acknowledgement may get no answer before it.
        let is_list = extra_flags & flag::DUMP == flag::DUMP || extra_flags & flag::ACK != 0;
        let mut answer = Answer::Whole;
        let mut buffer = Vec::with_capacity(RECEIVE_BYTES);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            }
            for received in Messages(&buffer) {
                if received.flags & flag::DUMP_INTERRUPTED != 0 {
                    answer = Answer::InPieces;
                }
                match received.kind {
                    // The end of a list also says why it ended early, e.g. because the table is gone.
                    kind::DONE | kind::ERROR => match Refusal::of(&received) {
                        Some(refusal) if refusal.errno == libc::EINTR => {
                            return Ok(Answer::BrokenOff);
                        }
                        Some(refusal) => return Err(refusal.into_error(action)),
                        None => return Ok(answer),
                    },
                    _ => each(received.attributes()),
                }
                if !is_list {
                    return Ok(answer);
                }
            }
        }
    }

    pub(crate) fn generation(&mut self) -> Result<Generation, FirewallError> {
        let action = "reading the generation of the rules";
        let id =
            self.get(kind::GET_GENERATION, 0, action, |_| {}, |answer| answer.be32(GENERATION_ID))?;
        id.map(Generation).ok_or(FirewallError::NoAnswer { action })
    }
}

/// An error that the kernel reported for one message.
struct Refusal {
    errno: i32,
    message: Option<String>,
}

impl Refusal {
    /// `None` for an acknowledgement.
    fn of(received: &Received<'_>) -> Option<Self> {
        let number: [u8; 4] = received.payload.get(..4)?.try_into().ok()?;
        let errno = -i32::from_ne_bytes(number);
        if errno == 0 {
            return None;
        }
        let mut message = None;
        if received.flags & flag::ACK_TLVS != 0 {
            let mut at = 20;
            if received.flags & flag::CAPPED == 0 {
                let length = received.payload.get(4..8).and_then(|b| b.try_into().ok());
                let length = length.map_or(16, u32::from_ne_bytes);
                at = 4 + usize::try_from(length).unwrap_or(16).next_multiple_of(4);
            }
            let attributes = Attributes(received.payload.get(at..).unwrap_or_default());
            message = attributes.text(1).map(str::to_owned);
        }
        Some(Self { errno, message })
    }

    fn into_error(self, action: &'static str) -> FirewallError {
        match self.errno {
            libc::EPERM | libc::EACCES => FirewallError::NoPermission { action },
            libc::ERESTART => FirewallError::Busy { action },
            errno => FirewallError::Refused {
                action,
                source: io::Error::from_raw_os_error(errno),
                hint: self.message.map(|text| format!(" ({text})")).unwrap_or_default(),
            },
        }
    }
}
