//! Words that people read in the console and on the command line alike.

/// `1 asset`, `1,005 assets`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_agree_with_their_nouns() {
        for (count, text) in
            [(0, "0 assets"), (1, "1 asset"), (999, "999 assets"), (1_000_005, "1,000,005 assets")]
        {
            assert_eq!(counted(count, "asset"), text);
        }
    }
}
