//! The agent's answers as text for people.

use std::fmt::Write as _;

use serde_json::Value;
use xshield_enforce::foreign;

/// Prints one line; line breaks in texts of others are replaced.
#[allow(clippy::print_stdout, reason = "one of the places that print; what it prints is one line")]
pub fn line(text: &str) {
    println!("{}", foreign::one_line(text));
}

/// Prints the output of a function of this module, or JSON: texts of others stay on one line.
#[allow(
    clippy::print_stdout,
    reason = "one of the places that print; it contains no control \
     characters"
)]
pub fn page(text: &str) {
    println!("{}", foreign::lines(text));
}

/// Prints an error to standard error.
#[allow(clippy::print_stderr, reason = "one of the places that print; what it prints is one line")]
pub fn complaint(program: &str, text: &str) {
    eprintln!("{program}: {}", foreign::one_line(text));
}

/// The agent's status.
#[must_use]
pub fn status(status: &Value) -> String {
    let now = status["now"].as_i64().unwrap_or_default();
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<16} {}", foreign::one_line(&value));
    };
    let (last, host) = (&status["last_cycle"], &status["host"]);
    line("agent", format!("ctagent {}, process {}", plain(&status["version"]), status["pid"]));
    line("platform", plain(&status["platform"]));
    line("name", plain(&host["name"]));
    line("fingerprint", plain(&host["fingerprint"]));
    line("kernel", plain(&host["kernel"]));
    let revision = match &host["last_known_good"]["revision"] {
        Value::Null => "none".to_owned(),
        revision => format!("revision {revision}"),
    };
    line("last known good", revision);
    let policy = &host["policy"];
    if policy.is_object() {
        line("inbound", plain(&policy["inbound"]));
        line("outbound", plain(&policy["outbound"]));
    }
    match (&last["outcome"]["status"], &last["error"]) {
        (Value::String(status), _) if status == "enforcing" && policy["enforces"] == false => {
            line("last cycle", "not protected: nothing is enforced".to_owned());
        }
        (Value::String(status), _) => line("last cycle", status.clone()),
        (_, Value::String(error)) => line("last cycle", format!("failed: {error}")),
        _ => line("last cycle", "none yet".to_owned()),
    }
    line("next cycle", format!("in {} s at the latest", status["next_cycle_seconds"]));
    line("notification", plain(&status["notification"]));
    for route in last["outcome"]["routes"].as_array().into_iter().flatten() {
        let used = if route["in_use"] == true { ", in use" } else { "" };
        let failed = match &route["last_failure"]["reason"] {
            Value::String(reason) => {
                let at = route["last_failure"]["at"].as_i64();
                let ago = at.map(|at| since(now, at)).unwrap_or_default();
                format!(", failed{ago}: {reason}")
            }
            _ => String::new(),
        };
        line("route", format!("{}{used}{failed}", plain(&route["route"])));
    }
    line("live events", live(&status["live"]));
    let usage = &status["usage"];
    let cpu = usage["cpu"].as_f64().unwrap_or_default() / 10.0;
    line("uses", format!("{cpu:.1} % of a core, {} KiB", usage["memory"]));
    for problem in last["outcome"]["problems"].as_array().into_iter().flatten() {
        let _ = writeln!(text, "  {}: {}", plain(&problem["code"]), plain(&problem["text"]));
    }
    text.trim_end().to_owned()
}

/// The agent's resource usage and what waits to be sent.
#[must_use]
pub fn telemetry(telemetry: &Value) -> String {
    let usage = &telemetry["usage"];
    let cpu = usage["cpu"].as_f64().unwrap_or_default() / 10.0;
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<16} {}", foreign::one_line(&value));
    };
    line("processor", format!("{cpu:.1} % of a core, of {} %", telemetry["cpu_budget_percent"]));
    line("memory", format!("{} KiB, of {} KiB", usage["memory"], telemetry["memory_budget_kib"]));
    line("waits to be sent", format!("{} reports", telemetry["waiting_reports"]));
    line("paths", plain(&telemetry["paths"]));
    text.trim_end().to_owned()
}

/// The status of live events, on one line.
fn live(live: &Value) -> String {
    let (standing, counts) = (&live["standing"], &live["counts"]);
    let mut text = match standing["state"].as_str() {
        Some("listening") => format!("on, log group {}", standing["group"]),
        Some("resting") => "paused: the agent is over its budget".to_owned(),
        Some("failed") => format!("failed: {}", plain(&standing["reason"])),
        Some("off") => return "off".to_owned(),
        _ => "starting".to_owned(),
    };
    let _ = write!(text, "; {} packets shown, {} lost", counts["shown"], counts["lost"]);
    if let Value::String(reason) = &live["untold"] {
        let _ = write!(text, "; not told: {}", foreign::one_line(reason));
    }
    text
}

/// ` 5 min ago`, from two times in seconds.
fn since(now: i64, at: i64) -> String {
    match now.saturating_sub(at) {
        ..0 => String::new(),
        seconds @ 0..120 => format!(" {seconds} s ago"),
        seconds @ 120..7_200 => format!(" {} min ago", seconds / 60),
        seconds => format!(" {} h ago", seconds / 3_600),
    }
}

/// A text without its quotes, on one line; anything else as JSON.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => foreign::one_line(text).into_owned(),
        Value::Null => "unknown".to_owned(),
        other => foreign::json(other).unwrap_or_default(),
    }
}

/// A text of several lines.
#[must_use]
pub fn several(value: &Value) -> String {
    foreign::lines(value.as_str().unwrap_or_default()).trim_end().to_owned()
}

/// Recorded flows, one a line.
#[must_use]
pub fn flows(flows: &Value) -> String {
    let mut text = String::new();
    for flow in flows.as_array().into_iter().flatten() {
        let _ = writeln!(
            text,
            "{:<10} {:<8} {:<4} {} -> {} port {}, {} packets, {} bytes",
            plain(&flow["kind"]),
            plain(&flow["direction"]),
            plain(&flow["protocol"]),
            plain(&flow["source"]),
            plain(&flow["destination"]),
            flow["port"],
            flow["packets"],
            flow["bytes"],
        );
    }
    match text.is_empty() {
        true => "nothing is recorded".to_owned(),
        false => text.trim_end().to_owned(),
    }
}

/// The rule that decides.
#[must_use]
pub fn explanation(answer: &Value) -> String {
    several(&answer["text"])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requested_status_is_shown_as_text() {
        let answer = json!({
            "usage": { "cpu": 4, "memory": 9_000 }, "cpu_budget_percent": 10.0,
            "memory_budget_kib": 65_536, "waiting_reports": 3, "paths": "12 paths",
        });
        assert_eq!(
            telemetry(&answer),
            "processor        0.4 % of a core, of 10.0 %\nmemory           9000 KiB, of 65536 KiB\n\
             waits to be sent 3 reports\npaths            12 paths"
        );
    }

    #[test]
    fn a_failed_route_is_shown_with_its_time() {
        for (at, expected) in [
            (940, "failed 60 s ago: no"),
            (400, "failed 10 min ago: no"),
            (-20_000, "failed 5 h ago: no"),
            (1_100, "failed: no"),
        ] {
            let failure = json!({ "reason": "no", "at": at, "kind": "refused" });
            let route = json!({ "route": "direct", "in_use": false, "last_failure": failure });
            let last = json!({ "outcome": { "status": "enforcing", "routes": [route] } });
            let text = status(&json!({ "now": 1_000, "last_cycle": last }));
            assert!(text.contains(expected), "{text}");
        }
    }
}
