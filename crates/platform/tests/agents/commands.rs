//! Commands from creation to outcome.

use serde_json::json;
use xshield_wire::message::*;

use crate::support::{TestPlatform, eventually, now};
use crate::{host, outcome};

#[test]
fn a_command_to_many_hosts_has_an_outcome_for_each() {
    let platform = TestPlatform::start();
    let mut hosts: Vec<_> =
        ["a", "b", "c", "d", "e"].iter().map(|name| host(&platform, name)).collect();
    for name in ["a", "b", "c", "d"] {
        let (status, answer) = platform.call(
            "PATCH",
            &format!("/api/v1/assets/{name}"),
            Some(&platform.admin),
            Some(json!({"tags": {"role": "web"}})),
        );
        assert_eq!(status, 200, "{answer}");
    }
    let given = platform.post(
        "/api/v1/commands",
        json!({"kind": "diagnostics", "target": {"where": "role = 'web'"}, "expires_in_seconds": 3600}),
    );
    let id = given["id"].as_str().unwrap().to_owned();
    assert_eq!(given["progress"]["assets"], 4);
    assert_eq!(given["progress"]["waiting"], 4);

    for _ in 0..2 {
        for host in &mut hosts[..3] {
            let heard = host.check_in(&platform).commands;
            assert_eq!(heard.len(), 1, "told until there is an outcome");
            assert_eq!(
                (heard[0].id.as_str(), heard[0].kind),
                (id.as_str(), CommandKind::Diagnostics)
            );
            assert!(heard[0].expires.unwrap() > now() + 3000);
        }
    }
    assert_eq!(hosts[4].check_in(&platform).commands, Vec::new(), "not meant");
    let reason = "the disk is full".to_owned();
    for (index, result) in
        [CommandResult::Done, CommandResult::Failed { reason }, CommandResult::Unknown]
            .into_iter()
            .enumerate()
    {
        let told = outcome(&id, result);
        for _ in 0..2 {
            assert_eq!(hosts[index].report(&platform, &told).status, 200);
        }
    }
    // The first outcome counts, and no host reports for others.
    assert_eq!(hosts[0].report(&platform, &outcome(&id, CommandResult::Expired)).status, 200);
    assert_eq!(hosts[4].report(&platform, &outcome(&id, CommandResult::Done)).status, 200);
    let shown = platform.get(&format!("/api/v1/commands/{id}"));
    let progress = json!({"assets": 4, "waiting": 1, "told": 0, "done": 1, "failed": 1,
                          "expired": 0, "unknown": 1, "cancelled": 0});
    assert_eq!(shown["progress"], progress);
    let outcomes = platform.get(&format!("/api/v1/commands/{id}/outcomes"));
    let states: Vec<_> = outcomes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["asset"].as_str().unwrap(), one["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("a", "done"), ("b", "failed"), ("c", "unknown"), ("d", "waiting")]);
    assert_eq!(outcomes["items"][1]["reason"], "the disk is full");
    let failed = platform.get(&format!("/api/v1/commands/{id}/outcomes?state=failed"));
    assert_eq!(failed["items"].as_array().unwrap().len(), 1);

    let cancelled = platform.post(&format!("/api/v1/commands/{id}/cancel"), json!({}));
    assert_eq!(cancelled["progress"]["cancelled"], 1);
    assert_eq!(hosts[3].check_in(&platform).commands, Vec::new(), "taken back");
    for host in &mut hosts[..3] {
        assert_eq!(host.check_in(&platform).commands, Vec::new(), "it has ended");
    }
    let platform = platform.restart();
    assert_eq!(platform.get(&format!("/api/v1/commands/{id}"))["progress"]["done"], 1);
    let audited = platform.get("/api/v1/audit?action=command");
    assert_eq!(audited["items"].as_array().unwrap().len(), 2);
    assert_eq!(platform.get("/api/v1/assets/a/commands")["items"][0]["id"], json!(id));
    assert_eq!(platform.get("/api/v1/assets/e/commands")["items"], json!([]));
}

#[test]
fn invalid_commands_are_refused() {
    let platform = TestPlatform::start();
    host(&platform, "a");
    let all = json!({"all": true});
    for (body, status, field) in [
        (json!({"kind": "dance", "target": all}), 422, "/kind"),
        (json!({"kind": "run-now", "target": {}}), 422, "/target"),
        (json!({"kind": "run-now", "target": {"assets": []}}), 422, "/target/assets"),
        (json!({"kind": "run-now", "target": {"assets": ["nobody"]}}), 404, ""),
        (
            json!({"kind": "run-now", "target": {"all": true, "source": "agent"}}),
            422,
            "/target/all",
        ),
        (json!({"kind": "run-now", "target": {"where": "role ="}}), 400, "/target/where"),
        (json!({"kind": "run-now", "target": {"where": "role = 'x'"}}), 422, "/target"),
        (json!({"kind": "run-now", "target": {"segment": "x"}}), 422, "/target/segment"),
        (
            json!({"kind": "run-now", "target": all, "expires_in_seconds": 0}),
            422,
            "/expires_in_seconds",
        ),
        (
            json!({"kind": "run-now", "target": all, "duration_seconds": 60}),
            422,
            "/duration_seconds",
        ),
        (
            json!({"kind": "debug-on", "target": all, "duration_seconds": 1}),
            422,
            "/duration_seconds",
        ),
        (json!({"kind": "run-now"}), 400, ""),
    ] {
        let (got, answer) =
            platform.call("POST", "/api/v1/commands", Some(&platform.admin), Some(body.clone()));
        assert_eq!(got, status, "{body}: {answer}");
        assert_eq!(answer["field"].as_str().unwrap_or_default(), field, "{body}: {answer}");
    }
    assert_eq!(platform.get("/api/v1/commands")["items"], json!([]), "nothing was given");
}

#[test]
fn a_command_that_is_not_picked_up_expires() {
    let platform = TestPlatform::start();
    let (mut quick, mut slow) = (host(&platform, "quick"), host(&platform, "slow"));
    let given = platform.post(
        "/api/v1/commands",
        json!({"kind": "debug-on", "target": {"all": true}, "expires_in_seconds": 2}),
    );
    let id = given["id"].as_str().unwrap().to_owned();
    assert_eq!(given["duration_seconds"], 3600);
    let heard = quick.check_in(&platform).commands;
    assert_eq!((heard[0].kind, heard[0].duration), (CommandKind::DebugOn, Some(3600)));
    let progress = || platform.get(&format!("/api/v1/commands/{id}"))["progress"].clone();
    eventually("expiring", || (progress()["expired"] == 1).then_some(()));
    assert_eq!(progress()["told"], 1, "who heard in time may still be at it");
    assert_eq!(slow.check_in(&platform).commands, Vec::new());
    assert_eq!(quick.check_in(&platform).commands, Vec::new());
    assert_eq!(quick.report(&platform, &outcome(&id, CommandResult::Done)).status, 200);
    assert_eq!(slow.report(&platform, &outcome(&id, CommandResult::Done)).status, 200);
    let progress = progress();
    assert_eq!((&progress["done"], &progress["expired"]), (&json!(1), &json!(1)));
}
