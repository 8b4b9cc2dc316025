//! The expectation matrix: every pair of hosts × every port × both families, expected and actual.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::lab::Lab;
use crate::probe::{self, Port, Probe, ProbeResult};
use crate::service::SEEN;

/// One cell: a flow from one host to another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The host that opens the flow.
    pub from: String,
    /// The host to which it is opened.
    pub to: String,
    /// The port or ping.
    pub port: Port,
    /// The address family.
    pub family: Family,
}

/// Address family of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// The expected result of a flow, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// The result.
    pub outcome: ProbeResult,
    /// The rule or the table's line that determines it.
    pub because: String,
}

impl Expectation {
    /// It passes.
    #[must_use]
    pub fn passes(because: &str) -> Self {
        Self { outcome: ProbeResult::Passed, because: because.to_owned() }
    }

    /// It is dropped.
    #[must_use]
    pub fn drops(because: &str) -> Self {
        Self { outcome: ProbeResult::Dropped, because: because.to_owned() }
    }
}

/// Expectations with their results.
#[derive(Debug, Default)]
pub struct Matrix {
    cells: BTreeMap<Flow, Cell>,
}

#[derive(Debug)]
struct Cell {
    expected: Expectation,
    got: Option<ProbeResult>,
}

impl Matrix {
    /// Every ordered pair of `hosts` × `ports` × both families.
    #[must_use]
    pub fn of(hosts: &[&str], ports: &[Port], expect: impl Fn(&Flow) -> Expectation) -> Self {
        let mut cells = BTreeMap::new();
        for &from in hosts {
            for &to in hosts.iter().filter(|&&to| to != from) {
                for &port in ports {
                    for family in Family::BOTH {
                        let flow = Flow { from: from.to_owned(), to: to.to_owned(), port, family };
                        let expected = expect(&flow);
                        cells.insert(flow, Cell { expected, got: None });
                    }
                }
            }
        }
        Self { cells }
    }

    /// Only the cells that `keep` selects; the others are not part of the result.
    #[must_use]
    pub fn only(self, keep: impl Fn(&Flow) -> bool) -> Self {
        Self { cells: self.cells.into_iter().filter(|(flow, _)| keep(flow)).collect() }
    }

    /// Sends every probe, all hosts at the same time, and reads what the receivers saw.
    ///
    /// # Errors
    /// When a prober can't run or a host is missing; never because of a result.
    pub fn probe(&mut self, lab: &Lab) -> Result<()> {
        static ROUND: AtomicU64 = AtomicU64::new(0);
        let round = ROUND.fetch_add(1, Ordering::Relaxed);
        let results = self.send_all(lab, round)?;
        let seen = take_seen(lab)?;
        for (flow, nonce, sent) in results {
            let arrived = seen.get(&flow.to).is_some_and(|nonces| nonces.contains(&nonce));
            if let Some(cell) = self.cells.get_mut(&flow) {
                cell.got = Some(both_ends(flow.port, sent, arrived));
            }
        }
        Ok(())
    }

    fn send_all(&self, lab: &Lab, round: u64) -> Result<Vec<(Flow, String, ProbeResult)>> {
        let sources: BTreeSet<&str> = self.cells.keys().map(|flow| flow.from.as_str()).collect();
        std::thread::scope(|scope| {
            let send = |source| scope.spawn(move || self.probe_from(lab, source, round));
            let running: Vec<_> = sources.into_iter().map(send).collect();
            let mut results = Vec::new();
            for thread in running {
                let sent = thread.join().map_err(|_| anyhow::anyhow!("a prober panicked"))??;
                results.extend(sent);
            }
            Ok(results)
        })
    }

    fn probe_from(
        &self,
        lab: &Lab,
        source: &str,
        round: u64,
    ) -> Result<Vec<(Flow, String, ProbeResult)>> {
        let mine = self.cells.iter().filter(|(flow, _)| flow.from == source);
        let mut flows = Vec::new();
        let mut probes = Vec::new();
        for (number, (flow, cell)) in mine.enumerate() {
            let to = lab.host(&flow.to)?;
            let address: IpAddr = match flow.family {
                Family::V4 => to.v4().into(),
                Family::V6 => to.v6().into(),
            };
            // A dropped probe takes its whole timeout; one that passes returns at once, so a long timeout
            // only prevents a busy machine from looking like a firewall.
            let timeout = match cell.expected.outcome {
                ProbeResult::Passed => Duration::from_secs(5),
                _ => Duration::from_millis(1300),
            };
            let nonce = format!("{source}-{round}-{number}.");
            probes.push(Probe { address, port: flow.port, timeout, nonce: nonce.clone() });
            flows.push((flow.clone(), nonce));
        }
        let outcomes = probe::send(lab.host(source)?, lab.programs(), &probes)?;
        if outcomes.len() != flows.len() {
            bail!("the prober on {source} answered {} of {} probes", outcomes.len(), flows.len());
        }
        Ok(flows.into_iter().zip(outcomes).map(|((flow, nonce), out)| (flow, nonce, out)).collect())
    }

    /// Cells with an unexpected result, including those that were never probed.
    #[must_use]
    pub fn wrong(&self) -> Vec<&Flow> {
        let wrong = self.cells.iter().filter(|(_, cell)| cell.is_wrong());
        wrong.map(|(flow, _)| flow).collect()
    }

    /// The number of cells.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there are no cells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Every cell's flow.
    pub fn flows(&self) -> impl Iterator<Item = &Flow> {
        self.cells.keys()
    }

    /// The expected result of a flow.
    #[must_use]
    pub fn expected(&self, flow: &Flow) -> Option<&Expectation> {
        self.cells.get(flow).map(|cell| &cell.expected)
    }

    /// Fails unless every cell was probed with the expected result.
    ///
    /// # Errors
    /// The matrix, with its wrong cells marked; also if it is empty.
    pub fn verify(&self) -> Result<()> {
        let wrong = self.wrong().len();
        if self.is_empty() {
            bail!("the matrix is empty: nothing was checked");
        }
        if wrong > 0 {
            bail!("{wrong} of {} cells are wrong:\n{self}", self.len());
        }
        Ok(())
    }
}

impl Cell {
    fn is_wrong(&self) -> bool {
        self.got != Some(self.expected.outcome)
    }

    /// The text of the actual result.
    fn got(&self) -> String {
        self.got.map_or("never ran".to_owned(), |got| got.to_string())
    }
}

/// Combines the results of sender and receiver. A receiver does not record pings.
fn both_ends(port: Port, sent: ProbeResult, arrived: bool) -> ProbeResult {
    match (port, sent, arrived) {
        (Port::Ping, sent, _) | (_, sent @ ProbeResult::Passed, true) => sent,
        (_, ProbeResult::Passed, false) | (_, _, true) => ProbeResult::OneWay,
        (_, sent, false) => sent,
    }
}

/// What arrived since the last call, by host.
fn take_seen(lab: &Lab) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut seen = BTreeMap::new();
    for host in lab.hosts() {
        let path = host.dir().join(SEEN);
        if !path.exists() {
            continue;
        }
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("could not read what {} saw", host.name()))?;
        std::fs::File::create(&path)?;
        seen.insert(host.name().to_owned(), text.lines().map(str::to_owned).collect());
    }
    Ok(seen)
}

impl std::fmt::Display for Matrix {
    /// One line per pair of hosts, one column per port, `expected/got` in each cell: once if IPv4 and IPv6
    /// agree, otherwise both.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ports: BTreeSet<Port> = self.cells.keys().map(|flow| flow.port).collect();
        let pairs: BTreeSet<(&str, &str)> =
            self.cells.keys().map(|flow| (flow.from.as_str(), flow.to.as_str())).collect();
        let name_width = pairs.iter().map(|(from, _)| from.len()).max().unwrap_or(0).max(4);
        write!(f, "{:name_width$}    {:name_width$}", "from", "to")?;
        for port in &ports {
            write!(f, "  {:11}", port.to_string())?;
        }
        writeln!(f, "  (expected/got)")?;
        for (from, to) in pairs {
            let mut line = format!("{from:name_width$} -> {to:name_width$}");
            let mut wrong = String::new();
            for &port in &ports {
                let cells = Family::BOTH.map(|family| {
                    let flow = Flow { from: from.to_owned(), to: to.to_owned(), port, family };
                    self.cells.get(&flow)
                });
                write!(line, "  {:11}", merged(cells))?;
                for (family, cell) in Family::BOTH.into_iter().zip(cells) {
                    if let Some(cell) = cell.filter(|cell| cell.is_wrong()) {
                        writeln!(
                            wrong,
                            "      {port} over {}: expected {}, got {}   <---- WRONG ({})",
                            family.name(),
                            cell.expected.outcome,
                            cell.got(),
                            cell.expected.because
                        )?;
                    }
                }
            }
            writeln!(f, "{}", line.trim_end())?;
            f.write_str(&wrong)?;
        }
        Ok(())
    }
}

/// `expected/got`, once if both families agree; `!` marks unexpected results.
fn merged(cells: [Option<&Cell>; 2]) -> String {
    let word = |cell: &Cell| {
        let mark = if cell.is_wrong() { "!" } else { "" };
        format!("{}/{}{mark}", cell.expected.outcome, cell.got())
    };
    match cells.map(|cell| cell.map(word)) {
        [Some(a), Some(b)] if a == b => a,
        [Some(a), Some(b)] => format!("{a}|{b}"),
        [Some(a), None] | [None, Some(a)] => a,
        [None, None] => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(family: Family) -> Flow {
        Flow { from: "web".into(), to: "db".into(), port: Port::Tcp(22), family }
    }

    #[test]
    fn missing_probes_count_as_wrong() {
        let matrix = Matrix::of(&["web", "db"], &[Port::Tcp(22)], |_| Expectation::drops("test"));
        assert_eq!(matrix.wrong().len(), 4);
        assert!(matrix.verify().is_err());
        assert!(Matrix::default().verify().is_err());
    }

    #[test]
    fn wrong_cells_are_marked_with_family_and_reason() {
        let mut matrix =
            Matrix::of(&["web", "db"], &[Port::Tcp(22)], |_| Expectation::passes("rule ssh"));
        for cell in matrix.cells.values_mut() {
            cell.got = Some(ProbeResult::Passed);
        }
        assert!(matrix.verify().is_ok());
        matrix.cells.get_mut(&flow(Family::V6)).unwrap().got = Some(ProbeResult::Dropped);
        let text = matrix.to_string();
        assert!(
            text.contains("tcp/22 over IPv6: expected pass, got drop   <---- WRONG (rule ssh)"),
            "{text}"
        );
        assert_eq!(text.matches("WRONG").count(), 1, "{text}");
        assert!(text.contains("web  -> db    pass/pass|pass/drop!"), "{text}");
        assert!(text.contains("db   -> web   pass/pass\n"), "{text}");
    }

    #[test]
    fn a_probe_is_judged_by_both_ends() {
        let tcp = Port::Tcp(1);
        for (port, sent, arrived, got) in [
            (tcp, ProbeResult::Passed, true, ProbeResult::Passed),
            (tcp, ProbeResult::Dropped, false, ProbeResult::Dropped),
            (tcp, ProbeResult::Dropped, true, ProbeResult::OneWay),
            (tcp, ProbeResult::Passed, false, ProbeResult::OneWay),
            (tcp, ProbeResult::Refused, false, ProbeResult::Refused),
            (Port::Ping, ProbeResult::Passed, false, ProbeResult::Passed),
        ] {
            assert_eq!(both_ends(port, sent, arrived), got, "{port} {sent} {arrived}");
        }
    }
}
