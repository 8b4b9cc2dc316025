//! Commands in bulk: by selection or filter, with their outcomes and archives.

use serde_json::json;
use xshield_wire::message::*;

use crate::support::{RawAnswer, TestHost, TestPlatform, now, report};
use crate::{BrowserSession, agent, spark, tag, words};

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The command to which an answer redirects.
fn given(answer: &RawAnswer) -> String {
    assert_eq!(answer.status, 303, "{}", answer.text());
    answer.header("location").unwrap().strip_prefix("/commands/").unwrap().to_owned()
}

fn outcome(host: &TestHost, platform: &TestPlatform, id: &str, result: CommandResult) {
    let outcomes = vec![CommandOutcome { id: id.to_owned(), at: now(), result }];
    assert_eq!(host.report(platform, &report(ReportBody::Commands { outcomes })).status, 200);
}

#[test]
fn a_command_to_selected_hosts_is_confirmed_followed_and_its_archive_downloaded() {
    let platform = TestPlatform::start();
    let mut hosts: Vec<_> = ["a", "b", "c"].iter().map(|name| agent(&platform, name)).collect();
    let operator = BrowserSession::with_role(&platform, "operator");
    let fields = [("kind", "diagnostics"), ("whom", "selected"), ("asset", "a"), ("asset", "b")];
    let asked = operator.post("/commands/confirm", &fields);
    let asked = words(&asked.text());
    assert!(asked.contains("2 hosts will collect diagnostics"), "{asked}");
    assert_eq!(platform.get("/api/v1/commands")["items"], json!([]), "only asked");

    let confirmed: Vec<_> = fields.iter().copied().chain([("hosts", "2")]).collect();
    let id = given(&operator.post("/commands", &confirmed));
    let path = format!("/commands/{id}");
    let shown = operator.page(&path);
    assert!(shown.contains("hx-trigger=\"every 2s\""), "it goes on");
    assert!(shown.contains("http-equiv=\"refresh\""), "without scripts, too");
    assert!(words(&shown).contains("in progress 0 of 2 hosts 2 waiting"), "{}", words(&shown));

    let mut heard = |index: usize| {
        let host: &mut TestHost = &mut hosts[index];
        host.check_in(&platform).commands.len()
    };
    assert_eq!((heard(0), heard(1), heard(2)), (1, 1, 0));
    let archive = b"an archive".repeat(1000);
    let query = format!("offset=0&total={}&sha256={}", archive.len(), sha256(&archive));
    let upload = format!("/host/v1/uploads/{id}");
    assert_eq!(hosts[0].send_query(&platform, "PUT", &upload, &query, &archive).status, 200);
    outcome(&hosts[0], &platform, &id, CommandResult::Done);
    outcome(&hosts[1], &platform, &id, CommandResult::Failed { reason: "no space".to_owned() });

    let shown = operator.page(&path);
    assert!(!shown.contains("hx-trigger"), "it has ended");
    assert!(!shown.contains("http-equiv"), "{shown}");
    let text = words(&shown);
    assert!(text.contains("ended 2 of 2 hosts 1 done 1 failed"), "{text}");
    assert!(text.contains("b failed no space"), "{text}");
    let failed = words(&operator.page(&format!("{path}?state=failed")));
    assert!(!failed.contains(" a done") && failed.contains("b failed"), "{failed}");

    let link = shown.split('"').find(|part| part.starts_with("/diagnostics/")).unwrap();
    let got = operator.get(link);
    assert!(got.status == 200 && got.body == archive, "{}", got.status);
    assert!(got.header("content-disposition").unwrap().starts_with("attachment"));
    assert_eq!(
        platform.get("/api/v1/audit?action=diagnostics.download")["items"][0]["actor"],
        "user:operator"
    );
    let asset = operator.page("/assets/a");
    assert!(asset.contains(link) && words(&asset).contains("Collect diagnostics done operator"));
    let listed = words(&operator.page("/commands"));
    assert!(listed.contains("Collect diagnostics ended 2 1 1 operator"), "{listed}");
}

#[test]
fn a_command_to_all_matches_targets_the_hosts_in_the_table() {
    let platform = TestPlatform::start();
    let names = ["web-1", "web-2", "web-3", "db-1"];
    let agents: Vec<_> = names.iter().map(|name| agent(&platform, name)).collect();
    drop((agents, spark(&platform, "web-9")));
    for name in ["web-1", "web-2", "db-1", "web-9"] {
        tag(&platform, name, "environment", "prod");
    }
    let operator = BrowserSession::with_role(&platform, "operator");
    let filter = [
        ("kind", "debug-on"),
        ("duration", "900"),
        ("whom", "matching"),
        ("source", "agent"),
        ("name", "WEB"),
        ("status", "online"),
        ("where", "environment = 'prod'"),
        // The selected rows are ignored here.
        ("asset", "db-1"),
    ];
    let asked = words(&operator.post("/commands/confirm", &filter).text());
    assert!(
        asked.contains("2 hosts will log in detail, and send the log here for 15 min"),
        "{asked}"
    );

    let with = |hosts: &'static str| -> Vec<_> {
        filter.iter().copied().chain([("hosts", hosts)]).collect()
    };
    drop(agent(&platform, "web-4"));
    tag(&platform, "web-4", "environment", "prod");
    let again = operator.post("/commands", &with("2"));
    assert_eq!(again.status, 200, "asked again");
    assert!(words(&again.text()).contains("Confirmed for 2, but there are 3 hosts now"));
    assert_eq!(platform.get("/api/v1/commands")["items"], json!([]));

    let id = given(&operator.post("/commands", &with("3")));
    let command = platform.get(&format!("/api/v1/commands/{id}"));
    assert_eq!(command["duration_seconds"], 900);
    assert_eq!(command["created_by"], "user:operator");
    let outcomes = platform.get(&format!("/api/v1/commands/{id}/outcomes"));
    let meant: Vec<_> =
        outcomes["items"].as_array().unwrap().iter().map(|one| one["asset"].clone()).collect();
    assert_eq!(meant, ["web-1", "web-2", "web-4"]);
    let shown = words(&operator.page(&format!("/commands/{id}")));
    assert!(shown.contains("all hosts of source agent with &#34;WEB&#34; in the name"), "{shown}");

    let cancelled = operator.post(&format!("/commands/{id}/cancel"), &[]);
    assert_eq!(given(&cancelled), id);
    assert_eq!(platform.get(&format!("/api/v1/commands/{id}"))["progress"]["cancelled"], 3);
}

#[test]
fn commands_without_permission_are_refused_by_the_server() {
    let platform = TestPlatform::start();
    drop(agent(&platform, "a"));
    let job = platform.post("/api/v1/assets/a/commands", json!({"kind": "diagnostics"}));
    let id = job["id"].as_str().unwrap();
    let viewer = BrowserSession::with_role(&platform, "viewer");
    let command = [("kind", "run-now"), ("whom", "selected"), ("asset", "a"), ("hosts", "1")];
    for answer in [
        viewer.post("/commands/confirm", &command),
        viewer.post("/commands", &command),
        viewer.post(&format!("/commands/{id}/cancel"), &[]),
        viewer.get("/diagnostics/a"),
    ] {
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(words(&answer.text()).contains("this requires the role operator"));
    }
    for (path, body) in [("/commands", &command[..]), (&format!("/commands/{id}/cancel"), &[])] {
        let answer = BrowserSession::stranger(&platform).post(path, body);
        assert_eq!(answer.header("location"), Some("/sign-in"), "{path}");
    }
    assert_eq!(platform.get("/api/v1/commands")["items"].as_array().unwrap().len(), 1);
    assert_eq!(platform.get(&format!("/api/v1/commands/{id}"))["cancelled_at"], json!(null));
    let shown = viewer.page(&format!("/commands/{id}"));
    assert!(!shown.contains("Cancel it for"), "{shown}");
}

#[test]
fn invalid_forms_create_no_command() {
    let platform = TestPlatform::start();
    drop(agent(&platform, "a"));
    let operator = BrowserSession::with_role(&platform, "operator");
    for (fields, status) in [
        (&[("kind", "dance"), ("whom", "selected"), ("asset", "a")][..], 422),
        (&[("whom", "selected"), ("asset", "a")], 422),
        (&[("kind", "run-now"), ("asset", "a")], 422),
        (&[("kind", "run-now"), ("whom", "selected")], 422),
        (&[("kind", "run-now"), ("whom", "matching")], 422),
        (&[("kind", "run-now"), ("whom", "matching"), ("name", " ")], 422),
        (&[("kind", "run-now"), ("whom", "matching"), ("status", "tired")], 422),
        (&[("kind", "run-now"), ("whom", "matching"), ("where", "role =")], 422),
        (&[("kind", "run-now"), ("whom", "selected"), ("asset", "nobody")], 404),
        (&[("kind", "debug-on"), ("duration", "x"), ("whom", "selected"), ("asset", "a")], 422),
    ] {
        for path in ["/commands/confirm", "/commands"] {
            let answer = operator.post(path, fields);
            assert_eq!(answer.status, status, "{path} {fields:?}: {}", answer.text());
        }
    }
    let too_long = [
        ("kind", "debug-on"),
        ("duration", "86401"),
        ("whom", "selected"),
        ("asset", "a"),
        ("hosts", "1"),
    ];
    assert_eq!(operator.post("/commands", &too_long).status, 422);
    let nobody = [("kind", "run-now"), ("whom", "matching"), ("source", "spark"), ("hosts", "0")];
    assert!(
        words(&operator.post("/commands/confirm", &nobody).text()).contains("no host in service")
    );
    assert_eq!(operator.post("/commands", &nobody).status, 422);
    assert_eq!(platform.get("/api/v1/commands")["items"], json!([]), "nothing was given");
}
