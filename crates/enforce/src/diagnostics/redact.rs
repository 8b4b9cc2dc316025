//! Removes secrets from everything that goes into diagnostics.

use xshield_transport::ProxyList;

/// What replaces a secret.
const INSTEAD: &str = "(secret)";
/// The shortest secret that is redacted; shorter ones would match ordinary words.
const SHORTEST: usize = 6;

/// The secrets of this host.
pub(crate) struct Redactor<'a> {
    secrets: Vec<String>,
    proxies: &'a ProxyList,
}

impl<'a> Redactor<'a> {
    /// `secrets`: those besides the proxies' passwords.
    pub(crate) fn new(secrets: Vec<String>, proxies: &'a ProxyList) -> Self {
        Self { secrets, proxies }
    }

    /// The text with all secrets replaced.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut clean = self.proxies.redact(text, INSTEAD);
        for secret in self.secrets.iter().filter(|secret| secret.len() >= SHORTEST) {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), INSTEAD);
            }
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_and_everything_else_is_kept() {
        let proxies = ProxyList::parse("10.0.0.1:1", "u", "aHVudGVyMg==").unwrap();
        let redactor = Redactor::new(vec!["xek1_k1_secret".into(), "abc".into()], &proxies);
        let text = "key xek1_k1_secret, password hunter2 aHVudGVyMg==, basic dTpodW50ZXIy, abc";
        let clean = redactor.clean(text);
        assert_eq!(clean, "key (secret), password (secret) (secret), basic (secret), abc");
    }
}
