//! The input of a MAC or signature: unambiguously separated fields.

/// Fields, each preceded by its length, under a label that is unique to the use.
pub(crate) struct Transcript(Vec<u8>);

impl Transcript {
    /// Starts with `label`, which identifies the use and its version.
    pub(crate) fn new(label: &str) -> Self {
        Self(Vec::with_capacity(512)).field(label.as_bytes())
    }

    /// Adds a field: its length as 64 bits big-endian, then its bytes.
    pub(crate) fn field(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        self.0.extend_from_slice(bytes);
        self
    }

    /// Adds a number as 64 bits big-endian.
    pub(crate) fn number(self, number: u64) -> Self {
        self.field(&number.to_be_bytes())
    }

    /// The bytes to be signed, MACed or hashed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
