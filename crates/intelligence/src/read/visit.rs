//! A request to a feed, and its result.

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

/// A request to a feed.
#[derive(Debug)]
pub struct Visit {
    /// Its settings.
    pub settings: FeedSettings,
    /// The credentials.
    pub secret: Option<Secret>,
    /// Its state before.
    pub state: FeedState,
    /// Its previous listing, which changes refer to.
    pub base: Option<Arc<Listing>>,
    /// Its cached events, for a MISP feed.
    pub events: Events,
    /// Files in this directory are not read: it contains the platform's own keys.
    pub data_dir: PathBuf,
    /// The time.
    pub now: Timestamp,
}

/// The result.
#[derive(Debug)]
pub enum VisitOutcome {
    /// Unchanged, according to the server.
    Unchanged,
    /// A new listing.
    Read(Box<Read>),
}

/// What a feed lists, and the state for the next request.
#[derive(Debug)]
pub struct Read {
    /// The complete listing.
    pub listing: Listing,
    /// Statistics about its lines.
    pub read: ReadState,
    /// The validators for the next request.
    pub validators: Validators,
    /// TAXII: where the next request begins.
    pub bookmark: taxii::Bookmark,
    /// Whether all of it was read, or only changes.
    pub extent: Extent,
    /// Its events, for a MISP feed.
    pub events: Option<Events>,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The transfer failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The content is unusable.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// A file of a directory is unusable.
    #[error("{path} is unusable")]
    InFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: FeedError,
    },
    /// A TAXII response is unusable.
    #[error(transparent)]
    Taxii(#[from] TaxiiError),
    /// The transfer was interrupted.
    #[error("the response was interrupted")]
    Body(#[source] io::Error),
    /// A file can't be read.
    #[error("could not read {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file that must not be used as a feed.
    #[error("{path} can't be used as a feed: expected a regular file outside the data directory")]
    NoFeed {
        /// The file.
        path: PathBuf,
    },
    /// Only some events of a MISP feed could be read. They are kept.
    #[error("{} of {of} events have been read; the next run continues from there", .events.len())]
    Unfinished {
        /// The events read.
        events: Box<Events>,
        /// How many of them were read in this run.
        fresh: usize,
        /// The total number.
        of: usize,
        /// Why not all.
        #[source]
        source: Box<ReadError>,
    },
    /// The server answers that nothing has changed to an unconditional request.
    #[error("the server says that nothing has changed, but nothing was read before")]
    Nothing,
}

impl ReadError {
    /// The HTTP status, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Fetch(error) => error.status(),
            Self::Unfinished { source, .. } => source.status(),
            _ => None,
        }
    }

    /// The delay in seconds that the server asks for, if any.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Fetch(error) => error.retry_after(),
            Self::Unfinished { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    /// What was read nevertheless and should be kept.
    #[must_use]
    pub fn progress(&self) -> Option<(&Events, usize)> {
        match self {
            Self::Unfinished { events, fresh, .. } => Some((events, *fresh)),
            _ => None,
        }
    }
}

impl Visit {
    /// Applies changes to the previous listing; a complete listing replaces it.
    pub(super) fn changed(
        &self,
        pages: Pages,
        extent: Extent,
        bookmark: taxii::Bookmark,
    ) -> VisitOutcome {
        let Pages { listed, withdrawn, read, .. } = pages;
        let listing = match (extent, &self.base) {
            (Extent::Added, Some(base)) => base.updated(&listed, &withdrawn),
            _ => listed.updated(&Listing::default(), &only(&withdrawn, &listed)),
        };
        let listing = listing.in_force(self.now.unix());
        let validators = Validators::default();
        let events = None;
        VisitOutcome::Read(Box::new(Read { listing, read, validators, bookmark, extent, events }))
    }

    /// The request with the credentials.
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

/// The conditional request headers.
pub(super) fn conditions(visit: &Visit) -> impl Iterator<Item = (&'static str, String)> {
    let Validators { etag, last_modified } = visit.state.validators.clone();
    let known = [("if-none-match", etag), ("if-modified-since", last_modified)];
    let asked = visit.base.is_some();
    known.into_iter().filter_map(move |(name, of)| Some((name, of.filter(|_| asked)?)))
}

/// The validators from the response, for the next request.
pub(super) fn validators(answer: &Answer) -> Validators {
    Validators { etag: answer.header("etag"), last_modified: answer.header("last-modified") }
}

/// Unchanged according to the server: only valid if there was a previous listing.
pub(super) fn unchanged(visit: &Visit) -> Result<VisitOutcome, ReadError> {
    if visit.base.is_some() { Ok(VisitOutcome::Unchanged) } else { Err(ReadError::Nothing) }
}

/// The combined content of pages or files.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) listed: Listing,
    pub(super) withdrawn: Listing,
    pub(super) read: ReadState,
    pub(super) records: u64,
}

/// The number of samples kept over all pages.
pub(super) const SAMPLES: usize = 20;

impl Pages {
    /// A later page overrides earlier ones. `file`: the current file, if there are several.
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

/// The entries of `of` that `among` has with exactly the same prefix.
fn only(of: &Listing, among: &Listing) -> Listing {
    let mut builder = ListingBuilder::default();
    let shared = of.iter().filter(|(prefix, _): &(Prefix, _)| among.find(*prefix).is_some());
    shared.for_each(|(prefix, confidence)| builder.push_prefix(prefix, confidence));
    builder.finish()
}
