//! Settings that are read, changed and written back. What a newer platform has in them and this version does
//! not know is written back unchanged.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use crate::error::CliError;

/// The fields of settings that this version does not know.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct UnknownFields(Vec<Field>);

/// A field, by the keys that lead to it.
#[derive(Debug, Clone, PartialEq)]
struct Field {
    keys: Vec<String>,
    value: Value,
}

/// Parses settings that are about to be changed.
///
/// # Errors
/// When a field that this version knows has a value that it does not know.
pub(crate) fn read<T>(action: &str, settings: &Value) -> Result<(T, UnknownFields), CliError>
where
    T: Serialize + DeserializeOwned,
{
    let failed = |source| CliError::Answer { action: action.to_owned(), source };
    let mut accepted = settings.clone();
    let known: T = loop {
        match serde_path_to_error::deserialize(&accepted) {
            Ok(known) => break known,
            Err(error) => {
                let keys = keys(error.path());
                let error = error.into_inner();
                if !error.to_string().starts_with("unknown field") || !remove(&mut accepted, &keys)
                {
                    return Err(failed(error));
                }
            }
        }
    };
    let mut unknown = UnknownFields::default();
    unknown.find(settings, &serde_json::to_value(&known).map_err(failed)?, &mut Vec::new());
    Ok((known, unknown))
}

impl UnknownFields {
    fn find(&mut self, settings: &Value, known: &Value, path: &mut Vec<String>) {
        let (Value::Object(settings), Value::Object(known)) = (settings, known) else { return };
        for (key, value) in settings {
            path.push(key.clone());
            match known.get(key) {
                Some(known) => self.find(value, known, path),
                None => self.0.push(Field { keys: path.clone(), value: value.clone() }),
            }
            path.pop();
        }
    }

    /// A request with the changed settings, `below` these keys of it, and these fields in them. Fields of what
    /// is no longer in the settings are omitted.
    pub(crate) fn with(
        self,
        action: &str,
        request: &impl Serialize,
        below: &[&str],
    ) -> Result<Value, CliError> {
        let mut request = serde_json::to_value(request)
            .map_err(|source| CliError::Answer { action: action.to_owned(), source })?;
        for Field { keys, value } in self.0 {
            let Some((last, parents)) = keys.split_last() else { continue };
            let parents = below.iter().copied().chain(parents.iter().map(String::as_str));
            if let Some(parent) = object(&mut request, parents) {
                parent.entry(last.clone()).or_insert(value);
            }
        }
        Ok(request)
    }
}

fn keys(path: &Path) -> Vec<String> {
    let key = |segment: &Segment| match segment {
        Segment::Map { key } => key.clone(),
        Segment::Enum { variant } => variant.clone(),
        Segment::Seq { index } => index.to_string(),
        Segment::Unknown => String::new(),
    };
    path.iter().map(key).collect()
}

fn object<'a, 'k>(
    value: &'a mut Value,
    keys: impl IntoIterator<Item = &'k str>,
) -> Option<&'a mut Map<String, Value>> {
    keys.into_iter().try_fold(value, |value, key| value.get_mut(key))?.as_object_mut()
}

/// Whether the field was there.
fn remove(settings: &mut Value, keys: &[String]) -> bool {
    let Some((last, parents)) = keys.split_last() else { return false };
    let parent = object(settings, parents.iter().map(String::as_str));
    parent.is_some_and(|parent| parent.remove(last).is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use xshield_api::host_configuration::HostSettings;
    use xshield_api::threat_feeds::{FeedSettings, Source};

    use super::*;

    const ACTION: &str = "change the settings";

    #[test]
    fn unknown_fields_are_written_back() {
        let stored = json!({"heartbeat": 60, "quiet_hours": {"from": 22}});
        let (mut settings, unknown) = read::<HostSettings>(ACTION, &stored).unwrap();
        settings.heartbeat = None;
        settings.inventory = Some(120);
        let sent = unknown.with(ACTION, &settings, &[]).unwrap();
        assert_eq!(sent["quiet_hours"], json!({"from": 22}));
        assert_eq!((&sent["heartbeat"], &sent["inventory"]), (&Value::Null, &json!(120)));
    }

    fn feed(source: Value, format: Value) -> Value {
        json!({"source": source, "format": format, "mirror": "eu"})
    }

    #[test]
    fn unknown_fields_stay_where_they_are_as_long_as_that_is_there() {
        let url = json!({"url": {"url": "https://a.example/", "retry": 3}});
        let csv = json!({"csv": {"separator": ",", "port": "refused", "quote": "'", "fields":
            {"address": "ip", "confidence": null, "valid_until": null}}});
        let stored = feed(url, csv);
        let (mut settings, unknown) = read::<FeedSettings>(ACTION, &stored).unwrap();
        settings.every = 7200;
        let request = json!({"settings": settings});
        let sent = unknown.with(ACTION, &request, &["settings"]).unwrap();
        let sent = &sent["settings"];
        assert_eq!(sent["mirror"], "eu");
        assert_eq!(sent["source"]["url"]["retry"], 3);
        assert_eq!(sent["format"]["csv"]["quote"], "'");
        assert_eq!(sent["every"], 7200);

        let (mut settings, unknown) = read::<FeedSettings>(ACTION, &stored).unwrap();
        settings.source = Source::File("/lists".into());
        let sent = unknown.with(ACTION, &settings, &[]).unwrap();
        assert_eq!((&sent["source"], &sent["mirror"]), (&json!({"file": "/lists"}), &json!("eu")));
    }

    #[test]
    fn an_unknown_value_of_a_known_field_is_refused() {
        for stored in [
            feed(json!({"file": "/a"}), json!("brand-new")),
            feed(json!({"bucket": "/a"}), json!("misp")),
            json!({"format": "misp"}),
            json!([]),
        ] {
            let refused = read::<FeedSettings>(ACTION, &stored).unwrap_err().report();
            assert!(refused.contains("could not change the settings"), "{stored}: {refused}");
        }
    }
}
