//! Comparison with CrowdSec's bouncer, fed by a stub of its decision stream: the time for 100,000 addresses.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::contestants::{Contestant, Forms, clear};
use super::{BenchContext, lists};
use crate::bench::firewall::lab_with_client;
use crate::bench::traffic::inside;
use crate::figure::{Figure, median};
use crate::host::Host;
use crate::{sys, wait};

const COUNT: u32 = 100_000;
const PACKAGE: &str = "crowdsec-firewall-bouncer";
const PORT: u16 = 8080;
/// Its time grows with the square of the number of addresses.
const LONGEST: Duration = Duration::from_secs(3600);

pub(super) fn run(bench: &BenchContext<'_>) -> Result<()> {
    let mut lab = lab_with_client()?;
    let host = lab.add_host("server", 12)?;
    let Some(program) = program(host)? else {
        eprintln!("{PACKAGE} is not installed and can't be fetched: not measured");
        return Ok(());
    };
    let addresses = lists::random(COUNT);
    let forms = Forms::write(bench.driver, host, &addresses)?;
    let mut ours = Vec::new();
    for _ in 0..5 {
        clear(host)?;
        ours.push(forms.load(Contestant::Xshield, bench.driver, host)?.time.as_secs_f64());
    }
    clear(host)?;
    let theirs = bouncer(&program, host, &addresses)?.as_secs_f64();
    let ours = median(ours).context("nothing was measured")?;
    Figure::new("threat.load_100k_s", ours, "s").beside(PACKAGE, theirs).print();
    Ok(())
}

/// The bouncer: installed, or unpacked into the host's files. Installing it would start it on this machine.
fn program(host: &Host) -> Result<Option<PathBuf>> {
    let installed = Path::new("/usr/bin").join(PACKAGE);
    if installed.is_file() {
        return Ok(Some(installed));
    }
    let directory = host.dir().join("bouncer");
    std::fs::create_dir_all(&directory)?;
    let mut fetch = Command::new("sh");
    let script = format!("apt-get download {PACKAGE} && dpkg-deb -x {PACKAGE}*.deb .");
    let fetched = fetch.args(["-c", &script]).current_dir(&directory).output()?;
    let unpacked = directory.join("usr/bin").join(PACKAGE);
    Ok((fetched.status.success() && unpacked.is_file()).then_some(unpacked))
}

/// The time until it reports that all addresses are loaded, which `nft` then confirms.
fn bouncer(program: &Path, host: &Host, addresses: &[Ipv4Addr]) -> Result<Duration> {
    let decisions: Vec<_> = addresses.iter().enumerate().map(decision).collect();
    let stream = Arc::new(json!({"new": decisions, "deleted": null}).to_string());
    let _ends_with_the_process = inside(host.network(), move || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
        Ok(move || answer(&listener, &stream))
    })?;
    let config = lists::file(host, "bouncer.yaml", &config(host.dir()))?;
    let log = host.dir().join("bouncer.log");
    let mut command = host.command(program);
    let file = std::fs::File::create(&log)?;
    command.arg("-c").arg(&config).stdout(file.try_clone()?).stderr(file);
    let begin = Instant::now();
    let mut child = command.spawn().context("could not start the bouncer")?;
    let done = format!("{COUNT} decisions added");
    let waited = wait::until("the bouncer adds all", LONGEST, || {
        Ok(std::fs::read_to_string(&log)?.contains(&done).then_some(begin.elapsed()))
    });
    let listed = host.run("nft", ["list", "table", "ip", "crowdsec"]);
    let _ended_already = sys::kill_and_wait(&mut child);
    let found = listed?.matches(" expires ").count();
    let time = waited?;
    ensure!(found == COUNT as usize, "its set has {found} addresses");
    Ok(time)
}

fn decision((id, address): (usize, &Ipv4Addr)) -> serde_json::Value {
    json!({
        "id": id, "origin": "lists", "scenario": "listed", "scope": "Ip", "type": "ban",
        "duration": "24h0m0s", "value": address.to_string(),
    })
}

fn config(directory: &Path) -> String {
    format!(
        "mode: nftables\npid_dir: {}\nupdate_frequency: 10s\ndaemonize: false\nlog_mode: stdout\n\
         log_level: info\napi_url: http://127.0.0.1:{PORT}/\napi_key: stub\ndisable_ipv6: true\n\
         deny_action: DROP\ndeny_log: false\nsupported_decisions_types: [ban]\n\
         blacklists_ipv4: listed\nblacklists_ipv6: listed6\nnftables:\n  ipv4: {{enabled: true, \
         set-only: false, table: crowdsec, chain: crowdsec-chain}}\n  ipv6: {{enabled: false}}\n\
         prometheus: {{enabled: false}}\n",
        directory.display()
    )
}

/// Sends all decisions at the start, and no new ones after that.
fn answer(listener: &TcpListener, decisions: &str) -> Result<()> {
    for stream in listener.incoming() {
        let _hung_up = serve(stream?, decisions);
    }
    Ok(())
}

fn serve(stream: TcpStream, decisions: &str) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let body = match request.contains("startup=true") {
            true => decisions,
            false => r#"{"new":null,"deleted":null}"#,
        };
        let length = body.len();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        write!(writer, "{head} {length}\r\n\r\n{body}")?;
        writer.flush()?;
    }
}
