//! Limits for a JSON document before it reaches the parser: its length and that of every text in it.

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead, Read};

use crate::feed::{FeedError, Limits};

/// The progress of the reader, which is accessible while the parser owns the reader.
pub(super) struct Progress {
    limits: Limits,
    line: Cell<u64>,
    bytes: Cell<u64>,
    blank: Cell<bool>,
    stopped: RefCell<Option<FeedError>>,
}

impl Progress {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            line: Cell::new(1),
            bytes: Cell::new(0),
            blank: Cell::new(true),
            stopped: RefCell::new(None),
        }
    }

    pub(super) fn line(&self) -> u64 {
        self.line.get()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether only white space was read.
    pub(super) fn is_blank(&self) -> bool {
        self.blank.get()
    }

    /// The limit that was reached.
    pub(super) fn stopped(&self) -> Option<FeedError> {
        self.stopped.take()
    }
}

/// A reader that stops at a limit. The parser takes single bytes, so the progress is exact.
pub(super) struct Guarded<'a, R> {
    reader: R,
    progress: &'a Progress,
    text: Text,
}

/// The position of a byte.
enum Text {
    Outside,
    Inside { bytes: usize, escaped: bool },
}

impl<'a, R: BufRead> Guarded<'a, R> {
    pub(super) fn new(reader: R, progress: &'a Progress) -> Self {
        Self { reader, progress, text: Text::Outside }
    }

    fn look(&mut self, byte: u8) -> Result<(), FeedError> {
        let Progress { limits, line, bytes, blank, .. } = self.progress;
        bytes.set(bytes.get() + 1);
        if bytes.get() > limits.total_bytes {
            return Err(FeedError::TooLarge { limit: limits.total_bytes });
        }
        if byte == b'\n' {
            line.set(line.get() + 1);
        }
        blank.set(blank.get() && byte.is_ascii_whitespace());
        match &mut self.text {
            Text::Outside if byte == b'"' => {
                self.text = Text::Inside { bytes: 0, escaped: false };
            }
            Text::Outside => {}
            Text::Inside { escaped: false, .. } if byte == b'"' => self.text = Text::Outside,
            Text::Inside { bytes, escaped } => {
                *bytes += 1;
                *escaped = !*escaped && byte == b'\\';
                if *bytes > limits.line_bytes {
                    let limit = limits.line_bytes;
                    return Err(FeedError::LineTooLong { line: line.get(), limit });
                }
            }
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Guarded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.reader.fill_buf()?;
        let (Some(&byte), Some(first)) = (available.first(), buffer.first_mut()) else {
            return Ok(0);
        };
        *first = byte;
        self.reader.consume(1);
        self.look(byte).map_err(|error| {
            self.progress.stopped.replace(Some(error));
            io::Error::other("a limit of the feed was reached")
        })?;
        Ok(1)
    }
}
