//! A real browser, driven over WebDriver (W3C): Debian's Chromium and its driver.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::within;

/// The name of an element reference in the protocol.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser is slow while the machine also compiles.
const TIMEOUT: Duration = Duration::from_secs(90);

const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// A browser with its own profile; ends with its test.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    http: ureq::Agent,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts: apt-get install chromium chromium-driver");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port: u16 = lines
            .find_map(|line| {
                let line = line.unwrap();
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            })
            .expect("chromedriver says its port");
        // Writing to a closed pipe would fail.
        std::thread::spawn(move || lines.for_each(drop));
        let http = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let session = format!("http://127.0.0.1:{port}/session");
        let mut browser = Self { driver, session, http, _profile: profile };
        let mut arguments: Vec<_> = ARGUMENTS.map(str::to_owned).into();
        arguments.push(format!("--user-data-dir={}", browser._profile.path().display()));
        let answer = browser.call(
            "",
            Some(json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "acceptInsecureCerts": true,
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"args": arguments},
            }}})),
        );
        browser.session = format!("{}/{}", browser.session, answer["sessionId"].as_str().unwrap());
        browser
    }

    fn call(&self, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.try_call(path, body);
        assert_eq!(status, 200, "{path}: {answer}");
        answer["value"].clone()
    }

    fn try_call(&self, path: &str, body: Option<Value>) -> (u16, Value) {
        let uri = format!("{}{path}", self.session);
        let answer = match body {
            Some(body) => self.http.post(uri).send(body.to_string()),
            None => self.http.get(uri).call(),
        };
        let mut answer = answer.unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap())
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("/url", Some(json!({"url": url})));
    }

    /// The current address.
    pub(crate) fn address(&self) -> String {
        self.call("/url", None).as_str().unwrap().to_owned()
    }

    fn find(&self, css: &str) -> String {
        let element = within(TIMEOUT, || {
            let wanted = json!({"using": "css selector", "value": css});
            let (status, answer) = self.try_call("/element", Some(wanted));
            (status == 200).then(|| answer["value"][ELEMENT].as_str().unwrap().to_owned())
        });
        let element = element.unwrap_or_else(|| panic!("there is no {css}: {}", self.text()));
        format!("/element/{element}")
    }

    pub(crate) fn click(&self, css: &str) {
        self.call(&format!("{}/click", self.find(css)), Some(json!({})));
    }

    pub(crate) fn fill(&self, css: &str, text: &str) {
        self.call(&format!("{}/value", self.find(css)), Some(json!({"text": text})));
    }

    /// Runs a function body in the page.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("/execute/sync", Some(json!({"script": script, "args": []})))
    }

    /// The visible text of the page, with single spaces.
    pub(crate) fn text(&self) -> String {
        let text = self.run("return document.body ? document.body.innerText : ''");
        text.as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Waits until this text is visible.
    pub(crate) fn sees(&self, expected: &str) {
        let mut last = String::new();
        let seen = within(TIMEOUT, || {
            last = self.text();
            last.contains(expected).then_some(())
        });
        assert!(seen.is_some(), "{expected:?} is not on {}: {last}", self.address());
    }

    /// Messages of the browser's own log since the last call.
    pub(crate) fn log(&self) -> Vec<String> {
        let entries = self.call("/se/log", Some(json!({"type": "browser"})));
        let entries = entries.as_array().unwrap().iter();
        entries.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Saves screenshots of the page as `NAME-WIDTH-SCHEME.png` if `XSHIELD_SCREENSHOTS` names a directory.
    pub(crate) fn pictures(&self, name: &str) {
        let Some(directory) = std::env::var_os("XSHIELD_SCREENSHOTS") else { return };
        let told = |cmd: &str, params: Value| {
            self.call("/goog/cdp/execute", Some(json!({"cmd": cmd, "params": params})))
        };
        for (width, scheme) in [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")] {
            let metrics =
                json!({"width": width, "height": 300, "deviceScaleFactor": 1, "mobile": false});
            told("Emulation.setDeviceMetricsOverride", metrics);
            let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            told("Emulation.setEmulatedMedia", features);
            let shown = told("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
            let png = base64::engine::general_purpose::STANDARD
                .decode(shown["data"].as_str().unwrap())
                .unwrap();
            let path =
                std::path::Path::new(&directory).join(format!("{name}-{width}-{scheme}.png"));
            std::fs::write(path, png).unwrap();
        }
        told("Emulation.clearDeviceMetricsOverride", json!({}));
        told("Emulation.setEmulatedMedia", json!({"features": []}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ending the session ends the browser; killing its driver would leave it behind.
        drop(self.http.delete(&self.session).call());
        drop(self.driver.kill());
        drop(self.driver.wait());
    }
}
