//! Durations as people write them: a whole number and a unit, e.g. `90d`.

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// `s`
    Second,
    /// `m` or `min`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
    /// `w`
    Week,
}

impl Unit {
    /// Its length in seconds.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 24 * 3600,
            Self::Week => 7 * 24 * 3600,
        }
    }
}

/// Reads the number and the unit of a duration; `None` if the text is none.
#[must_use]
pub fn parse(text: &str) -> Option<(u32, Unit)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "s" => Unit::Second,
        "m" | "min" => Unit::Minute,
        "h" => Unit::Hour,
        "d" => Unit::Day,
        "w" => Unit::Week,
        _ => return None,
    };
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        for (text, parsed) in [
            ("0s", Some((0, Unit::Second))),
            ("10m", Some((10, Unit::Minute))),
            ("10min", Some((10, Unit::Minute))),
            ("12h", Some((12, Unit::Hour))),
            ("090d", Some((90, Unit::Day))),
            ("4294967295w", Some((u32::MAX, Unit::Week))),
            ("4294967296w", None),
            ("", None),
            ("5", None),
            ("h", None),
            ("-1h", None),
            ("1 h", None),
            ("1.5h", None),
            ("1y", None),
            ("1hh", None),
            ("\u{ff11}h", None),
        ] {
            assert_eq!(parse(text), parsed, "{text:?}");
        }
    }
}
