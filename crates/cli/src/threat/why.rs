//! `xshield threat why ADDRESS`.

use std::net::IpAddr;

use xshield_api::Timestamp;
use xshield_api::threat_why::Explanation;

use crate::client::{Client, Path, view};
use crate::error::CliError;
use crate::terminal::{KeyValueList, Output};
use crate::times::relative;

pub(super) fn run(address: IpAddr, client: &Client, output: Output) -> Result<(), CliError> {
    let action = "look up the address";
    let path = Path::of(&["threat", "why", &address.to_string()]);
    let answer = client.get(action, &path)?;
    output.show(&answer, |_| Ok(sheet(&view(action, &answer)?, Timestamp::now()).render()))
}

fn sheet(why: &Explanation, now: Timestamp) -> KeyValueList {
    let mut sheet = KeyValueList::new();
    let address = why.address.to_string();
    sheet.line("address", &address);
    match &why.blocked_as {
        Some(entry) if *entry == address => sheet.line("on the list", "yes"),
        Some(entry) => sheet.line("on the list", format!("yes, in {entry}")),
        None => sheet.line("on the list", "no"),
    }
    if let Some(since) = why.since {
        sheet.line("since", format!("{} ({})", since.to_rfc3339(), relative(since, now)));
    }
    for entry in &why.feeds {
        let mut text =
            format!("{}: {}, confidence {} %", entry.feed, entry.entry, entry.confidence);
        if !entry.counts {
            text.push_str(", below the feed's least confidence");
        }
        if let Some(since) = entry.since {
            text.push_str(&format!(", since {}", since.to_rfc3339()));
        }
        if let Some(until) = entry.until {
            text.push_str(&format!(", until {}", until.to_rfc3339()));
        }
        sheet.line("feed", text);
    }
    for kept in &why.exceptions {
        sheet.line("exception", format!("{}: {}", kept.prefix, kept.by));
    }
    for kept in &why.protected {
        sheet.line("protected", format!("{}: {}", kept.prefix, kept.by));
    }
    sheet
}
