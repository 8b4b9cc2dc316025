//! A measured figure, printed as one JSON object per line by `cargo xtask bench`.

use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// E.g. `spark.unchanged_cycle_ms`.
    pub name: &'static str,
    /// The value, in `unit`.
    pub value: f64,
    /// E.g. `ms`, `bytes`, `KiB`, `ratio`, `packets`.
    pub unit: &'static str,
    /// The same figure of something else, measured in the same run.
    #[serde(flatten)]
    pub peer: Option<Peer>,
}

/// What a figure is compared with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Peer {
    /// What the peer is.
    peer: &'static str,
    /// Its value, in the figure's unit.
    peer_value: f64,
    /// The figure's value divided by the peer's.
    ratio: f64,
}

impl Figure {
    /// A figure without a peer.
    #[must_use]
    pub fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, peer: None }
    }

    /// Adds a peer's value to compare with.
    #[must_use]
    pub fn beside(mut self, peer: &'static str, peer_value: f64) -> Self {
        self.peer = Some(Peer { peer, peer_value, ratio: self.value / peer_value });
        self
    }

    /// Prints it on its own line.
    pub fn print(&self) {
        // A figure consists of numbers and names: it always has a JSON form.
        println!("{}", serde_json::to_string(self).unwrap_or_default());
    }
}

/// The middle value; of an even number, the lower of the two. `None` if there are no values.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_object_per_line() {
        let figure = Figure::new("firewall.change_10k_ms", 200.0, "ms");
        assert_eq!(
            serde_json::to_string(&figure).unwrap(),
            r#"{"name":"firewall.change_10k_ms","value":200.0,"unit":"ms"}"#
        );
        assert_eq!(
            serde_json::to_string(&figure.beside("nft -f", 400.0)).unwrap(),
            r#"{"name":"firewall.change_10k_ms","value":200.0,"unit":"ms","peer":"nft -f","peer_value":400.0,"ratio":0.5}"#
        );
    }

    #[test]
    fn medians() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0, 5.0], Some(5.0)),
            (vec![2.0, 1.0], Some(1.0)),
        ] {
            assert_eq!(median(values), expected);
        }
    }
}
