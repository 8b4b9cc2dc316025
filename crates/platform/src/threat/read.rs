//! What a feed says now: asked for in its way, read within its bounds. Blocks.

mod local;
pub mod misp;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::http::StatusCode;
use xshield_threat::feed::taxii::{self, Extent, Onward, Round, TaxiiError};
use xshield_threat::feed::{Contents, FeedError, Limits, Summary, contents};
use xshield_threat::listing::ListingBuilder;
use xshield_threat::{Listing, Prefix};

use super::fetch::body::unpacked;
use super::fetch::guard::Reach;
use super::fetch::{Answer, FetchError, Plain, Request, Secret, fetch};
use misp::Events;
use xshield_model::Timestamp;
use xshield_model::feed::{
    Allow, Exchange, FeedSettings, FeedState, ReadState, Sample, Source, UrlSource, Validators,
};

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

/// After this, feeds that send changes are asked for everything again, so that no slip stays.
const WHOLE_EVERY: Duration = Duration::from_secs(24 * 3600);

impl Visit {
    /// Goes there and reads.
    ///
    /// # Errors
    /// See [`ReadError`]; then nothing of what was read counts.
    pub fn read(&self) -> Result<Outcome, ReadError> {
        match (&self.settings.source, self.settings.exchange) {
            (Source::File(path), _) => self.read_path(path),
            (Source::Url(source), Exchange::Whole) => self.read_whole(source),
            (Source::Url(source), Exchange::Taxii) => self.read_taxii(source),
            (Source::Url(source), Exchange::Crowdsec) => self.read_crowdsec(source),
            (Source::Url(source), Exchange::Misp) => self.read_misp(source),
        }
    }

    fn read_whole(&self, source: &UrlSource) -> Result<Outcome, ReadError> {
        let mut request = self.request(source);
        request.headers.extend(conditions(self));
        let answer = fetch(&request)?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return unchanged(self);
        }
        let validators = validators(&answer);
        let read = self.contents(answer)?;
        Ok(self.whole(read.listed, &read.summary, validators))
    }

    fn read_taxii(&self, source: &UrlSource) -> Result<Outcome, ReadError> {
        let before = self.base.as_ref().map(|_| self.state.bookmark.clone()).unwrap_or_default();
        let mut round = Round::begin(before, self.now.unix(), WHOLE_EVERY);
        let mut pages = Pages::default();
        let mut left = self.settings.limits();
        loop {
            let mut request = self.request(source);
            request.accept = taxii::MEDIA_TYPE;
            let query = match source.url.query() {
                Some(own) => format!("{own}&{}", round.query()),
                None => round.query(),
            };
            request.url.set_query(Some(&query));
            let answer = fetch(&request)?;
            let last_added = answer.header(taxii::LAST_ADDED);
            let page = self.contents_within(answer, left)?;
            left.total_bytes = left.total_bytes.saturating_sub(page.summary.bytes);
            left.entries = left.entries.saturating_sub(page.summary.entries);
            let onward = round.page(&page.summary.page, last_added.as_deref())?;
            pages.add(page, None);
            if let Onward::Done(bookmark) = onward {
                let extent = round.extent();
                return Ok(self.changed(pages, extent, bookmark));
            }
        }
    }

    fn read_crowdsec(&self, source: &UrlSource) -> Result<Outcome, ReadError> {
        let fresh = |at: u64| self.now.unix().abs_diff(at) < WHOLE_EVERY.as_secs();
        let in_step = self.state.in_step && self.base.is_some();
        let extent = match self.state.bookmark.whole_at.filter(|&at| in_step && fresh(at)) {
            Some(_) => Extent::Added,
            None => Extent::Whole,
        };
        let mut request = self.request(source);
        let startup = if extent == Extent::Whole { "true" } else { "false" };
        request.url.query_pairs_mut().append_pair("startup", startup);
        let mut pages = Pages::default();
        pages.add(self.contents(fetch(&request)?)?, None);
        let mut bookmark = self.state.bookmark.clone();
        if extent == Extent::Whole {
            bookmark.whole_at = Some(self.now.unix());
        }
        Ok(self.changed(pages, extent, bookmark))
    }

    /// What changes make of what was listed before; a whole reading stands for itself.
    fn changed(&self, pages: Pages, extent: Extent, bookmark: taxii::Bookmark) -> Outcome {
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

    fn whole(&self, listing: Listing, summary: &Summary, validators: Validators) -> Outcome {
        let (read, bookmark) = (ReadState::from(summary), taxii::Bookmark::default());
        let (extent, events) = (Extent::Whole, None);
        Outcome::Read(Box::new(Read { listing, read, validators, bookmark, extent, events }))
    }

    fn contents(&self, answer: Answer) -> Result<Contents, ReadError> {
        self.contents_within(answer, self.settings.limits())
    }

    fn contents_within(&self, answer: Answer, limits: Limits) -> Result<Contents, ReadError> {
        // The limit of our own is told apart from that of the body's reader.
        let whole = answer.body.into_with_config().limit(u64::MAX).reader();
        let bytes = unpacked(whole, self.settings.max_bytes).map_err(ReadError::Body)?;
        let FeedSettings { format, confidence, .. } = &self.settings;
        Ok(contents(format, bytes, limits, *confidence, self.now.unix())?)
    }

    fn request(&self, source: &UrlSource) -> Request {
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
fn conditions(visit: &Visit) -> impl Iterator<Item = (&'static str, String)> {
    let Validators { etag, last_modified } = visit.state.validators.clone();
    let known = [("if-none-match", etag), ("if-modified-since", last_modified)];
    let asked = visit.base.is_some();
    known.into_iter().filter_map(move |(name, of)| Some((name, of.filter(|_| asked)?)))
}

fn validators(answer: &Answer) -> Validators {
    Validators { etag: answer.header("etag"), last_modified: answer.header("last-modified") }
}

/// Nothing has changed, says the server: true of what was read before, and of nothing else.
fn unchanged(visit: &Visit) -> Result<Outcome, ReadError> {
    if visit.base.is_some() { Ok(Outcome::Unchanged) } else { Err(ReadError::Nothing) }
}

/// What pages or files say together.
#[derive(Debug, Default)]
struct Pages {
    listed: Listing,
    withdrawn: Listing,
    read: ReadState,
    records: u64,
}

/// Samples that are kept of all pages together.
const SAMPLES: usize = 20;

impl Pages {
    /// A later page has the last word on what it names. `file`: the one that it is, of several.
    fn add(&mut self, page: Contents, file: Option<String>) {
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
