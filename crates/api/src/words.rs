//! Phrases for the console and the command line.

/// `1 asset`, `1,005 assets`, `2 entries`: a number and a noun that agrees with it.
///
/// The noun is the last word of `what`, in the singular, with a regular plural.
#[must_use]
pub fn counted(count: impl TryInto<u128>, what: &str) -> String {
    let count = count.try_into().unwrap_or(u128::MAX);
    let number = grouped(count);
    if count == 1 {
        return format!("{number} {what}");
    }
    let before_y = |stem: &str| stem.chars().last().is_some_and(|c| !"aeiou".contains(c));
    match what.strip_suffix('y') {
        Some(stem) if before_y(stem) => format!("{number} {stem}ies"),
        _ if what.ends_with(['s', 'x']) || what.ends_with("ch") || what.ends_with("sh") => {
            format!("{number} {what}es")
        }
        _ => format!("{number} {what}s"),
    }
}

/// `1,005`.
fn grouped(count: u128) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_nouns() {
        for (count, noun, text) in [
            (0_u64, "asset", "0 assets"),
            (1, "asset", "1 asset"),
            (999, "asset", "999 assets"),
            (1_000_005, "asset", "1,000,005 assets"),
            (1, "entry", "1 entry"),
            (2, "entry", "2 entries"),
            (2, "key", "2 keys"),
            (2, "address", "2 addresses"),
            (2, "match", "2 matches"),
            (2, "management source", "2 management sources"),
        ] {
            assert_eq!(counted(count, noun), text);
        }
    }
}
