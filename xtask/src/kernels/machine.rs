//! A virtual machine that boots a kernel and runs one initramfs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The timeout for all tests of one kernel.
const LIMIT: Duration = Duration::from_secs(5400);
const MEGABYTES: &str = "2048";

/// Boots, and returns the output until the machine shuts down. It has no network and writes nothing.
pub(super) fn boot(kernel: &Path, initramfs: &Path, log: &Path) -> Result<String> {
    let mut command = Command::new("qemu-system-x86_64");
    // Never with hardware virtualization: there, the kernel under test would depend on the machine's own.
    command.args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", MEGABYTES]);
    // Its time follows the number of instructions and not the load of this machine: a probe that waits a
    // second waits for a number of instructions, and while all wait, none pass.
    command.args(["-icount", "shift=2,sleep=off", "-rtc", "clock=vm"]);
    command.args(["-nodefaults", "-nic", "none", "-display", "none", "-serial", "stdio"]);
    command.args(["-no-reboot", "-append"]);
    command.arg("console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on");
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().context("could not start qemu-system-x86_64")?;
    let mut machine = Machine(child);
    let console = machine.0.stdout.take().context("the machine has no console")?;
    let copy = File::create(log).with_context(|| format!("could not write {}", log.display()))?;
    let (sender, done) = channel();
    std::thread::spawn(move || {
        // There is no receiver any more after the timeout.
        let _ = sender.send(copied(console, copy));
    });
    match done.recv_timeout(LIMIT) {
        Ok(console) => {
            let bytes = console.context("could not read the machine's console")?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            bail!("not done within {LIMIT:?}; its console is in {}", log.display())
        }
    }
}

/// Reads everything, and writes it to the log as it arrives.
fn copied(mut from: impl Read, mut to: impl Write) -> io::Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match from.read(&mut piece)? {
            0 => return Ok(all),
            length => {
                to.write_all(&piece[..length])?;
                all.extend_from_slice(&piece[..length]);
            }
        }
    }
}

/// Killed when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have shut down already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
