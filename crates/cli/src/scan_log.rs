//! `xshield threat scan-log`: listed clients in the access log of a server behind proxies.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::net::IpAddr;
use std::path::{Path as FilePath, PathBuf};

use clap::{Args, ValueEnum};
use flate2::read::MultiGzDecoder;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xshield_api::Timestamp;
use xshield_api::access_log::{AccessLog, Entry};
use xshield_api::threat_events::{Listed, LookupRequest};
use xshield_api::words::counted;
use xshield_threat::Prefix;
use xshield_threat::access_log::{self, Header, LogFormat, MAX_LINE, Reading};
use xshield_wire::Bytes;

use crate::client::{Client, Path, parsed};
use crate::error::CliError;
use crate::progress::{AfterInterrupt, Shown, Waiting, received};
use crate::session::failed;
use crate::terminal::{Output, Table, cell, note, number};
use crate::times::relative;

/// Find listed clients in the access log of a server behind proxies. The host's own firewall only sees
/// the proxy's address and can't block them: block them at the proxy.
#[derive(Debug, Args)]
pub(crate) struct ScanLog {
    /// The log, plain or gzip; - for standard input.
    file: PathBuf,
    /// The format of the log.
    #[arg(long, default_value = "combined")]
    format: Format,
    /// The address or prefix of a proxy that is trusted to name its clients; may be repeated. Other
    /// senders are not trusted.
    #[arg(long = "trusted-proxy", value_name = "ADDRESS|CIDR", required = true)]
    trusted: Vec<Prefix>,
    /// The header that these proxies append to.
    #[arg(long, default_value = "x-forwarded-for")]
    header: HeaderName,
    /// The server's name or id, for --report.
    #[arg(long, requires = "report")]
    asset: Option<String>,
    /// The port at which the server listens, for --report.
    #[arg(long, default_value_t = 0, requires = "report")]
    port: u16,
    /// Raise an event for each match on the platform.
    #[arg(long, requires = "asset")]
    report: bool,
    /// Continue where the last scan with this state file ended, e.g. from cron; a rotated log is read
    /// from its start.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Common and combined of Apache and nginx, with the header as quoted field at the end.
    Combined,
    /// JSON of nginx, Caddy, Traefik, Envoy or Cloudflare, an object a line.
    Json,
    /// HAProxy's HTTP log, with the header captured.
    Haproxy,
    /// Envoy's own format and Istio's, with use_remote_address.
    Envoy,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HeaderName {
    /// X-Forwarded-For
    XForwardedFor,
    /// Forwarded (RFC 7239)
    Forwarded,
    /// X-Real-IP
    XRealIp,
}

/// The maximum number of distinct clients and proxies held at once.
const MOST_CLIENTS: usize = 10_000;
/// The maximum number of matches shown.
const MOST_MATCHES: usize = 100_000;
/// The platform's limit for one request.
const MOST_ADDRESSES: usize = 10_000;
/// The number of first bytes that identify a log.
const FINGERPRINT: u64 = 256;

/// Where a scan ended.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// SHA-256 of the log's first bytes, and their number.
    fingerprint: String,
    fingerprint_of: u64,
    /// Everything before is processed.
    offset: u64,
    /// The report in progress when the state was written: repeated exactly, so that it counts once.
    pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Pending {
    to: u64,
    batch: Bytes<16>,
}

/// The requests of one client through one proxy.
#[derive(Debug, Clone, Serialize)]
struct Seen {
    client: IpAddr,
    via: Option<IpAddr>,
    requests: u64,
    first_seen: Timestamp,
    last_seen: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

impl Seen {
    /// As reported; requests that came directly are seen by the host's own firewall.
    fn entry(&self) -> Option<Entry> {
        Some(Entry {
            client: self.client,
            via: self.via?,
            requests: self.requests,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            request: self.request.clone(),
        })
    }
}

/// A match as displayed.
#[derive(Debug, Serialize)]
struct Match {
    #[serde(flatten)]
    seen: Seen,
    listed: Value,
}

/// The result of a scan.
#[derive(Debug, Default, Serialize)]
struct Scan {
    lines: u64,
    refused: u64,
    /// The first rejected line.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    /// Requests for which the platform has an event now.
    reported: u64,
    matches: Vec<Match>,
    /// The number of further matches, beyond the limit.
    more: u64,
    #[serde(skip)]
    places: HashMap<(IpAddr, Option<IpAddr>), usize>,
}

impl Scan {
    fn add(&mut self, seen: Seen, listed: &Value) {
        let key = (seen.client, seen.via);
        if let Some(known) = self.places.get(&key).and_then(|at| self.matches.get_mut(*at)) {
            known.seen.requests += seen.requests;
            known.seen.first_seen = known.seen.first_seen.min(seen.first_seen);
            known.seen.last_seen = known.seen.last_seen.max(seen.last_seen);
        } else if self.matches.len() < MOST_MATCHES {
            self.places.insert(key, self.matches.len());
            self.matches.push(Match { seen, listed: listed.clone() });
        } else {
            self.more += 1;
        }
    }
}

impl ScanLog {
    /// Runs the scan.
    pub(crate) fn run(self, client: &Client, output: Output) -> Result<(), CliError> {
        let mut log = Log::open(&self.file)?;
        let mut state = match &self.state {
            Some(path) => self.resume(path, &mut log)?,
            None => State::default(),
        };
        let mut scan = Scan::default();
        let reading = self.reading();
        let _waiting = Waiting::begin("scan the log", self.left(), Shown::WhenLong);
        loop {
            // A part that was being reported when a scan was killed ends where it did then.
            let until = state.pending.map(|pending| pending.to);
            let part = log.part(&reading, until, self.state.is_some(), &mut scan)?;
            if part.end == state.offset && part.seen.is_empty() {
                break;
            }
            self.settle(client, &mut state, part, &mut scan)?;
            received(state.offset);
        }
        let answer = serde_json::to_value(&scan)
            .map_err(|source| CliError::Answer { action: "show the matches".to_owned(), source })?;
        output.show(&answer, |screen| Ok(table(&scan, Timestamp::now()).render(screen)))?;
        if let Some(refusal) = &scan.refusal {
            let lines = counted(scan.lines, "line");
            note(&format!("{} of {lines} could not be read; the first: {refusal}", scan.refused));
        }
        Ok(())
    }

    fn left(&self) -> AfterInterrupt {
        AfterInterrupt::Said(match (&self.state, self.report) {
            (Some(state), _) => {
                format!("the next scan with {} continues where this one stopped", state.display())
            }
            (None, true) => "matches that were already reported stay on the platform".to_owned(),
            (None, false) => return AfterInterrupt::Nothing,
        })
    }

    fn reading(&self) -> Reading {
        Reading {
            format: match self.format {
                Format::Combined => LogFormat::Combined,
                Format::Json => LogFormat::Json,
                Format::Haproxy => LogFormat::Haproxy,
                Format::Envoy => LogFormat::Envoy,
            },
            header: match self.header {
                HeaderName::XForwardedFor => Header::XForwardedFor,
                HeaderName::Forwarded => Header::Forwarded,
                HeaderName::XRealIp => Header::XRealIp,
            },
            trusted: self.trusted.clone(),
        }
    }

    /// Reads the state file and seeks to where the last scan ended.
    fn resume(&self, path: &FilePath, log: &mut Log) -> Result<State, CliError> {
        let mut state = match fs::read_to_string(path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                CliError::input(format!(
                    "{} is not a state file of a scan ({error}); delete it to start over",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(source) => return Err(failed("read", path)(source)),
        };
        let Some(file) = log.file.as_mut() else {
            return Err(CliError::input(
                "--state requires a plain file: no gzip, no standard input",
            ));
        };
        let read = |source| failed("read", &self.file)(source);
        let length = file.metadata().map_err(read)?.len();
        let known = fingerprint(file, state.fingerprint_of).map_err(read)?;
        if known != state.fingerprint || length < state.offset {
            // Another file of that name: it was rotated.
            state = State::default();
        }
        if state.fingerprint_of < FINGERPRINT {
            state.fingerprint_of = length.min(FINGERPRINT);
            state.fingerprint = fingerprint(file, state.fingerprint_of).map_err(read)?;
        }
        log.go_to(state.offset).map_err(read)?;
        Ok(state)
    }

    /// Looks up a part's clients, and reports the listed ones.
    fn settle(
        &self,
        client: &Client,
        state: &mut State,
        part: Part,
        scan: &mut Scan,
    ) -> Result<(), CliError> {
        let listed = look_up(client, &part.seen)?;
        let found: Vec<(Seen, &Value)> = part
            .seen
            .into_values()
            .filter_map(|seen| listed.get(&seen.client).map(|listed| (seen, listed)))
            .collect();
        if let (true, Some(asset)) = (self.report, &self.asset) {
            let entries: Vec<Entry> = found.iter().filter_map(|(seen, _)| seen.entry()).collect();
            if !entries.is_empty() {
                let requests = entries.iter().map(|entry| entry.requests).sum::<u64>();
                let batch = match state.pending {
                    Some(pending) => pending.batch,
                    None => Bytes(random()?),
                };
                state.pending = Some(Pending { to: part.end, batch });
                self.save(state)?;
                let body = AccessLog {
                    asset: asset.clone(),
                    batch,
                    port: self.port,
                    entries,
                    lines: None,
                };
                client.post("report matches", &Path::of(&["threat", "access-log"]), &body)?;
                scan.reported += requests;
            }
        }
        state.offset = part.end;
        state.pending = None;
        self.save(state)?;
        for (seen, listed) in found {
            scan.add(seen, listed);
        }
        Ok(())
    }

    /// Writes the state atomically.
    fn save(&self, state: &State) -> Result<(), CliError> {
        let Some(path) = &self.state else { return Ok(()) };
        let text = serde_json::to_string(state)
            .map_err(|source| CliError::Answer { action: "write the state".to_owned(), source })?;
        let mut new = path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let write = || {
            let mut file = File::create(&new)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(failed("write", path))
    }
}

fn random() -> Result<[u8; 16], CliError> {
    let mut bytes = [0; 16];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| CliError::input("the system provides no random bytes"))?;
    Ok(bytes)
}

fn fingerprint(file: &mut File, length: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut head = Vec::new();
    file.take(length).read_to_end(&mut head)?;
    Ok(digest(&SHA256, &head).as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Which of the clients are on the list.
fn look_up(
    client: &Client,
    seen: &HashMap<(IpAddr, Option<IpAddr>), Seen>,
) -> Result<HashMap<IpAddr, Value>, CliError> {
    let action = "look up the clients";
    let mut addresses: Vec<IpAddr> = seen.values().map(|seen| seen.client).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let mut listed = HashMap::new();
    for some in addresses.chunks(MOST_ADDRESSES) {
        let path = Path::of(&["threat", "look-up"]);
        let answer = client.try_out(action, &path, &LookupRequest { addresses: some.to_vec() })?;
        for item in parsed::<Vec<Value>>(action, &answer["items"])? {
            let Listed { address, .. } = parsed(action, &item)?;
            let address = address.parse().map_err(|_| {
                CliError::input(format!("could not {action}: {address:?} is not an address"))
            })?;
            listed.insert(address, item);
        }
    }
    Ok(listed)
}

/// A part of a log.
struct Part {
    /// Where it ends.
    end: u64,
    seen: HashMap<(IpAddr, Option<IpAddr>), Seen>,
}

/// A log being read.
struct Log {
    name: PathBuf,
    lines: Box<dyn BufRead>,
    /// The plain file, for resuming.
    file: Option<File>,
    at: u64,
}

impl Log {
    fn open(path: &FilePath) -> Result<Self, CliError> {
        let open = |source| failed("open", path)(source);
        if path == FilePath::new("-") {
            let lines = unpacked(BufReader::new(io::stdin())).map_err(open)?;
            return Ok(Self { name: path.to_owned(), lines, file: None, at: 0 });
        }
        let mut file = File::open(path).map_err(open)?;
        let mut magic = Vec::new();
        (&mut file).take(2).read_to_end(&mut magic).map_err(open)?;
        file.seek(SeekFrom::Start(0)).map_err(open)?;
        let plain = if magic == GZIP { None } else { Some(file.try_clone().map_err(open)?) };
        let lines = unpacked(BufReader::new(file)).map_err(open)?;
        Ok(Self { name: path.to_owned(), lines, file: plain, at: 0 })
    }

    fn go_to(&mut self, offset: u64) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(offset))?;
        self.lines = Box::new(BufReader::new(file));
        self.at = offset;
        Ok(())
    }

    /// Reads on, up to `until`, the end, or a number of clients. With `whole_lines`, an incomplete last line
    /// is left for the next scan.
    fn part(
        &mut self,
        reading: &Reading,
        until: Option<u64>,
        whole_lines: bool,
        scan: &mut Scan,
    ) -> Result<Part, CliError> {
        let mut seen: HashMap<(IpAddr, Option<IpAddr>), Seen> = HashMap::new();
        let mut line = Vec::new();
        while until.is_none_or(|until| self.at < until) && seen.len() < MOST_CLIENTS {
            line.clear();
            let read = read_line(&mut self.lines, &mut line).map_err(failed("read", &self.name))?;
            if read == 0 || (whole_lines && line.last() != Some(&b'\n')) {
                break;
            }
            self.at += read;
            while let Some(b'\n' | b'\r') = line.last() {
                line.pop();
            }
            if line.is_empty() {
                continue;
            }
            scan.lines += 1;
            match access_log::read(&line, reading) {
                Ok(found) => {
                    let at = Timestamp::from_unix(found.at);
                    let entry = seen.entry((found.client, found.via)).or_insert_with(|| Seen {
                        client: found.client,
                        via: found.via,
                        requests: 0,
                        first_seen: at,
                        last_seen: at,
                        request: None,
                    });
                    entry.requests += 1;
                    entry.first_seen = entry.first_seen.min(at);
                    entry.last_seen = entry.last_seen.max(at);
                    entry.request = found.request.or(entry.request.take());
                }
                Err(error) => {
                    scan.refused += 1;
                    scan.refusal.get_or_insert_with(|| format!("line {}: {error}", scan.lines));
                }
            }
        }
        Ok(Part { end: self.at, seen })
    }
}

const GZIP: [u8; 2] = [0x1f, 0x8b];

fn unpacked(mut raw: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    if raw.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(raw))));
    }
    Ok(Box::new(raw))
}

/// Reads a line with its end; of one that is too long, only enough is kept to detect that. Returns the number
/// of bytes read.
fn read_line(from: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    let mut taken = 0;
    loop {
        let buffer = from.fill_buf()?;
        if buffer.is_empty() {
            return Ok(taken);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
        let length = end.unwrap_or(buffer.len());
        let room = (MAX_LINE + 2).saturating_sub(line.len());
        line.extend_from_slice(&buffer[..length.min(room)]);
        if end.is_some() && length > room {
            line.push(b'\n');
        }
        from.consume(length);
        taken += length as u64;
        if end.is_some() {
            return Ok(taken);
        }
    }
}

fn table(scan: &Scan, now: Timestamp) -> Table {
    let header = &["LAST SEEN", "CLIENT", "VIA PROXY", "REQUESTS", "REQUEST", "FEEDS"];
    let mut table = Table::new(header, "No client in this log is on the threat list.");
    for Match { seen, listed } in &scan.matches {
        let feeds = listed["feeds"].as_array().into_iter().flatten();
        let feeds: Vec<&str> = feeds.filter_map(|feed| feed["feed"].as_str()).collect();
        let via = seen.via.map_or_else(|| "(direct)".to_owned(), |via| via.to_string());
        table.row(vec![
            cell(relative(seen.last_seen, now)),
            cell(seen.client.to_string()),
            cell(via),
            number(seen.requests),
            cell(seen.request.as_deref().unwrap_or("-")),
            cell(feeds.join(" ")),
        ]);
    }
    table
}
