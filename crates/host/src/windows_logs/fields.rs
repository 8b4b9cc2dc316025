//! The named values of an event, as text.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

/// The fields of an event of the Security log that are used. `None` if an event lacks one.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct Fields<'a> {
    /// The event id.
    #[serde(rename = "EventID", default, deserialize_with = "number_or_text")]
    pub event_id: u32,
    /// When it was written, in ISO 8601 and UTC.
    #[serde(rename = "@timestamp", alias = "SystemTime", borrow, default)]
    pub time: Option<Cow<'a, str>>,
    /// `%%14592` inbound, `%%14593` outbound.
    #[serde(rename = "Direction", borrow, default)]
    pub direction: Option<Cow<'a, str>>,
    /// One endpoint; which one depends on the build.
    #[serde(rename = "SourceAddress", borrow, default)]
    pub source_address: Option<Cow<'a, str>>,
    /// Its port.
    #[serde(rename = "SourcePort", borrow, default)]
    pub source_port: Option<Cow<'a, str>>,
    /// The other endpoint.
    #[serde(rename = "DestAddress", borrow, default)]
    pub destination_address: Option<Cow<'a, str>>,
    /// Its port.
    #[serde(rename = "DestPort", borrow, default)]
    pub destination_port: Option<Cow<'a, str>>,
    /// The IP protocol's number.
    #[serde(rename = "Protocol", borrow, default)]
    pub protocol: Option<Cow<'a, str>>,
    /// The executable, as an NT device path.
    #[serde(rename = "Application", borrow, default)]
    pub application: Option<Cow<'a, str>>,
    /// The process.
    #[serde(rename = "ProcessId", alias = "ProcessID", borrow, default)]
    pub process: Option<Cow<'a, str>>,
    /// The id of the filter that decided.
    #[serde(rename = "FilterRTID", alias = "FilterId", borrow, default)]
    pub filter: Option<Cow<'a, str>>,
    /// The key of a changed filter.
    #[serde(rename = "FilterKey", borrow, default)]
    pub filter_key: Option<Cow<'a, str>>,
    /// The name of a changed filter.
    #[serde(rename = "FilterName", borrow, default)]
    pub filter_name: Option<Cow<'a, str>>,
    /// `%%16384` added, `%%16385` deleted.
    #[serde(rename = "ChangeType", borrow, default)]
    pub change: Option<Cow<'a, str>>,
    /// The user who changed it.
    #[serde(rename = "UserName", borrow, default)]
    pub user: Option<Cow<'a, str>>,
}

/// Some exports contain the number as text.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<'a> {
        Number(u32),
        #[serde(borrow)]
        Text(Cow<'a, str>),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl<'a> Fields<'a> {
    /// Parses an event exported as a JSON object.
    ///
    /// # Errors
    /// When it is not such an object.
    pub fn from_json(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The field with this name in events.
    #[cfg(any(test, feature = "windows-xml"))]
    pub(super) fn named(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        Some(match name {
            "Direction" => &mut self.direction,
            "SourceAddress" => &mut self.source_address,
            "SourcePort" => &mut self.source_port,
            "DestAddress" => &mut self.destination_address,
            "DestPort" => &mut self.destination_port,
            "Protocol" => &mut self.protocol,
            "Application" => &mut self.application,
            "ProcessId" | "ProcessID" => &mut self.process,
            "FilterRTID" | "FilterId" => &mut self.filter,
            "FilterKey" => &mut self.filter_key,
            "FilterName" => &mut self.filter_name,
            "ChangeType" => &mut self.change,
            "UserName" => &mut self.user,
            _ => return None,
        })
    }
}
