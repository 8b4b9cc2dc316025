//! Validates feed settings.

use xshield_model::feed::{Allow, Exchange, FeedSettings, Source, UrlSource};
use xshield_threat::feed::{Format, Levels};

/// An invalid setting.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct InvalidSetting {
    /// The setting, as a JSON pointer.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// The shortest interval of a feed, in seconds.
pub const SHORTEST_EVERY: u32 = 10;
/// The highest byte limit: decompressed data is streamed, but takes time.
const MOST_BYTES: u64 = 4 << 30;
/// The maximum number of entries of a feed, limited by the platform's memory.
const MOST_ENTRIES: u64 = 16_000_000;

/// Validates the settings.
///
/// # Errors
/// Names the setting.
pub fn checked(settings: FeedSettings) -> Result<FeedSettings, InvalidSetting> {
    let refuse = |field: &'static str, reason: String| Err(InvalidSetting { field, reason });
    match &settings.source {
        Source::File(path) if !path.is_absolute() => {
            let reason = format!("{} is not an absolute path", path.display());
            return refuse("/source/file", reason);
        }
        Source::File(_) => {
            if settings.exchange != Exchange::Whole {
                return refuse("/exchange", "a file is read as a whole".to_owned());
            }
        }
        Source::Url(source) => check_source(source)?,
    }
    let format = match settings.exchange {
        Exchange::Whole => true,
        Exchange::Taxii => settings.format == Format::Stix,
        Exchange::Crowdsec => settings.format == Format::CrowdSec,
        Exchange::Misp => settings.format == Format::Misp,
    };
    if !format {
        let reason =
            "TAXII delivers STIX; CrowdSec's stream and MISP's feeds have their own formats";
        let reason = reason.to_owned();
        return refuse("/format", reason);
    }
    let bounds = [
        ("/every", u64::from(settings.every), u64::from(SHORTEST_EVERY), 366 * 24 * 3600),
        ("/within", u64::from(settings.within), 1, 3600),
        ("/max_bytes", settings.max_bytes, 1, MOST_BYTES),
        ("/max_unpacked", settings.max_unpacked, 1, MOST_BYTES),
        ("/max_entries", settings.max_entries, 1, MOST_ENTRIES),
        ("/growth_percent", settings.growth_percent, 0, 1_000_000),
        ("/shrink_percent", settings.shrink_percent, 0, 100),
    ];
    for (field, value, least, most) in bounds {
        if !(least..=most).contains(&value) {
            return refuse(field, format!("{value} is not between {least} and {most}"));
        }
    }
    if let Format::Plain { levels: Some(Levels(steps)) } = &settings.format
        && steps.is_empty()
    {
        return refuse("/format/plain/levels", "expected at least one step".to_owned());
    }
    Ok(settings)
}

fn check_source(source: &UrlSource) -> Result<(), InvalidSetting> {
    let refuse = |field: &'static str, reason: &str| {
        Err(InvalidSetting { field, reason: reason.to_owned() })
    };
    match source.url.scheme() {
        "https" => {}
        "http" if source.allow.contains(&Allow::Http) => {}
        "http" => {
            let reason = "plain HTTP can be changed in transit; use https, or allow http";
            return refuse("/source/url/url", reason);
        }
        _ => return refuse("/source/url/url", "expected an https URL"),
    }
    if !source.url.username().is_empty() || source.url.password().is_some() {
        let reason = "the URL contains a password, and URLs are shown; use the header instead";
        return refuse("/source/url/url", reason);
    }
    if let Some(header) = &source.header {
        let name = ureq::http::HeaderName::try_from(header.as_str());
        if name.is_err() {
            return refuse("/source/url/header", "this is not a valid header name");
        }
    }
    if let Some(proxy) = &source.proxy {
        if proxy.scheme() != "http" || proxy.host_str().is_none() {
            return refuse("/source/url/proxy", "expected http://HOST:PORT");
        }
        if !proxy.username().is_empty() || proxy.password().is_some() {
            return refuse("/source/url/proxy", "proxies with a login are not supported");
        }
    }
    if let Some(ca) = &source.ca
        && xshield_http_client::fetch::certificates(ca).is_err()
    {
        return refuse("/source/url/ca", "expected a certificate in PEM format");
    }
    Ok(())
}
