//! Feeds arbitrary reports from a host with a session, up to and beyond every limit: the platform accepts or
//! rejects each, everything can be listed afterwards, no stored row is damaged, and the amount of stored data
//! is bounded.
#![no_main]

use std::net::IpAddr;
use std::sync::OnceLock;

use axum::body::Bytes as Body;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Runtime;
use xshield_model::Timestamp;
use xshield_policy::inventory::Source;
use xshield_policy::{AssetId, Direction, Protocol};
use xshield_server::intake::ReportError;
use xshield_server::intake::budget::Grant;
use xshield_server::serve;
use xshield_server::settings::{AdminPassword, PasswordCost, Settings};
use xshield_server::state::App;
use xshield_store::{
    agent_events, assets, commit, events, paths, problems, reports, rows, telemetry, threat_events,
};
use xshield_wire::Bytes;
use xshield_wire::message::{
    EventKind, EventReport, EventSource, FirewallEvent, ListeningPort, Report, ReportBody,
};
use xshield_wire::telemetry::{
    ActivePath, AgentEvent, AgentEventKind, DebugArea, DebugLine, DebugLog, LogEnd, PathReport,
    PathSource, SoftwareContents, SoftwarePackage, SoftwareReport, software_digest,
};
use xshield_wire::threat::{PolicyVerdict, ThreatAction, ThreatMatch, ThreatReport};

/// Small, so that the limits are reached.
const KEPT: usize = 50;

/// The input.
#[derive(Debug, Arbitrary)]
enum Input<'a> {
    /// A body as received, compressed or not.
    Raw(&'a [u8]),
    /// Reports that can always be parsed.
    Made(Vec<Made>),
}

#[derive(Debug, Arbitrary)]
struct Made {
    kind: u8,
    /// Identifies the batch. The range is small, so that some repeat.
    batch: u8,
    created: u64,
    rows: Vec<Row>,
    /// How often each row occurs.
    times: u8,
    lost: u64,
}

#[derive(Debug, Arbitrary)]
struct Row {
    count: u64,
    at: (u64, u64),
    port: u16,
    address: [u8; 4],
    text: String,
    /// How often the text is repeated.
    long: u8,
    flags: u8,
}

impl Row {
    fn text(&self) -> String {
        self.text.repeat(usize::from(self.long) * 8)
    }

    fn address(&self) -> IpAddr {
        self.address.into()
    }

    fn direction(&self) -> Direction {
        if self.flags & 1 == 0 { Direction::Inbound } else { Direction::Outbound }
    }

    fn event(&self) -> FirewallEvent {
        FirewallEvent {
            kind: EventKind::Denied,
            direction: self.direction(),
            source: self.address(),
            destination: [192, 0, 2, 1].into(),
            protocol: Protocol::Tcp,
            port: self.port,
            rule: self.text.parse().ok(),
            packets: self.count,
            bytes: self.count,
            first_seen: self.at.0,
            last_seen: self.at.1,
            from: EventSource::Recorder,
            process: Some(self.text()),
        }
    }

    fn path(&self) -> ActivePath {
        ActivePath {
            direction: self.direction(),
            source: self.address(),
            destination: [192, 0, 2, 1].into(),
            protocol: Protocol::Udp,
            port: self.port,
            process: Some(self.text()),
            user: None,
            service: Some(self.text()),
            connections: self.count,
            bytes_forth: self.count,
            bytes_back: self.count,
            first_seen: self.at.0,
            last_seen: self.at.1,
        }
    }

    fn found(&self) -> ThreatMatch {
        ThreatMatch {
            action: ThreatAction::Blocked,
            direction: self.direction(),
            local: [192, 0, 2, 1].into(),
            remote: self.address(),
            protocol: Protocol::Tcp,
            port: self.port,
            rule: None,
            policy: PolicyVerdict::Allowed,
            process: Some(self.text()),
            service: None,
            packets: self.count,
            bytes: self.count,
            first_seen: self.at.0,
            last_seen: self.at.1,
            from: EventSource::Recorder,
            revision: self.count,
        }
    }

    fn package(&self) -> SoftwarePackage {
        SoftwarePackage {
            name: self.text(),
            version: self.port.to_string(),
            architecture: String::new(),
            manager: self.text.clone(),
        }
    }

    fn agent_event(&self) -> AgentEvent {
        AgentEvent {
            at: self.at.0,
            kind: AgentEventKind::Started,
            text: self.text(),
            revision: None,
            seconds: Some(self.count),
        }
    }

    fn line(&self) -> DebugLine {
        DebugLine { at_ms: self.count, area: DebugArea::Policy, text: self.text() }
    }

    fn listening(&self) -> ListeningPort {
        ListeningPort {
            protocol: Protocol::Tcp,
            address: self.address(),
            port: self.port,
            process: Some(self.text()),
            path: None,
            uid: Some(0),
            service: None,
        }
    }
}

impl Made {
    /// Every row, as often as it occurs.
    fn all<T>(&self, of: impl Fn(&Row) -> T) -> Vec<T> {
        let times = usize::from(self.times);
        self.rows.iter().flat_map(|row| std::iter::repeat_n(row, times)).map(of).collect()
    }

    fn report(&self) -> Report {
        let lost = self.lost;
        let body = match self.kind % 8 {
            0 => ReportBody::Events(EventReport { events: self.all(Row::event), lost }),
            1 => ReportBody::Threats(ThreatReport { matches: self.all(Row::found), lost }),
            2 => {
                let (from, paths) = (PathSource::Conntrack, self.all(Row::path));
                ReportBody::Paths(PathReport { since: 0, until: self.created, from, paths, lost })
            }
            3 => ReportBody::Agent { events: self.all(Row::agent_event) },
            4 => ReportBody::DebugLog(DebugLog {
                command: String::new(),
                first: lost,
                lines: self.all(Row::line),
                dropped: lost,
                end: LogEnd::Open,
            }),
            5 => ReportBody::ListeningPorts { ports: self.all(Row::listening) },
            6 => {
                let contents = SoftwareContents::Full { packages: self.all(Row::package) };
                let digest = Bytes([self.batch; 32]);
                ReportBody::Software(SoftwareReport { taken: self.created, digest, contents })
            }
            _ => {
                let added = self.all(Row::package);
                let digest = software_digest(&added.iter().cloned().collect());
                let base = Bytes([self.batch; 32]);
                let contents = SoftwareContents::Changes { base, added, removed: Vec::new() };
                ReportBody::Software(SoftwareReport { taken: self.created, digest, contents })
            }
        };
        Report::new([self.batch; 16], self.created, body)
    }
}

struct World {
    runtime: Runtime,
    app: App,
    asset: AssetId,
    _dir: tempfile::TempDir,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let mut settings = Settings::new(dir.path().join("data"), "127.0.0.1:0".parse().unwrap());
        settings.password_cost = PasswordCost::Cheap;
        settings.admin_password = Some(AdminPassword("correct horse battery".to_owned()));
        settings.flows_per_asset = KEPT as i64;
        settings.paths_per_asset = KEPT as i64;
        settings.threat_flows_per_asset = KEPT as i64;
        settings.report_items = Grant { per_second: u32::MAX, most: u64::MAX };
        settings.report_bytes = Grant { per_second: u32::MAX, most: u64::MAX };
        let asset: AssetId = "as-fuzz".parse().unwrap();
        let app = runtime.block_on(async {
            let app = serve::start(settings).await.unwrap().app;
            let mut tx = app.store.write().await.unwrap();
            let new = assets::NewAsset {
                id: &asset,
                name: &"fuzz".parse().unwrap(),
                source: Source::Agent,
                identity: Bytes([1; 32]),
                tags: &assets::Tags::new(),
            };
            assets::insert(&mut tx, &new, Timestamp::now()).await.unwrap();
            commit(tx).await.unwrap();
            app
        });
        World { runtime, app, asset, _dir: dir }
    })
}

async fn tell(app: &App, asset: &AssetId, body: Vec<u8>) {
    let Ok(place) = app.intake.admit(asset) else { return };
    match app.intake.read(Body::from(body)).await {
        Ok(received) => {
            let taken = app.intake.take(place, received, Vec::new(), Timestamp::now()).await;
            taken.expect("what can be read can be stored");
        }
        Err(ReportError::Unpack(_) | ReportError::TooLarge { .. } | ReportError::Message(_)) => {}
        Err(other) => panic!("the platform's fault: {other:?}"),
    }
}

async fn look(app: &App, asset: &AssetId) {
    let mut conn = app.store.read().await.unwrap();
    let conn = &mut *conn;
    let flows = events::list(conn, &Default::default(), None, 1000).await.unwrap();
    assert!(flows.len() <= KEPT, "{}", flows.len());
    assert!(paths::list(conn, &Default::default(), None, 1000).await.unwrap().len() <= KEPT);
    let matches = threat_events::list(conn, &Default::default(), None, 1000).await.unwrap();
    // No job evaluates them here: twice as many are kept.
    assert!(matches.len() <= 2 * KEPT, "{}", matches.len());
    agent_events::list(conn, &Default::default(), None, 1000).await.unwrap();
    agent_events::logs(conn, asset, 0, 1000).await.unwrap();
    agent_events::live(conn, None, None, 1000).await.unwrap();
    reports::listening(conn, asset).await.unwrap();
    reports::hits(conn, asset).await.unwrap();
    telemetry::software(conn, asset).await.unwrap();
    telemetry::software_changes(conn, asset, None, 1000).await.unwrap();
    problems::list(conn, asset).await.unwrap();
    assets::by_id(conn, asset.as_str()).await.unwrap().expect("the asset stays");
    assert_eq!(rows::damage(), []);
}

fuzz_target!(|input: Input<'_>| {
    let World { runtime, app, asset, .. } = world();
    runtime.block_on(async {
        match &input {
            Input::Raw(body) => tell(app, asset, body.to_vec()).await,
            Input::Made(made) => {
                for made in made {
                    tell(app, asset, serde_json::to_vec(&made.report()).unwrap()).await;
                }
            }
        }
        look(app, asset).await;
    });
});
