//! Files that hosts upload in chunks.

use serde_json::json;
use xshield_wire::control::{UploadStanding, UploadState};

use crate::host;
use crate::support::{TestHost, TestPlatform};

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file to be uploaded by a host.
struct Upload<'a> {
    host: &'a TestHost,
    path: String,
    bytes: &'a [u8],
    sha256: String,
}

impl<'a> Upload<'a> {
    fn of(host: &'a TestHost, command: &str, bytes: &'a [u8]) -> Self {
        Self { host, path: format!("/host/v1/uploads/{command}"), bytes, sha256: sha256(bytes) }
    }

    fn put(&self, platform: &TestPlatform, from: usize, to: usize) -> crate::support::RawAnswer {
        let query = format!("offset={from}&total={}&sha256={}", self.bytes.len(), self.sha256);
        self.host.send_query(platform, "PUT", &self.path, &query, &self.bytes[from..to])
    }

    fn standing(&self, platform: &TestPlatform) -> UploadStanding {
        let answer = self.host.send(platform, "GET", &self.path, b"");
        assert_eq!(answer.status, 200, "{}", answer.json());
        serde_json::from_slice(&answer.body).unwrap()
    }
}

fn read(answer: &crate::support::RawAnswer) -> (u64, UploadState) {
    assert_eq!(answer.status, 200, "{}", answer.json());
    let standing: UploadStanding = serde_json::from_slice(&answer.body).unwrap();
    (standing.received, standing.state)
}

fn asked_for_diagnostics(platform: &TestPlatform, host: &mut TestHost) -> String {
    let given = platform
        .post(&format!("/api/v1/assets/{}/commands", host.name), json!({"kind": "diagnostics"}));
    host.check_in(platform);
    given["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_interrupted_upload_is_resumed() {
    let platform = TestPlatform::start();
    let mut host = host(&platform, "h");
    let bytes: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let command = asked_for_diagnostics(&platform, &mut host);
    let upload = Upload::of(&host, &command, &bytes);
    assert_eq!(upload.standing(&platform).received, 0);
    assert_eq!(read(&upload.put(&platform, 0, 100_000)), (100_000, UploadState::Partial));
    assert_eq!(read(&upload.put(&platform, 0, 100_000)).0, 100_000, "a piece again");
    assert_eq!(read(&upload.put(&platform, 200_000, 300_000)).0, 100_000, "a piece too far");
    // Data left by a kill between writing and recording is overwritten.
    let parts = platform.data_dir().join("uploads");
    let part = std::fs::read_dir(&parts).unwrap().next().unwrap().unwrap().path();
    assert!(part.file_name().unwrap().to_str().unwrap().starts_with("up-"), "{part:?}");
    let mut longer = std::fs::read(&part).unwrap();
    longer.extend([7; 5000]);
    std::fs::write(&part, longer).unwrap();
    let platform = platform.restart();
    assert_eq!(upload.standing(&platform).received, 100_000);
    assert_eq!(read(&upload.put(&platform, 100_000, 1_100_000)).0, 1_100_000);
    assert_eq!(platform.get("/api/v1/diagnostics?asset=h")["items"][0]["complete"], false);
    let last = upload.put(&platform, 1_100_000, bytes.len());
    assert_eq!(read(&last), (1_200_000, UploadState::Complete));
    assert_eq!(read(&upload.put(&platform, 0, 10)), (1_200_000, UploadState::Complete));

    let listed = platform.get("/api/v1/diagnostics?asset=h");
    assert_eq!(listed["items"][0]["sha256"], json!(sha256(&bytes)));
    assert_eq!(listed["items"][0]["command"], json!(command));
    let authorized = [("authorization".to_owned(), format!("Bearer {}", platform.admin))];
    let id = listed["items"][0]["id"].as_str().unwrap();
    for path in [id, "h"] {
        let got = platform.raw("GET", &format!("/api/v1/diagnostics/{path}"), &authorized, b"");
        assert!(got.status == 200 && got.body == bytes, "{path}: {}", got.status);
    }
    let gone = platform.raw("DELETE", &format!("/api/v1/diagnostics/{id}"), &authorized, b"");
    assert_eq!(gone.status, 204);
    assert_eq!(std::fs::read_dir(&parts).unwrap().count(), 0);
}

#[test]
fn unrequested_or_invalid_uploads_are_refused() {
    let platform = TestPlatform::start_with(|settings| settings.uploads_total = 5000);
    let (mut host, other) = (host(&platform, "h"), host(&platform, "other"));
    let bytes = vec![1; 2000];
    let refused = |answer: crate::support::RawAnswer| (answer.status, answer.problem());
    let unasked = Upload::of(&host, "cmd-x", &bytes).put(&platform, 0, 2000);
    assert_eq!(refused(unasked), (404, "upload-not-asked".to_owned()));
    let command = asked_for_diagnostics(&platform, &mut host);
    let foreign = Upload::of(&other, &command, &bytes).put(&platform, 0, 2000);
    assert_eq!(refused(foreign), (404, "upload-not-asked".to_owned()));
    for (query, status, problem) in [
        ("offset=0&total=0&sha256=00", 413, "too-large"),
        ("offset=0&total=99999999999&sha256=00", 413, "too-large"),
        ("offset=0&total=20&sha256=00", 422, "invalid-value"),
        ("offset=x", 422, "invalid-value"),
    ] {
        let path = format!("/host/v1/uploads/{command}");
        let answer = host.send_query(&platform, "PUT", &path, query, b"x");
        assert_eq!(refused(answer), (status, problem.to_owned()), "{query}");
    }
    let mut wrong = Upload::of(&host, &command, &bytes);
    wrong.sha256 = sha256(b"something else");
    assert_eq!(refused(wrong.put(&platform, 0, 2000)), (422, "digest-wrong".to_owned()));
    assert_eq!(wrong.standing(&platform).received, 0, "start again");
    assert_eq!(read(&wrong.put(&platform, 0, 1000)), (1000, UploadState::Partial));
    let right = Upload::of(&host, &command, &bytes);
    assert_eq!(read(&right.put(&platform, 1000, 2000)).0, 0, "another file begins anew");
    assert_eq!(read(&right.put(&platform, 0, 1000)).0, 1000);
    std::fs::remove_dir_all(platform.data_dir().join("uploads")).unwrap();
    assert_eq!(read(&right.put(&platform, 1000, 2000)).0, 0, "bytes that are gone come again");
    assert_eq!(read(&right.put(&platform, 0, 2000)).1, UploadState::Complete);

    let second = asked_for_diagnostics(&platform, &mut host);
    let large = vec![2; 4000];
    let full = Upload::of(&host, &second, &large).put(&platform, 0, 4000);
    assert!(full.header("retry-after").is_some());
    assert_eq!(refused(full), (507, "uploads-full".to_owned()));
}
