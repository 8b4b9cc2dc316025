//! Committing in the console: the impact is shown, and exactly that is committed.

use serde_json::json;

use crate::support::TestPlatform;
use crate::{BrowserSession, agent, tag, words};

const CLOSED: &str = "segment: { name: web, criteria: role = 'web', \
     inbound: { level: secure-all-ports, mode: enforce } }";
const OPEN: &str = "segment: { name: web, criteria: role = 'web' }";

/// The value of a hidden field.
fn hidden<'p>(page: &'p str, name: &str) -> &'p str {
    let field = format!("name=\"{name}\" value=\"");
    let at = page.find(&field).unwrap_or_else(|| panic!("no {name}: {page}")) + field.len();
    page[at..].split('"').next().unwrap()
}

#[test]
fn without_a_candidate_nothing_can_be_committed() {
    let platform = TestPlatform::start();
    let admin = BrowserSession::admin(&platform);
    let page = admin.page("/policy");
    assert!(!page.contains("/policy/commit"), "{page}");
    let fields = [("version", "0"), ("impact", "any"), ("note", "")];
    let refused = admin.post("/policy/commit", &fields);
    let shown = words(&refused.text());
    assert_eq!(refused.status, 409, "{shown}");
    assert!(shown.contains("Not committed: there is no candidate policy to commit"), "{shown}");
    assert_eq!(platform.get("/api/v1/policy")["committed_revision"], json!(null));
}

#[test]
fn a_commit_contains_exactly_what_was_shown() {
    let platform = TestPlatform::start();
    drop(agent(&platform, "a"));
    tag(&platform, "a", "role", "web");
    platform.commit(CLOSED);
    assert_eq!(platform.put_yaml(OPEN).0, 200);
    let admin = BrowserSession::admin(&platform);
    let viewer = BrowserSession::with_role(&platform, "viewer");
    assert!(!viewer.page("/policy").contains("/policy/commit"));

    let page = admin.page("/policy");
    let shown = words(&page);
    assert!(shown.contains("1 asset with less protection inbound: a"), "{shown}");
    assert!(shown.contains("from secure-all-ports (enforce) to unsecured"), "{shown}");
    assert!(
        shown.contains("~ segment web") && shown.contains("- level: secure-all-ports"),
        "{shown}"
    );
    let fields = |page: &str| {
        [
            ("version", hidden(page, "version").to_owned()),
            ("impact", hidden(page, "impact").to_owned()),
        ]
    };
    let commit = |fields: &[(&str, String)]| {
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        admin.post("/policy/commit", &[&fields[..], &[("note", "by hand")]].concat())
    };
    let form = fields(&page);
    assert_eq!(viewer.post("/policy/commit", &[("version", "2"), ("impact", "any")]).status, 403);

    // Another host is in the segment by now: confirmation is asked for again, and the note is kept.
    drop(agent(&platform, "b"));
    tag(&platform, "b", "role", "web");
    let again = commit(&form);
    assert_eq!(again.status, 409, "{}", again.text());
    let shown = words(&again.text());
    assert!(shown.contains("Not committed: the impact is no longer the expected one"), "{shown}");
    assert!(shown.contains("2 assets with less protection inbound: a, b"), "{shown}");
    assert!(again.text().contains("value=\"by hand\""));
    assert_eq!(platform.get("/api/v1/policy")["committed_revision"], 1);

    let done = commit(&fields(&again.text()));
    assert_eq!((done.status, done.header("location")), (303, Some("/policy")), "{}", done.text());
    let revisions = platform.get("/api/v1/policy/revisions");
    assert_eq!(revisions["items"][0]["note"], json!("by hand"), "{revisions}");
    assert!(words(&admin.page("/policy")).contains("No change for any of 2 assets"));
}
