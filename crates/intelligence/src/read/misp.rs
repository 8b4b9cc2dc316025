//! MISP feeds: a manifest, and a document for each event. Only changed events are requested again; the others
//! are cached in a file beside the listings.

use std::time::{Duration, Instant};

use ureq::http::StatusCode;
use url::Url;
use xshield_model::feed::{ReadState, Sample, UrlSource, Validators};
use xshield_threat::Listing;
use xshield_threat::feed::manifest::{EventId, Manifest};
use xshield_threat::feed::taxii::{Bookmark, Extent};
use xshield_threat::feed::{FeedError, Limits, contents};
use xshield_threat::guard::Empty;

use super::events::{Event, Events};
use super::visit::{
    Read, ReadError, SAMPLES, Visit, VisitOutcome, conditions, unchanged, validators,
};
use xshield_http_client::body::unpacked;
use xshield_http_client::fetch::{FetchError, fetch};

/// The location of a feed: the URL of its manifest, or of the directory that contains it.
struct Place(Url);

impl Place {
    fn of(url: &Url) -> Self {
        let mut base = url.clone();
        let path = url.path();
        let path = path.strip_suffix(MANIFEST).unwrap_or(path).trim_end_matches('/');
        base.set_path(&format!("{path}/"));
        Self(base)
    }

    fn document(&self, name: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{name}", url.path()));
        url
    }
}

const MANIFEST: &str = "manifest.json";

/// One pass over the events.
struct Round<'a> {
    visit: &'a Visit,
    source: &'a UrlSource,
    place: Place,
    began: Instant,
    left: Limits,
    /// The statistics of this pass.
    read: ReadState,
}

impl Visit {
    pub(super) fn read_misp(&self, source: &UrlSource) -> Result<VisitOutcome, ReadError> {
        let mut request = self.request(source);
        let place = Place::of(&request.url);
        request.url = place.document(MANIFEST);
        request.headers.extend(conditions(self));
        let began = Instant::now();
        let answer = fetch(&request)?;
        if answer.status == StatusCode::NOT_MODIFIED {
            return unchanged(self);
        }
        let validators = validators(&answer);
        let whole = answer.body.into_with_config().limit(u64::MAX).reader();
        let bytes = unpacked(whole, self.settings.max_bytes).map_err(ReadError::Body)?;
        let manifest = Manifest::read(bytes, self.settings.limits())?;

        // A single event may list nothing; whether all of them may is checked at the end.
        let left = Limits { empty: Empty::Allowed, ..self.settings.limits() };
        let read = ReadState::default();
        Round { visit: self, source, place, began, left, read }.go(&manifest, validators)
    }
}

impl Round<'_> {
    fn go(
        mut self,
        manifest: &Manifest,
        validators: Validators,
    ) -> Result<VisitOutcome, ReadError> {
        let mut events: Events = self.visit.events.clone();
        events.0.retain(|id, _| manifest.0.contains_key(id));
        let (mut missing, mut fresh, mut entries) = (0, 0, events.entries());
        for (id, timestamp) in &manifest.0 {
            if events.0.get(id).is_some_and(|event| event.timestamp == *timestamp) {
                continue;
            }
            match self.event(id, *timestamp) {
                Ok(Some(event)) => {
                    fresh += 1;
                    entries += event.listing.len() as u64;
                    let old = events.0.insert(id.clone(), event);
                    entries -= old.map_or(0, |old| old.listing.len() as u64);
                }
                Ok(None) => missing += 1,
                Err(source) => {
                    let (events, source) = (Box::new(events), Box::new(source));
                    let of = manifest.0.len();
                    return Err(ReadError::Unfinished { events, fresh, of, source });
                }
            }
            if entries > self.left.entries {
                return Err(FeedError::TooManyEntries { limit: self.left.entries }.into());
            }
        }
        let listing = events.listing();
        if listing.is_empty() && self.visit.settings.empty == Empty::Refused {
            return Err(FeedError::Empty.into());
        }
        let mut read = self.read;
        read.entries = events.entries();
        read.skipped = events.0.values().map(|event| event.skipped).sum();
        read.rejected = missing + events.0.values().map(|event| event.rejected).sum::<u64>();
        // Missing events are requested again, whether or not the manifest changes.
        let validators = if missing == 0 { validators } else { Validators::default() };
        Ok(VisitOutcome::Read(Box::new(Read {
            listing,
            read,
            validators,
            bookmark: Bookmark::default(),
            extent: Extent::Whole,
            events: Some(events),
        })))
    }

    /// Requests an event; `None` if the server has none, which is recorded.
    fn event(&mut self, id: &EventId, timestamp: u64) -> Result<Option<Event>, ReadError> {
        let Visit { settings, now, .. } = self.visit;
        let within = Duration::from_secs(settings.within.into());
        let left = within.checked_sub(self.began.elapsed()).filter(|left| !left.is_zero());
        let mut request = self.visit.request(self.source);
        request.within = left.ok_or(FetchError::TooSlow(within))?;
        request.url = self.place.document(&format!("{id}.json"));
        let answer = match fetch(&request) {
            Err(FetchError::Status { status: status @ (404 | 410), .. }) => {
                let reason =
                    format!("the manifest lists this event, but the server answers {status}");
                self.note(id, Sample { file: None, line: 0, text: String::new(), reason });
                return Ok(None);
            }
            answer => answer?,
        };
        let whole = answer.body.into_with_config().limit(u64::MAX).reader();
        let bytes = unpacked(whole, settings.max_bytes).map_err(ReadError::Body)?;
        let read = contents(&settings.format, bytes, self.left, settings.confidence, now.unix());
        let (listing, summary) = match read {
            Ok(contents) => (contents.listed, contents.summary),
            // Without any attribute, or without any that is an entry.
            Err(FeedError::NoList { .. }) => Default::default(),
            Err(FeedError::NothingUsable { rejected }) => {
                let summary = xshield_threat::feed::Summary { rejected, ..Default::default() };
                (Listing::default(), summary)
            }
            Err(source) => {
                return Err(ReadError::InFile { path: format!("{id}.json").into(), source });
            }
        };
        self.left.total_bytes = self.left.total_bytes.saturating_sub(summary.bytes);
        self.read.bytes += summary.bytes;
        for sample in ReadState::from(&summary).samples {
            self.note(id, sample);
        }
        let (skipped, rejected) = (summary.skipped, summary.rejected);
        Ok(Some(Event { timestamp, skipped, rejected, listing }))
    }

    fn note(&mut self, id: &EventId, sample: Sample) {
        if self.read.samples.len() < SAMPLES {
            self.read.samples.push(Sample { file: Some(format!("{id}.json")), ..sample });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_next_to_the_manifest() {
        for (url, manifest) in [
            ("https://a/feed/", "https://a/feed/manifest.json"),
            ("https://a/feed", "https://a/feed/manifest.json"),
            ("https://a/feed/manifest.json", "https://a/feed/manifest.json"),
            ("https://a/", "https://a/manifest.json"),
            ("https://a/f/?key=1", "https://a/f/manifest.json?key=1"),
        ] {
            let place = Place::of(&url.parse().unwrap());
            assert_eq!(place.document(MANIFEST).as_str(), manifest, "{url}");
        }
    }
}
