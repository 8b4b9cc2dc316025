//! `xshield threat` as operators type it: the real binary against a real platform.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;

use serde_json::{Value, json};
use support::{TestHost, TestPlatform};

/// An operator with a list that the platform reads.
struct Operator<'a> {
    platform: &'a TestPlatform,
    home: tempfile::TempDir,
}

/// The result of a command.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl<'a> Operator<'a> {
    fn of(platform: &'a TestPlatform) -> Self {
        let operator = Self { platform, home: tempfile::tempdir().unwrap() };
        fs::write(operator.home.path().join("ca.pem"), platform.ca_pem()).unwrap();
        operator
    }

    fn list(&self) -> String {
        self.home.path().join("list.txt").display().to_string()
    }

    fn write(&self, lines: &str) {
        fs::write(self.list(), lines).unwrap();
    }

    /// Runs `xshield threat` with the words of `line`; LIST stands for the list's file.
    fn run(&self, line: &str) -> Ran {
        let list = self.list();
        let words = line.split_whitespace().map(|word| if word == "LIST" { &list } else { word });
        let output = Command::new(env!("CARGO_BIN_EXE_xshield"))
            .arg("threat")
            .args(words)
            .env_clear()
            .env("XSHIELD_URL", format!("https://{}", self.platform.address))
            .env("XSHIELD_TOKEN", &self.platform.admin)
            .env("XSHIELD_CA", self.home.path().join("ca.pem"))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn good(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{line}: {}", ran.err);
        ran.out
    }

    /// Runs every line and compares its complete output.
    #[track_caller]
    fn says(&self, lines: &[(&str, &str)]) {
        for (line, expected) in lines {
            assert_eq!(self.good(line), *expected, "{line}");
        }
    }

    #[track_caller]
    fn refused(&self, lines: &[(&str, i32, &str)]) {
        for (line, code, reason) in lines {
            let ran = self.run(line);
            assert_eq!(ran.code, Some(*code), "{line}: {}{}", ran.out, ran.err);
            assert!(ran.err.contains(reason), "{line}: {reason:?} is not in: {}", ran.err);
        }
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.good(&format!("{line} --json"))).unwrap()
    }
}

/// The value of the line named `name` in a list of keys and values.
fn of_sheet<'a>(sheet: &'a str, name: &str) -> Option<&'a str> {
    sheet.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("  ")).map(str::trim)
}

fn many(count: u32) -> String {
    (0..count).map(|n| format!("{}\n", Ipv4Addr::from(0xc633_6400 + 2 * n))).collect()
}

#[test]
fn feeds_are_added_held_and_approved() {
    let platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    operator.says(&[("feed list", "There are no threat feeds.\n")]);
    operator.write("198.51.100.1\n# a comment\n010.0.0.1\n203.0.113.0/24\n");
    operator.says(&[
        (
            "feed add f --file LIST --confidence 80",
            "f: 2 entries in force, last change: 2 added, 0 removed, 1 line rejected.\n",
        ),
        (
            "feed run f",
            "f: 2 entries in force, last change: 2 added, 0 removed, 1 line rejected.\n",
        ),
    ]);
    let table = operator.good("feed list");
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["NAME", "STATE", "ENTRIES", "ADDED"]);
    assert_eq!(rows[1][..6], ["f", "good", "2", "2", "0", "1"]);
    let sheet = operator.good("feed show f");
    let list = operator.list();
    for (name, value) in [
        ("name", "f"),
        ("state", "good"),
        ("source", list.as_str()),
        ("format", r#"{"plain":{"levels":null}}"#),
        ("every", "86400 s"),
        ("confidence", "80 % where the feed gives none; entries below 0 % are omitted"),
        ("entries", "2"),
    ] {
        let found = sheet.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        assert_eq!(found, Some(value), "{name} in:\n{sheet}");
    }
    assert!(sheet.contains("line 3: 010.0.0.1: "), "the rejected line is shown:\n{sheet}");

    operator.write(&many(2000));
    let waits = operator.run("feed run f");
    assert_eq!(waits.code, Some(0), "{}", waits.err);
    assert!(waits.out.starts_with("f: 2 entries in force"), "{}", waits.out);
    let decide = "Decide with: xshield threat feed approve f, or reject f\n";
    assert!(waits.err.contains("the feed grew from 2 to 2000 entries"), "{}", waits.err);
    assert!(waits.err.ends_with(decide), "{}", waits.err);
    assert_eq!(operator.json("feed show f")["state"], "held");
    assert!(operator.good("feed show f").contains("feed approve|reject f"));
    operator.says(&[
        ("feed reject f", "f: rejected; the previous list stays (2 entries).\n"),
        ("why 198.51.101.0", "address      198.51.101.0\non the list  no\n"),
    ]);
    operator.write(&many(2001));
    operator.good("feed run f");
    operator.says(&[("feed approve f", "f: in force: 2,001 entries.\n")]);

    operator.write("<!DOCTYPE html>\n<html></html>\n");
    operator.refused(&[
        ("feed run f", 1, "; the previous list stays (2,001 entries)"),
        ("feed approve f", 1, "no listing of feed f is held for a decision"),
        ("feed show nobody", 1, "nobody"),
        ("feed run nobody", 1, "nobody"),
        ("feed add g", 1, "give --url, --file or --preset"),
        ("feed add g --preset nothing", 1, "unknown preset \"nothing\""),
        ("feed add g --url http://lists.invalid/x", 1, "plain HTTP"),
        ("feed add g --url https://lists.invalid/x --file LIST", 2, "--file"),
        ("feed add G! --file LIST", 2, "is not a feed name"),
        (
            "feed add n --file /nowhere.txt",
            1,
            "change it with xshield threat feed set n, or remove",
        ),
        ("feed add f --file LIST", 1, "feed f exists already"),
        ("feed add g --file LIST --confidence 101", 2, "101"),
        ("feed add g --file LIST --format csv", 1, "--field"),
        ("feed add g --file relative.txt", 1, "not an absolute path"),
    ]);
    assert!(operator.good("feed show f").contains("1 in a row"));
    operator.says(&[
        ("feed remove f", "Removed feed f and its entries.\n"),
        ("feed remove n", "Removed feed n and its entries.\n"),
        ("feed list", "There are no threat feeds.\n"),
    ]);
}

#[test]
fn why_an_address_is_or_is_not_blocked() {
    let platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    operator.says(&[
        ("why 203.0.113.5", "address      203.0.113.5\non the list  no\n"),
        ("exception list", "There are no exceptions.\n"),
    ]);
    operator.write("203.0.113.0/24\n198.51.100.1\n2001:db8::1\n10.0.0.1\n");
    operator.good("feed add f --file LIST --confidence 70");
    for (address, listed, entry) in [
        ("203.0.113.5", "yes, in 203.0.113.0/24", "f: 203.0.113.0/24, confidence 70 %, since "),
        ("198.51.100.1", "yes", "f: 198.51.100.1, confidence 70 %, since "),
        ("2001:db8::1", "yes", "f: 2001:db8::1, confidence 70 %, since "),
        ("::ffff:198.51.100.1", "yes", "f: 198.51.100.1, confidence 70 %, since "),
    ] {
        let sheet = operator.good(&format!("why {address}"));
        assert_eq!(of_sheet(&sheet, "on the list"), Some(listed), "{sheet}");
        assert!(sheet.contains(entry), "{entry:?} is not in:\n{sheet}");
    }
    let private = operator.good("why 10.0.0.1");
    assert_eq!(of_sheet(&private, "on the list"), Some("no"));
    assert!(private.contains("10.0.0.0/8: private"), "{private}");

    let made = operator.good("exception add 203.0.113.5 --reason scanner --expires 1h");
    let id = made.split_once('(').and_then(|(_, id)| id.split_once(')')).unwrap().0.to_owned();
    assert_eq!(made, format!("203.0.113.5 is never blocked ({id}).\n"));
    let sheet = operator.good("why 203.0.113.5");
    assert_eq!(of_sheet(&sheet, "on the list"), Some("no"));
    assert!(sheet.contains(&format!("203.0.113.5: {id}")), "{sheet}");
    let table = operator.good("exception list");
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], [id.as_str(), "203.0.113.5", "active", "scanner"]);
    assert!(operator.good("why 203.0.113.6").contains("yes, in "), "its neighbours stay listed");
    operator.refused(&[
        ("exception add 0.0.0.0/0 --reason x", 1, "/target"),
        ("exception add evil.example --reason x", 1, "/target"),
        ("exception add network:nobody --reason x", 1, "/target"),
        ("exception add 203.0.113.9", 2, "--reason"),
        ("exception remove ex-nothing", 1, "ex-nothing"),
        ("why evil.example", 2, "evil.example"),
        ("why 010.0.0.1", 2, "010.0.0.1"),
    ]);
    operator.says(&[(
        format!("exception remove {id}").as_str(),
        format!("Removed exception {id}.\n").as_str(),
    )]);
    assert!(operator.good("why 203.0.113.5").contains("yes, in 203.0.113.0/24"));
}

#[test]
fn revisions_are_compared_restored_and_resumed() {
    let platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    operator.says(&[("revisions", "There is no threat list yet; add a feed.\n")]);
    operator.refused(&[
        ("diff 1", 1, "no threat revision \"1\""),
        ("restore 1", 1, "no threat revision \"1\""),
    ]);
    operator.write("198.51.100.1\n203.0.113.0/24\n");
    operator.good("feed add f --file LIST");
    operator.write("198.51.100.2\n203.0.113.0/24\n");
    operator.good("feed run f");
    operator.says(&[
        (
            "diff 1 2",
            "Revision 1 to 2:\n\
             +1 entry (1 IPv4 address)\n  +198.51.100.2\n\
             -1 entry (1 IPv4 address)\n  -198.51.100.1\n",
        ),
        (
            "diff 2",
            "Revision 2 to 2:\n+0 entries (0 IPv4 addresses)\n-0 entries (0 IPv4 addresses)\n",
        ),
        ("restore 1", "In force: revision 3, 2 entries.\n"),
    ]);
    assert!(operator.good("why 198.51.100.1").contains("on the list  yes"));
    let status = operator.good("status");
    assert_eq!(of_sheet(&status, "RESTORED"), Some("the list of revision 1 is in force"));
    operator.write("198.51.100.3\n203.0.113.0/24\n");
    operator.good("feed run f");
    assert!(operator.good("why 198.51.100.3").contains("on the list  no"));
    let resumed = operator.run("resume");
    assert_eq!(resumed.out, "In force: revision 4, 2 entries.\n", "{}", resumed.err);
    assert_eq!(resumed.err, "", "nothing to mind any more");
    assert!(operator.good("why 198.51.100.3").contains("on the list  yes"));
    let table = operator.good("revisions");
    let rows: Vec<Vec<&str>> = table.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["REVISION", "ENTRIES", "ADDED", "REMOVED", "SINCE", "REASON"]);
    assert_eq!(rows[1][..5], ["4", "*", "2", "1", "1"], "the newest first, marked");
    assert!(table.lines().nth(2).unwrap().ends_with("restored from revision 1"), "{table}");
    assert!(table.lines().nth(4).unwrap().ends_with("feed f"), "{table}");
    operator.refused(&[("restore 99", 1, "\"99\""), ("diff 1 99", 1, "\"99\"")]);
}

#[test]
fn modes_budgets_and_status_are_shown() {
    let platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    platform.commit("segment: { name: web, criteria: \"role = 'web'\" }\n");
    let mut host = TestHost::new("web-1", &platform.new_key());
    host.sign_in(&platform);
    host.check_in(&platform);
    let modes = |line: &str| -> Vec<Vec<String>> {
        let table = operator.good(line);
        let words = |row: &str| row.split_whitespace().map(str::to_owned).collect();
        table.lines().skip(1).map(words).collect()
    };
    for (line, expected) in [
        ("mode show", &["platform block block"][..]),
        ("mode set event-only --outbound", &["platform block event-only"]),
        ("mode set off --segment web", &["platform block event-only", "segment web off off"]),
        (
            "mode set block --asset web-1 --inbound",
            &["platform block event-only", "segment web off off", "asset web-1 block inherit"],
        ),
        (
            "mode set inherit --segment web",
            &["platform block event-only", "asset web-1 block inherit"],
        ),
        ("mode set inherit --asset web-1", &["platform block event-only"]),
    ] {
        let rows: Vec<String> = modes(line).iter().map(|row| row.join(" ")).collect();
        assert_eq!(rows, expected, "{line}");
    }
    operator.refused(&[
        ("mode set inherit", 1, "the platform has nothing to inherit from"),
        ("mode set block --segment nobody", 1, "field: /segment"),
        ("mode set block --asset nobody", 1, "\"nobody\""),
        ("mode set block --asset web-1 --segment web", 2, "--segment"),
        ("mode set block --inbound --outbound", 2, "--outbound"),
        ("mode set on", 2, "event-only"),
        ("budget nobody 1MiB", 1, "no asset \"nobody\""),
        ("budget web-1 1.5MiB", 2, "is not a size"),
    ]);
    operator.says(&[
        ("budget web-1 64MiB", "The list takes at most 67,108,864 bytes of memory on web-1.\n"),
        ("budget web-1 auto", "The list takes at most an eighth of the memory of web-1.\n"),
        (
            "status",
            "list            none yet; add a feed\n\
             private ranges  protected\n\
             feeds           0\n\
             hosts           0 of 0 up to date\n",
        ),
    ]);
    operator.write("198.51.100.1\n198.51.100.2\n");
    operator.good("feed add f --file LIST");
    operator.says(&[(
        "status",
        "list            revision 1, 2 entries, about 1 MiB on a host\n\
         private ranges  protected\n\
         feeds           1\n\
         hosts           0 of 0 up to date\n",
    )]);
    operator.write(&many(2000));
    operator.good("feed run f");
    let status = operator.good("status");
    assert_eq!(of_sheet(&status, "to decide"), Some("f"), "{status}");
    fs::remove_file(operator.list()).unwrap();
    operator.refused(&[("feed run f", 1, "could not read")]);
    let status = operator.good("status");
    assert_eq!(of_sheet(&status, "failing"), Some("f"), "{status}");
    let json = operator.json("status");
    assert_eq!((&json["entries"], &json["feeds"]["held"]), (&json!(2), &json!(["f"])), "{json}");
}

#[test]
fn the_status_shows_a_damaged_listing_until_the_feed_runs() {
    let mut platform = TestPlatform::start();
    let home = {
        let operator = Operator::of(&platform);
        operator.write("198.51.100.1\n");
        operator.good("feed add f --file LIST");
        operator.home
    };
    platform.end();
    for entry in fs::read_dir(platform.data_dir().join("threat/listings")).unwrap() {
        fs::write(entry.unwrap().path(), "damaged").unwrap();
    }
    let platform = platform.restart();
    let operator = Operator { platform: &platform, home };
    let rest = "private ranges  protected\n\
                feeds           1\n\
                hosts           0 of 0 up to date\n";
    let trouble = "the stored listing of feed f is missing or damaged; run the feed again";
    let list = "not compiled since the platform started; hosts keep theirs";
    let whole = "revision 1, 1 entry, about 1 MiB on a host";
    operator.says(&[
        ("status", &format!("TROUBLE         {trouble}\nlist            {list}\n{rest}")),
        ("feed run f", "f: 1 entry in force, last change: 1 added, 0 removed.\n"),
        ("status", &format!("list            {whole}\n{rest}")),
    ]);
}

#[test]
fn csv_columns_and_tabs_can_be_set_by_options() {
    let platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    operator.write("seen\t198.51.100.1\t40\nseen\t198.51.100.2\t90\n");
    let add =
        r"feed add t --file LIST --format csv --separator \t --field @2 --confidence-field @3";
    operator.says(&[(add, "t: 2 entries in force, last change: 2 added, 0 removed.\n")]);
    assert!(operator.good("why 198.51.100.2").contains("198.51.100.2, confidence 90 %"));
    operator.refused(&[
        ("feed add u --file LIST --format csv --separator ab --field @2", 2, "one character"),
        (r"feed add u --file LIST --format csv --separator \n --field @2", 2, "one character"),
        (r"feed add u --file LIST --format csv --separator \t --field @9", 1, "none of 2 lines"),
        (r"feed add v --file LIST --format csv --separator \t --field ip", 1, "no column"),
    ]);
}

#[test]
fn the_list_and_a_diff_are_exported_completely() {
    let platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    let many = |from: u32, to: u32| -> String {
        (from..to).map(|n| format!("{}\n", Ipv4Addr::from(0xc633_6400 + 2 * n))).collect()
    };
    let text = |from: u32, to: u32, sign: &str| -> String {
        many(from, to).lines().map(|line| format!("{sign}{line}\n")).collect()
    };
    operator.write(&many(0, 9000));
    operator.good("feed add f --file LIST --growth-limit 1000 --shrink-limit 100");
    operator.write(&many(100, 9500));
    operator.good("feed run f");
    let whole = operator.good("export");
    let (head, lines) = whole.split_once('\n').unwrap();
    assert!(head.starts_with("# threat list, revision 2 of 20"), "{head}");
    assert!(head.contains(", 9400 entries, sha256 "), "{head}");
    assert_eq!(lines, many(100, 9500));
    let first = operator.good("export --revision 1");
    assert_eq!(first.split_once('\n').unwrap().1, many(0, 9000));
    let changes = operator.good("diff 1 2 --all");
    let (head, lines) = changes.split_once('\n').unwrap();
    assert_eq!(head, "# threat list, revision 1 to 2, 500 entries added and 100 removed");
    assert_eq!(lines, text(9000, 9500, "+") + &text(0, 100, "-"));
    assert!(operator.good("diff 1 2").contains("… and 400 more"));

    // An exported list can be parsed.
    operator.good("export --to-file LIST");
    operator.good("feed run f");
    operator.says(&[("export --revision 2", &whole)]);
    operator.refused(&[
        ("export --revision 99", 1, "99"),
        ("diff 99 --all", 1, "99"),
        ("diff 1 2 --to-file LIST", 2, "--all"),
        ("export --to-file /nowhere/list", 1, "could not write /nowhere/list"),
    ]);
}

#[test]
fn listing_private_ranges_asks_with_its_impact() {
    let platform = TestPlatform::start();
    let operator = Operator::of(&platform);
    for (name, address) in [("a", "10.1.0.1"), ("b", "10.2.0.1"), ("c", "192.0.2.10")] {
        let mut host = TestHost::new(name, &platform.new_key());
        host.addresses = vec![address.parse().unwrap()];
        host.sign_in(&platform);
        host.check_in(&platform);
    }
    let ran = operator.run("settings --private-ranges listed");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    for part in [
        "Hosts with addresses in private ranges: 2 of 3.",
        "No feed lists a private range now",
        "cannot ask for confirmation",
        "--yes",
    ] {
        assert!(ran.err.contains(part), "{part}: {}", ran.err);
    }
    assert!(operator.good("settings").contains("protected"));
    operator.write("10.1.0.0/16\n203.0.113.7\n");
    operator.good("feed add f --file LIST");
    let ran = operator.run("settings --private-ranges listed");
    let listed = "Feeds list 16 entries in private ranges now, such as 10.1.0.0, ";
    assert!(ran.err.contains(listed) && ran.err.contains("Hosts in these: 1;"), "{}", ran.err);
    // Confirmation is not needed for less blocking, or if nothing changes.
    operator.good("settings --private-ranges protected");
    assert!(operator.good("settings --private-ranges listed --yes").contains("listed"));
    operator.good("settings --private-ranges listed --verify-every 12h");
    assert!(operator.good("why 10.1.2.3").contains("on the list  yes"));
}
