//! The environment of a run besides its configuration: clock, randomness, root directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use xshield_host::operating_system::OperatingSystem;
use xshield_wire::message::UnixSeconds;

/// The environment of a run.
#[derive(Debug, Clone)]
pub struct RunEnvironment {
    /// The operating system.
    pub os: Arc<dyn OperatingSystem>,
    /// `/` except in tests.
    pub root: PathBuf,
    /// The configuration file, for the boot unit.
    pub config: PathBuf,
    /// This program's own file, for the boot unit.
    pub program: PathBuf,
    /// Called with the progress of the download of a threat list.
    pub watch: fn(Downloaded),
    random: ring::rand::SystemRandom,
}

/// The progress of a download, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Downloaded {
    /// The bytes received so far.
    pub bytes: u64,
    /// The total number of bytes.
    pub whole: u64,
}

impl RunEnvironment {
    /// The environment of a host with this operating system, whose files are under `root`.
    #[must_use]
    pub fn new(os: Arc<dyn OperatingSystem>, root: PathBuf, config: PathBuf) -> Self {
        let program = std::env::current_exe().unwrap_or_default();
        let random = ring::rand::SystemRandom::new();
        Self { os, root, config, program, watch: |_| (), random }
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now(&self) -> UnixSeconds {
        self.now_millis() / 1000
    }

    /// Milliseconds since boot, sleep included.
    #[must_use]
    pub fn uptime_ms(&self) -> u64 {
        self.os.uptime_ms()
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_millis(&self) -> u64 {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        millis.saturating_add_signed(clock_offset().saturating_mul(1000))
    }

    /// Random bytes from the kernel.
    ///
    /// # Panics
    /// When the kernel's random number generator fails: continuing with predictable keys would be worse.
    #[must_use]
    pub fn random<const N: usize>(&self) -> [u8; N] {
        use ring::rand::SecureRandom as _;
        let mut bytes = [0; N];
        if self.random.fill(&mut bytes).is_err() {
            panic!("the kernel's random number generator does not answer");
        }
        bytes
    }
}

/// The clock offset in seconds. In debug builds it is read from the file named in `XSHIELD_CLOCK`, so that
/// tests can set the clocks of hosts that share a machine; release builds ignore it.
fn clock_offset() -> i64 {
    let file = cfg!(debug_assertions).then(|| std::env::var_os("XSHIELD_CLOCK")).flatten();
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}
