//! What is asked of a feed, and what came of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use xshield_model::Timestamp;
use xshield_model::feed::{
    Allow, FeedSettings, FeedState, ReadState, Sample, UrlSource, Validators,
};
use xshield_threat::feed::taxii::{self, Extent, TaxiiError};
use xshield_threat::feed::{Contents, FeedError};
use xshield_threat::listing::ListingBuilder;
use xshield_threat::{Listing, Prefix};

use super::events::Events;
use xshield_http_client::fetch::{Answer, FetchError, Plain, Request, Secret};
use xshield_http_client::guard::Reach;

/// One visit to a feed.
#[derive(Debug)]
pub struct Visit {
    /// What operators say about it.
    pub settings: FeedSettings,
    /// What proves who asks.
    pub secret: Option<Secret>,
    /// How it stood before.
    pub state: FeedState,
    /// What it listed before, which changes are changes of.
    pub base: Option<Arc<Listing>>,
    /// What was read of its events, for a MISP feed.
    pub events: Events,
    /// Files in here are not read: the platform's own keys live there.
    pub data_dir: PathBuf,
    /// When.
    pub now: Timestamp,
}

/// What came of it.
#[derive(Debug)]
pub enum Outcome {
    /// The same as before, says the server.
    Unchanged,
    /// This.
    Read(Box<Read>),
}

/// What a feed lists, and how to go on.
#[derive(Debug)]
pub struct Read {
    /// Everything that it lists now.
    pub listing: Listing,
    /// What became of its lines.
    pub read: ReadState,
    /// For the next question.
    pub validators: Validators,
    /// TAXII: where the next visit begins.
    pub bookmark: taxii::Bookmark,
    /// Whether all of it was read, not only changes.
    pub extent: Extent,
    /// What its events say, for a MISP feed.
    pub events: Option<Events>,
}

/// Why a visit failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The server.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What it gave.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// What a file of a directory says.
    #[error("{path} can't be used")]
    InFile {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: FeedError,
    },
    /// A TAXII server's pages.
    #[error(transparent)]
    Taxii(#[from] TaxiiError),
    /// The answer broke off.
    #[error("the answer broke off")]
    Body(#[source] io::Error),
    /// A file.
    #[error("could not read {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file that no feed may show.
    #[error("{path} is no file that a feed may be: give a plain file outside the data directory")]
    NoFeed {
        /// Which.
        path: PathBuf,
    },
    /// A MISP feed of which only some events could be read. They are kept.
    #[error("{} of {of} events are read by now; the next run goes on from there", .events.len())]
    Unfinished {
        /// Those that are.
        events: Box<Events>,
        /// How many of them were read in this run.
        fresh: usize,
        /// How many there are.
        of: usize,
        /// Why not all.
        #[source]
        source: Box<ReadError>,
    },
    /// The server says that nothing has changed, without having been asked so.
    #[error("the server says that nothing has changed, but nothing was read before")]
    Nothing,
}

impl ReadError {
    /// The HTTP status, when there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Fetch(error) => error.status(),
            Self::Unfinished { source, .. } => source.status(),
            _ => None,
        }
    }

    /// In how many seconds the server wants to be asked again, if it says so.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Fetch(error) => error.retry_after(),
            Self::Unfinished { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    /// What was read nevertheless, and is to be kept.
    #[must_use]
    pub fn progress(&self) -> Option<(&Events, usize)> {
        match self {
            Self::Unfinished { events, fresh, .. } => Some((events, *fresh)),
            _ => None,
        }
    }
}

impl Visit {
    /// What changes make of what was listed before; a whole reading stands for itself.
    pub(super) fn changed(
        &self,
        pages: Pages,
        extent: Extent,
        bookmark: taxii::Bookmark,
    ) -> Outcome {
        let Pages { listed, withdrawn, read, .. } = pages;
        let listing = match (extent, &self.base) {
            (Extent::Added, Some(base)) => base.updated(&listed, &withdrawn),
            _ => listed.updated(&Listing::default(), &only(&withdrawn, &listed)),
        };
        let listing = listing.in_force(self.now.unix());
        let validators = Validators::default();
        let events = None;
        Outcome::Read(Box::new(Read { listing, read, validators, bookmark, extent, events }))
    }

    /// What a server is asked, with whatever proves who asks.
    pub(super) fn request(&self, source: &UrlSource) -> Request {
        let mut url = source.url.clone();
        let secret = match &self.secret {
            Some(secret) if source.key_in_url() => {
                url = source.with_key(&secret.0);
                None
            }
            Some(secret) => source.header.clone().map(|name| (name, secret.clone())),
            None => None,
        };
        Request {
            url,
            accept: "*/*",
            headers: vec![("accept-encoding", "gzip".to_owned())],
            secret,
            body: None,
            ca: source.ca.clone(),
            proxy: source.proxy.clone(),
            reach: if source.allows(Allow::Private) { Reach::Private } else { Reach::Internet },
            plain: if source.allows(Allow::Http) { Plain::Allowed } else { Plain::Refused },
            within: Duration::from_secs(self.settings.within.into()),
        }
    }
}

/// What makes a server say that nothing has changed.
pub(super) fn conditions(visit: &Visit) -> impl Iterator<Item = (&'static str, String)> {
    let Validators { etag, last_modified } = visit.state.validators.clone();
    let known = [("if-none-match", etag), ("if-modified-since", last_modified)];
    let asked = visit.base.is_some();
    known.into_iter().filter_map(move |(name, of)| Some((name, of.filter(|_| asked)?)))
}

/// What the answer gives for the next question.
pub(super) fn validators(answer: &Answer) -> Validators {
    Validators { etag: answer.header("etag"), last_modified: answer.header("last-modified") }
}

/// Nothing has changed, says the server: true of what was read before, and of nothing else.
pub(super) fn unchanged(visit: &Visit) -> Result<Outcome, ReadError> {
    if visit.base.is_some() { Ok(Outcome::Unchanged) } else { Err(ReadError::Nothing) }
}

/// What pages or files say together.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) listed: Listing,
    pub(super) withdrawn: Listing,
    pub(super) read: ReadState,
    pub(super) records: u64,
}

/// Samples that are kept of all pages together.
pub(super) const SAMPLES: usize = 20;

impl Pages {
    /// A later page has the last word on what it names. `file`: the one that it is, of several.
    pub(super) fn add(&mut self, page: Contents, file: Option<String>) {
        let nothing = Listing::default();
        self.withdrawn =
            self.withdrawn.updated(&page.withdrawn, &only(&self.withdrawn, &page.listed));
        self.listed = self.listed.updated(&page.listed, &only(&page.withdrawn, &self.listed));
        if self.listed.is_empty() && self.withdrawn.is_empty() {
            self.listed = nothing;
        }
        self.records += page.summary.records;
        let (sum, more) = (&mut self.read, ReadState::from(&page.summary));
        sum.bytes += more.bytes;
        sum.entries += more.entries;
        sum.skipped += more.skipped;
        sum.rejected += more.rejected;
        let samples = more.samples.into_iter();
        sum.samples.extend(samples.map(|sample| Sample { file: file.clone(), ..sample }));
        sum.samples.truncate(SAMPLES);
    }
}

/// The entries of `of` that `among` has under the very same prefix.
fn only(of: &Listing, among: &Listing) -> Listing {
    let mut builder = ListingBuilder::default();
    let shared = of.iter().filter(|(prefix, _): &(Prefix, _)| among.find(*prefix).is_some());
    shared.for_each(|(prefix, confidence)| builder.push_prefix(prefix, confidence));
    builder.finish()
}
