//! A machine in software that boots a kernel, runs one initramfs and is gone.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// For all tests of one kernel.
const LIMIT: Duration = Duration::from_secs(1800);
const MEGABYTES: &str = "2048";

/// Boots, and returns what the machine printed until it switched itself off. It has no network and
/// writes nothing anywhere.
///
/// # Errors
/// When it can't be started, or is not done within its time; then it is ended.
pub(super) fn boot(kernel: &Path, initramfs: &Path, log: &Path) -> Result<String> {
    let mut command = Command::new("qemu-system-x86_64");
    // Never with hardware help: there, the kernel under test would depend on the machine's own.
    command.args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", MEGABYTES]);
    command.args(["-nodefaults", "-nic", "none", "-display", "none", "-serial", "stdio"]);
    command.args(["-no-reboot", "-append"]);
    command.arg("console=ttyS0 quiet loglevel=1 panic=-1 random.trust_cpu=on");
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(initramfs);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let child = command.spawn().context("could not start qemu-system-x86_64")?;
    let mut machine = Machine(child);
    let mut console = machine.0.stdout.take().context("the machine has no console")?;
    let (sender, done) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let ended = console.read_to_end(&mut bytes);
        // Nobody listens when the time was up.
        let _ = sender.send((ended, bytes));
    });
    let (ended, bytes) = match done.recv_timeout(LIMIT) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            drop(machine);
            let (_, bytes) = done.recv().unwrap_or_else(|_| (Ok(0), Vec::new()));
            std::fs::write(log, bytes)?;
            bail!("not done within {LIMIT:?}; its console is in {}", log.display());
        }
    };
    std::fs::write(log, &bytes).with_context(|| format!("could not write {}", log.display()))?;
    ended.context("could not read the machine's console")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Ended when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have switched itself off already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
