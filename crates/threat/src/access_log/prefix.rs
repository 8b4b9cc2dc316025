//! Prefixes that log collectors add to a line.

use std::borrow::Cow;

use serde_json::Value;

/// The line without the prefix or wrapper of syslog (RFC 3164, RFC 5424), container runtimes (CRI) or
/// Docker's json-file. `None` for a part of a line, since container runtimes split long ones.
pub(super) fn stripped(line: &str) -> Option<Cow<'_, str>> {
    if let Some(rest) = of_cri(line) {
        return rest.map(Cow::Borrowed);
    }
    if let Some(inner) = of_docker(line) {
        return Some(Cow::Owned(inner));
    }
    Some(Cow::Borrowed(of_syslog(line).unwrap_or(line)))
}

/// `2026-11-21T05:00:00.123456789Z stdout F …`: `F` is a complete line, `P` a part.
fn of_cri(line: &str) -> Option<Option<&str>> {
    let mut words = line.splitn(4, ' ');
    let (time, stream, tag) = (words.next()?, words.next()?, words.next()?);
    let is_time = time.len() > 19 && time.as_bytes().get(10) == Some(&b'T');
    if !is_time || !matches!(stream, "stdout" | "stderr") {
        return None;
    }
    match tag.split(':').next()? {
        "F" => Some(words.next()),
        "P" => Some(None),
        _ => None,
    }
}

/// `{"log":"…\n","stream":"stdout","time":"…"}`.
fn of_docker(line: &str) -> Option<String> {
    if !line.starts_with("{\"log\":") {
        return None;
    }
    let Value::Object(mut object) = serde_json::from_str(line).ok()? else { return None };
    let is_docker = object.contains_key("stream") && object.contains_key("time");
    match object.remove("log") {
        Some(Value::String(inner)) if is_docker => Some(inner.trim_end().to_owned()),
        _ => None,
    }
}

/// `<190>Nov 21 05:00:00 host nginx[7]: …`, also with a time in RFC 3339 and without the priority; `<190>1
/// 2026-11-21T05:00:00Z host nginx 7 - - …`.
fn of_syslog(line: &str) -> Option<&str> {
    let priority = line.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let rest = match priority {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        Some(_) => return None,
        None => line,
    };
    if let Some(rest) = rest.strip_prefix("1 ").filter(|_| priority.is_some()) {
        return of_rfc5424(rest);
    }
    let rest = match rest.get(..16).filter(|time| is_bsd_time(time)) {
        Some(_) => rest.get(16..)?,
        None => rest.split_once(' ').filter(|(time, _)| is_iso_time(time))?.1,
    };
    let (_host, rest) = rest.split_once(' ')?;
    let (tag, message) = rest.split_once(": ")?;
    (!tag.contains(' ')).then_some(message)
}

/// Time, host, program, process, kind, structured data (`-` or `[…]`), message.
fn of_rfc5424(text: &str) -> Option<&str> {
    let mut rest = text;
    for _ in 0..5 {
        rest = rest.split_once(' ')?.1;
    }
    if let Some(message) = rest.strip_prefix("- ") {
        return Some(message.trim_start_matches('\u{feff}'));
    }
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b']' if !quoted && rest.as_bytes().get(at + 1) == Some(&b' ') => {
                return rest.get(at + 2..).map(|message| message.trim_start_matches('\u{feff}'));
            }
            _ => {}
        }
    }
    None
}

/// `Nov 21 05:00:00 `.
fn is_bsd_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.iter().take(3).all(u8::is_ascii_alphabetic)
        && [3, 6, 15].iter().all(|at| bytes.get(*at) == Some(&b' '))
        && [9, 12].iter().all(|at| bytes.get(*at) == Some(&b':'))
}

fn is_iso_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    marks.iter().all(|(at, mark)| bytes.get(*at) == Some(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_prefixes_are_stripped() {
        const LINE: &str = "198.51.100.7 - - [10/Oct/2000:13:55:36 -0700] \"GET / HTTP/1.0\" 200 1";
        for front in [
            "",
            "Nov 21 05:00:00 web nginx: ",
            "Nov  1 05:00:00 web nginx[7]: ",
            "<190>Nov 21 05:00:00 web nginx: ",
            "<190>2026-11-21T05:00:00+01:00 web nginx: ",
            "2026-11-21T05:00:00.123+01:00 web nginx[7]: ",
            "<190>1 2026-11-21T05:00:00Z web nginx 7 - - ",
            "<190>1 2026-11-21T05:00:00Z web nginx 7 access [x@1 a=\"b] \\\" c\"][y@1] ",
            "<190>1 2026-11-21T05:00:00Z web nginx 7 - - \u{feff}",
            "2026-11-21T05:00:00.123456789Z stdout F ",
            "2026-11-21T05:00:00.123456789+01:00 stderr F ",
        ] {
            let line = format!("{front}{LINE}");
            assert_eq!(stripped(&line).as_deref(), Some(LINE), "{front}");
        }
        let docker = serde_json::json!({
            "log": format!("{LINE}\n"), "stream": "stdout", "time": "2026-11-21T05:00:00Z"
        });
        assert_eq!(stripped(&docker.to_string()).as_deref(), Some(LINE));
        assert_eq!(stripped("2026-11-21T05:00:00.123456789Z stdout P 198.51.100.7 - -"), None);
        for line in ["", "x", "{\"log\":1}", "<x>1 a", "<190>", "Nov 21 05:00:00 web", "a b: c"] {
            assert_eq!(stripped(line).as_deref(), Some(line));
        }
    }
}
