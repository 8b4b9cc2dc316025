//! The console in a real browser.

use xshield_wire::message::*;

use crate::support::{PASSWORD, TestHost, TestPlatform, eventually, now, report};
use crate::webdriver::Browser;
use crate::{agent, agent_message, spark, tag};

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The host reports that the desired ruleset is in force.
fn enforces(platform: &TestPlatform, host: &mut TestHost) {
    let mut message = agent_message(host);
    message.in_force = host.check_in_with(platform, &message).wanted;
    message.status = Status::Enforcing;
    message.sequence += 1;
    host.sequence += 1;
    host.check_in_with(platform, &message);
}

#[test]
fn an_operator_sees_a_failed_proxy_and_collects_diagnostics() {
    let platform = TestPlatform::start();
    platform.commit("segment: { name: web, criteria: role = 'web' }");
    let mut host = agent(&platform, "web-1");
    enforces(&platform, &mut agent(&platform, "db-1"));
    let mut direct = agent(&platform, "web-2");
    let mut told = agent_message(&mut direct);
    told.routes.drain(..2);
    told.routes[0].in_use = true;
    told.status = Status::Blocked { by: "firewalld".to_owned() };
    direct.check_in_with(&platform, &told);
    drop(spark(&platform, "build-7"));
    tag(&platform, "web-1", "role", "web");
    let mut message = agent_message(&mut host);
    message.problems = vec![Problem {
        code: "proxy-failed".to_owned(),
        text: "10.10.6.4:3128 refused the connection; check that the service is running there"
            .to_owned(),
    }];
    host.check_in_with(&platform, &message);

    let browser = Browser::start();
    browser.open(&format!("https://{}/assets/web-1", platform.address));
    browser.sees("Sign in");
    browser.pictures("sign-in");
    browser.fill("#user", "admin");
    browser.fill("#password", "not this one");
    browser.click("main button");
    browser.sees("Account or password is wrong.");
    browser.fill("#password", PASSWORD);
    browser.click("main button");
    browser.sees("Routes to the platform");
    assert!(browser.address().ends_with("/assets/web-1"), "where one wanted to go");
    let refused = browser.log();
    assert!(refused.len() == 1 && refused[0].contains("401"), "{refused:?}");
    browser.sees("1 10.10.6.4:3128 failed 2 h ago connection refused");
    browser.sees("2 10.10.4.5:4128 current");
    browser.pictures("asset");
    browser.run("window.stays = true");
    message.routes[1].in_use = false;
    message.routes[2].in_use = true;
    message.sequence += 1;
    host.sequence += 1;
    host.check_in_with(&platform, &message);
    browser.sees("3 direct current");
    assert_eq!(browser.run("return window.stays"), true, "another route shows by itself");

    browser.click("nav a[href='/']");
    browser.sees("Agents 3 hosts Needs attention 3 not protected");
    browser.pictures("overview");
    browser.click("nav a[href='/sensors/agents']");
    browser.sees("web-2 online running since 2 h ago direct blocked, not protected firewalld");
    browser.pictures("agents");
    assert_eq!(browser.run("return document.querySelector('[data-selected]').disabled"), true);
    browser.run("window.stays = true");
    browser.fill("#name", "web-1");
    eventually("the table is filtered", || (!browser.text().contains("web-2")).then_some(()));
    assert!(browser.address().contains("name=web-1"), "{}", browser.address());
    assert_eq!(browser.run("return window.stays"), true, "only the table was replaced");

    browser.click("input[name='asset'][value='web-1']");
    browser.click("[data-selected]");
    browser.sees("1 host will collect diagnostics and upload them");
    browser.pictures("confirm");
    browser.click("main button.strong");
    browser.sees("in progress 0 of 1 hosts");
    let id = browser.address().rsplit('/').next().unwrap().to_owned();

    browser.run("window.stays = true");
    assert_eq!(host.check_in(&platform).commands.len(), 1);
    browser.sees("1 told");
    browser.pictures("command-under-way");
    let archive = b"an archive".repeat(1000);
    let query = format!("offset=0&total={}&sha256={}", archive.len(), sha256(&archive));
    let upload = format!("/host/v1/uploads/{id}");
    assert_eq!(host.send_query(&platform, "PUT", &upload, &query, &archive).status, 200);
    let outcomes = vec![CommandOutcome { id, at: now(), result: CommandResult::Done }];
    assert_eq!(host.report(&platform, &report(ReportBody::Commands { outcomes })).status, 200);
    browser.sees("done 1 of 1 hosts");
    browser.sees("Download, 9.7 KiB");
    assert_eq!(browser.run("return window.stays"), true, "it was never loaded anew");
    browser.pictures("command");
    browser.click("nav a[href='/commands']");
    browser.sees("Collect diagnostics done 1 1 0 admin");
    browser.pictures("commands");
    browser.click("nav a[href='/installation']");
    let requests = "return performance.getEntriesByType('resource').length";
    let before = browser.run(requests);
    browser.fill("#proxy-password", "pässwörd:1");
    browser.sees("In base64: cMOkc3N3w7ZyZDox");
    browser.run("document.querySelector('[data-base64]').requestSubmit()");
    assert_eq!(browser.run(requests), before, "a password is sent nowhere");
    assert!(browser.address().ends_with("/installation"), "{}", browser.address());
    browser.pictures("installation");

    assert_eq!(browser.log(), Vec::<String>::new(), "the browser has nothing to complain of");
    // Injected script does not run, and the browser logs the violation:
    browser.run(
        "document.body.insertAdjacentHTML('beforeend', \
         '<img src=x onerror=\"window.injected = true\"><p style=\"color:red\">')",
    );
    eventually("a complaint", || {
        browser.log().iter().any(|line| line.contains("Content Security Policy")).then_some(())
    });
    assert_eq!(browser.run("return window.injected === undefined"), true);

    browser.click(".account button");
    browser.sees("Password");
    browser.open(&format!("https://{}/", platform.address));
    browser.sees("Account");
}
