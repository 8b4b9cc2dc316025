//! Reads a feed: requested in its protocol, parsed within its limits. Blocks.

mod events;
mod local;
mod misp;
mod visit;

use std::time::Duration;

use ureq::http::StatusCode;
use xshield_model::feed::{Exchange, FeedSettings, ReadState, Source, UrlSource, Validators};
use xshield_threat::Listing;
use xshield_threat::feed::taxii::{self, Extent, Onward, Round};
use xshield_threat::feed::{Contents, Limits, Summary, contents};

use visit::{Pages, conditions, unchanged, validators};
use xshield_http_client::body::unpacked;
use xshield_http_client::fetch::{Answer, fetch};

pub use events::Events;
pub use visit::{Read, ReadError, Visit, VisitOutcome};

/// The interval at which feeds that send changes are requested completely, so that errors do not persist.
const WHOLE_EVERY: Duration = Duration::from_secs(24 * 3600);

impl Visit {
    /// Requests and parses the feed.
    ///
    /// # Errors
    /// See [`ReadError`]; then nothing of what was read counts.
    pub fn read(&self) -> Result<VisitOutcome, ReadError> {
        match (&self.settings.source, self.settings.exchange) {
            (Source::File(path), _) => self.read_path(path),
            (Source::Url(source), Exchange::Whole) => self.read_whole(source),
            (Source::Url(source), Exchange::Taxii) => self.read_taxii(source),
            (Source::Url(source), Exchange::Crowdsec) => self.read_crowdsec(source),
            (Source::Url(source), Exchange::Misp) => self.read_misp(source),
        }
    }

    fn read_whole(&self, source: &UrlSource) -> Result<VisitOutcome, ReadError> {
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

    fn read_taxii(&self, source: &UrlSource) -> Result<VisitOutcome, ReadError> {
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

    fn read_crowdsec(&self, source: &UrlSource) -> Result<VisitOutcome, ReadError> {
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

    fn whole(&self, listing: Listing, summary: &Summary, validators: Validators) -> VisitOutcome {
        let (read, bookmark) = (ReadState::from(summary), taxii::Bookmark::default());
        let (extent, events) = (Extent::Whole, None);
        VisitOutcome::Read(Box::new(Read { listing, read, validators, bookmark, extent, events }))
    }

    fn contents(&self, answer: Answer) -> Result<Contents, ReadError> {
        self.contents_within(answer, self.settings.limits())
    }

    fn contents_within(&self, answer: Answer, limits: Limits) -> Result<Contents, ReadError> {
        // Our limit is distinguished from that of the body's reader.
        let whole = answer.body.into_with_config().limit(u64::MAX).reader();
        let bytes = unpacked(whole, self.settings.max_bytes).map_err(ReadError::Body)?;
        let FeedSettings { format, confidence, .. } = &self.settings;
        Ok(contents(format, bytes, limits, *confidence, self.now.unix())?)
    }
}
