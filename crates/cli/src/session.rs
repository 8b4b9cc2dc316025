//! The platform's URL, CA and token: from the environment, or from the file that `xshield login` writes.

use std::env;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::CliError;

/// For `--help`.
pub(crate) const ENVIRONMENT: &str = "\
Environment:
  XSHIELD_URL    the platform, e.g. https://xshield.example.com:8443
  XSHIELD_TOKEN  an API token (xshield token create)
  XSHIELD_CA     a file with the platform's CA certificate (PEM)
  NO_COLOR       no colours
The first three override what xshield login has stored in
$XDG_CONFIG_HOME/xshield/cli.yaml. HTTPS_PROXY and NO_PROXY are used as well.";

/// An API token; never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(pub(crate) String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// What a command needs to talk to the platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    /// `https://` and authority, nothing more.
    pub(crate) url: String,
    /// The CA certificate, PEM: the platform has a certificate of this CA.
    pub(crate) ca: String,
    /// The token.
    pub(crate) token: Token,
}

/// What is stored between two calls: the platform's CA, and the token while somebody is signed in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stored {
    /// As in [`Session`].
    pub(crate) url: String,
    /// As in [`Session`]; it outlives the sign-in.
    pub(crate) ca: String,
    /// The token of the signed-in user.
    #[serde(default)]
    pub(crate) token: Option<Token>,
}

/// The environment variables.
#[derive(Debug, Default)]
struct Environment {
    url: Option<String>,
    token: Option<Token>,
    ca: Option<PathBuf>,
}

impl Environment {
    fn read() -> Self {
        let text = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            url: text("XSHIELD_URL"),
            token: text("XSHIELD_TOKEN").map(Token),
            ca: text("XSHIELD_CA").map(PathBuf::from),
        }
    }
}

impl Session {
    /// The session of this call: environment first, then the stored one.
    ///
    /// A stored token and CA belong to the stored URL and are never used with another.
    pub(crate) fn of_this_call() -> Result<Self, CliError> {
        let environment = Environment::read();
        let complete =
            environment.url.is_some() && environment.token.is_some() && environment.ca.is_some();
        let stored = if complete { None } else { Self::stored()? };
        environment.over(stored)
    }

    /// What `xshield login` has stored.
    pub(crate) fn stored() -> Result<Option<Stored>, CliError> {
        Stored::read(&path()?)
    }

    /// Stores the session (mode 0600), and returns its path.
    pub(crate) fn store(&self) -> Result<PathBuf, CliError> {
        let path = path()?;
        let Self { url, ca, token } = self.clone();
        Stored { url, ca, token: Some(token) }.write(&path)?;
        Ok(path)
    }

    /// Deletes the stored token, and keeps the platform's CA certificate. Returns its URL; `None` when the
    /// stored session is damaged and was deleted.
    pub(crate) fn end() -> Result<Option<String>, CliError> {
        Stored::end(&path()?)
    }
}

impl Stored {
    fn end(path: &Path) -> Result<Option<String>, CliError> {
        if let Ok(Some(stored)) = Self::read(path) {
            Self { token: None, ..stored.clone() }.write(path)?;
            return Ok(Some(stored.url));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("delete", path)(error))
            }
            _ => Ok(None),
        }
    }

    fn read(path: &Path) -> Result<Option<Self>, CliError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", path)(error)),
        };
        let mode = fs::metadata(path).map_err(failed("read", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(CliError::input(format!(
                "{path}: other users can read the token in it (mode {mode:o}); sign in again after: \
                 chmod 600 {path}",
                path = path.display(),
                mode = mode & 0o777,
            )));
        }
        let session = serde_saphyr::from_str(&text)
            .map_err(|_| CliError::NotSignedIn(format!("{} is damaged", path.display())))?;
        Ok(Some(session))
    }

    fn write(&self, path: &Path) -> Result<(), CliError> {
        if let Some(dir) = path.parent() {
            let mut builder = fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(dir).map_err(failed("make", dir))?;
        }
        let new = path.with_extension("yaml.new");
        let write = || {
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(self.to_yaml().as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, path)
        };
        write().map_err(failed("write", path))
    }

    fn to_yaml(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let token = self.token.as_ref().map(|token| format!("token: {}\n", quoted(&token.0)));
        let token = token.unwrap_or_default();
        let ca: String = self.ca.lines().map(|line| format!("  {line}\n")).collect();
        format!(
            "# Written by xshield login. The token is a secret.\nurl: {}\n{token}ca: |\n{ca}",
            quoted(&self.url),
        )
    }
}

impl Environment {
    fn over(self, stored: Option<Stored>) -> Result<Session, CliError> {
        let missing = |what: &str| CliError::NotSignedIn(format!("not signed in: {what}"));
        let url = match self.url {
            Some(url) => platform_url(&url)?,
            None => {
                let stored = stored.as_ref().ok_or_else(|| missing("no platform is configured"))?;
                stored.url.clone()
            }
        };
        let stored = stored.filter(|stored| stored.url == url);
        let signed_in = stored.as_ref().and_then(|stored| stored.token.clone());
        let token = match self.token.or(signed_in) {
            Some(token) => token,
            None => return Err(missing(&format!("there is no token for {url}"))),
        };
        let ca = match (self.ca, stored) {
            (Some(path), _) => fs::read_to_string(&path).map_err(failed("read", &path))?,
            (None, Some(stored)) => stored.ca,
            (None, None) => return Err(missing(&format!("there is no CA certificate for {url}"))),
        };
        Ok(Session { url, ca, token })
    }
}

/// An `https` URL without path, in normal form.
pub(crate) fn platform_url(text: &str) -> Result<String, CliError> {
    let refuse = || {
        CliError::input(format!(
            "{text:?} is not a platform's URL: expected e.g. https://xshield.example.com:8443"
        ))
    };
    let rest = text.strip_prefix("https://").ok_or_else(refuse)?;
    let authority = rest.strip_suffix('/').unwrap_or(rest).to_ascii_lowercase();
    let url = format!("https://{authority}");
    let uri: ureq::http::Uri = url.parse().map_err(|_| refuse())?;
    let plain = uri.host().is_some_and(|host| !host.is_empty())
        && !authority.contains(['/', '?', '#', '@']);
    if plain { Ok(url) } else { Err(refuse()) }
}

fn path() -> Result<PathBuf, CliError> {
    let directory = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = directory("XDG_CONFIG_HOME").or_else(|| Some(directory("HOME")?.join(".config")));
    let config = config.ok_or_else(|| {
        CliError::input("neither XDG_CONFIG_HOME nor HOME is set to a directory; set one of them")
    })?;
    Ok(config.join("xshield").join("cli.yaml"))
}

/// The warning about a file with a secret that other users can read.
#[must_use]
pub fn exposed(path: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode() & 0o7777;
    let shown = path.display();
    (mode & 0o077 != 0).then(|| {
        format!("other users can read the secret in {shown} (mode {mode:o}): chmod 600 {shown}")
    })
}

/// An error about a file.
pub(crate) fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "xat1_id_se:cr\"et";

    fn session(url: &str) -> Stored {
        Stored {
            url: url.to_owned(),
            ca: "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n".to_owned(),
            token: Some(Token(TOKEN.to_owned())),
        }
    }

    #[test]
    fn signing_out_deletes_the_token_and_keeps_the_ca() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cli.yaml");
        let url = "https://a.example:8443";
        session(url).write(&path).unwrap();
        assert_eq!(Stored::end(&path).unwrap().as_deref(), Some(url));
        assert!(!fs::read_to_string(&path).unwrap().contains("xat1"));
        let stored = Stored::read(&path).unwrap().unwrap();
        assert_eq!((&stored.ca, stored.token.is_none()), (&session(url).ca, true));
        let error = Environment::default().over(Some(stored.clone())).unwrap_err().to_string();
        assert!(error.contains(&format!("there is no token for {url}")), "{error}");
        let ci = Environment { token: Some(Token("ci".to_owned())), ..Environment::default() };
        assert_eq!(ci.over(Some(stored)).unwrap().ca, session(url).ca);
        // A damaged session is deleted as a whole; a missing one is no error.
        fs::write(&path, "url: https://a\ntok").unwrap();
        assert_eq!(Stored::end(&path).unwrap(), None);
        assert!(!path.exists());
        assert_eq!(Stored::end(&path).unwrap(), None);
    }

    #[test]
    fn a_stored_session_is_read_back_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("xshield").join("cli.yaml");
        assert!(Stored::read(&path).unwrap().is_none());
        let written = session("https://[2001:db8::1]:8443");
        written.write(&path).unwrap();
        let read = Stored::read(&path).unwrap().unwrap();
        assert_eq!(
            (&read.url, &read.ca, &read.token.as_ref().unwrap().0),
            (&written.url, &written.ca, &TOKEN.to_owned())
        );
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(format!("{:?}", read.token), "Some(Token)");
    }

    #[test]
    fn a_readable_or_damaged_session_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cli.yaml");
        session("https://a").write(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Stored::read(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "url: https://a\ntok").unwrap();
        let error = Stored::read(&path).unwrap_err().to_string();
        assert!(error.contains("damaged") && error.contains("xshield login"), "{error}");
    }

    #[test]
    fn a_stored_token_never_goes_to_another_platform() {
        let environment = |url: Option<&str>, token: Option<&str>| Environment {
            url: url.map(str::to_owned),
            token: token.map(|text| Token(text.to_owned())),
            ca: None,
        };
        let stored = || Some(session("https://a.example:8443"));
        let same = environment(Some("https://A.example:8443/"), None).over(stored()).unwrap();
        assert_eq!(same.token.0, TOKEN);
        let other = environment(Some("https://b.example:8443"), None).over(stored());
        assert!(other.unwrap_err().to_string().contains("no token for https://b.example:8443"));
        let no_ca = environment(Some("https://b.example:8443"), Some("t")).over(stored());
        assert!(no_ca.unwrap_err().to_string().contains("no CA certificate"));
        let token = environment(None, Some("ci")).over(stored()).unwrap();
        assert_eq!((token.token.0.as_str(), token.url.as_str()), ("ci", "https://a.example:8443"));
        assert!(environment(None, None).over(None).is_err());
    }

    #[test]
    fn urls() {
        for (text, url) in [
            ("https://xshield.example.com", "https://xshield.example.com"),
            ("https://Xshield.example.com:8443/", "https://xshield.example.com:8443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://127.0.0.1:1", "https://127.0.0.1:1"),
        ] {
            assert_eq!(platform_url(text).unwrap(), url);
        }
        for text in [
            "",
            "http://a",
            "a:8443",
            "https://",
            "https://a/b",
            "https://u:p@a",
            "https://a?b",
            "https://a b",
        ] {
            assert!(platform_url(text).is_err(), "{text}");
        }
    }
}
