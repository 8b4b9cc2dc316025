//! Signing in and out: the first contact with a platform, and the stored session.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path as FilePath, PathBuf};

use xshield_api::Timestamp;
use xshield_api::access::{self as api, Me, SignedIn};

use crate::client::{Client, NoBody, Path, parsed, view};
use crate::error::CliError;
use crate::keys::warn_of_expiring_keys;
use crate::questions;
use crate::session::{Session, Stored, Token, exposed, failed, platform_url};
use crate::terminal::{self, KeyValueList, Output, note, print};
use crate::times::relative;
use crate::trust::{Fingerprint, ShownCa};
use crate::words::word;

/// Sign in to a platform and store the session.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// The platform, e.g. https://xshield.example.com:8443; XSHIELD_URL when left out.
    url: Option<String>,
    /// Who signs in.
    #[arg(long, value_name = "NAME")]
    user: String,
    /// Read the password from this file; - is standard input. Asked for when left out.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The platform's CA certificate (ca.pem in its data directory); XSHIELD_CA when left out.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Trust the CA certificate that the platform shows, if this is its fingerprint.
    #[arg(long, value_name = "sha256:HEX", conflicts_with = "ca")]
    fingerprint: Option<Fingerprint>,
}

impl Login {
    /// Signs in and stores the session.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "sign in";
        let url = self.url.clone().or_else(|| std::env::var("XSHIELD_URL").ok());
        let url =
            url.ok_or_else(|| CliError::input("give the platform's URL: xshield login https://…"))?;
        let url = platform_url(&url)?;
        let ca = self.trusted_ca(&url)?;
        let client = Client::new(&url, &ca, None)?;
        let password = self.password()?;
        let name = Some(format!("xshield login on {}", machine()));
        let body = api::Login { user: self.user.clone(), password, name };
        let answer = client.post(action, &Path::of(&["login"]), &body)?;
        let signed_in: SignedIn = parsed(action, &answer)?;
        let token = Token(signed_in.token);
        let client = Client::new(&url, &ca, Some(token.clone()))?;
        let session = Session { url: url.clone(), ca, token };
        let path = session.store()?;
        let SignedIn { user, role, expires_at, .. } = signed_in;
        let role = word(&role);
        let ends = relative(expires_at, Timestamp::now());
        note(&format!("Signed in to {url} as {user} ({role}); the sign-in ends {ends}."));
        note(&format!("Stored in {}.", path.display()));
        warn_of_expiring_keys(&client);
        Ok(())
    }

    fn trusted_ca(&self, url: &str) -> Result<String, CliError> {
        if let Some(path) = &self.ca {
            return fs::read_to_string(path).map_err(failed("read", path));
        }
        if let Some(fingerprint) = self.fingerprint {
            return ShownCa::ask(url)?.if_it_has(fingerprint);
        }
        if let Some(path) = std::env::var_os("XSHIELD_CA").filter(|path| !path.is_empty()) {
            let path = PathBuf::from(path);
            return fs::read_to_string(&path).map_err(failed("read", &path));
        }
        // A damaged session is about to be replaced.
        if let Some(stored) = Session::stored().ok().flatten().filter(|stored| stored.url == url) {
            return Ok(stored.ca);
        }
        if !questions::somebody_is_there() {
            return Err(CliError::Untrusted(
                "this platform is not known yet: give its CA certificate with --ca FILE, or the \
                 certificate's fingerprint with --fingerprint sha256:…"
                    .to_owned(),
            ));
        }
        let shown = ShownCa::ask(url)?;
        let question = format!(
            "{url} is not known yet. Its CA certificate has the fingerprint\n  {}\n\
             Is that the fingerprint the platform printed when it started?",
            shown.fingerprint()
        );
        if questions::confirm(&question)? {
            return Ok(shown.into_pem());
        }
        Err(CliError::Untrusted("not signed in: the platform is not trusted".to_owned()))
    }

    fn password(&self) -> Result<String, CliError> {
        match &self.password_file {
            Some(path) => read_secret(path),
            None => questions::password(&format!("Password of {}", self.user)),
        }
    }
}

/// The first line of a file, or of standard input for `-`.
pub(super) fn read_secret(path: &FilePath) -> Result<String, CliError> {
    let mut text = String::new();
    if path == FilePath::new("-") {
        io::stdin().read_to_string(&mut text).map_err(failed("read", path))?;
    } else {
        text = fs::read_to_string(path).map_err(failed("read", path))?;
        if let Some(warning) = exposed(path) {
            terminal::note(&format!("warning: {warning}"));
        }
    }
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() {
        return Err(CliError::input(format!("{}: the first line is empty", path.display())));
    }
    Ok(first.to_owned())
}

/// This machine's name, to distinguish sign-ins.
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Sign out: end the session at the platform and delete its token; the platform's certificate is kept.
#[derive(Debug, clap::Args)]
pub struct Logout {}

impl Logout {
    /// Ends the sign-in. It is deleted locally even when the platform can't be reached.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let told = match Session::stored() {
            Ok(Some(Stored { url, ca, token: Some(token) })) => Client::new(&url, &ca, Some(token))
                .and_then(|client| client.post("sign out", &Path::of(&["logout"]), &NoBody {})),
            Ok(_) => {
                note("Not signed in.");
                return Ok(());
            }
            Err(damaged) => Err(damaged),
        };
        let known = Session::end()?;
        let known = known.map(|url| format!(" The CA certificate of {url} is kept."));
        let known = known.unwrap_or_default();
        match told {
            Ok(_) => note(&format!("Signed out.{known}")),
            Err(CliError::Refused { refusal, .. }) if refusal.status == 401 => {
                note(&format!("Signed out; the session had already ended.{known}"));
            }
            Err(error) => {
                note(
                    "The token is deleted here, but not on the platform, which could not be \
                     reached: it stays valid until it expires.",
                );
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Show who is signed in, where, and with which role.
#[derive(Debug, clap::Args)]
pub struct Whoami {
    #[command(flatten)]
    output: Output,
}

impl Whoami {
    /// Runs the command.
    pub(crate) fn run(self) -> Result<(), CliError> {
        let action = "ask who is signed in";
        let client = Client::of_this_call()?;
        let answer = client.get(action, &Path::of(&["me"]))?;
        if self.output.is_json() {
            return terminal::json(&answer);
        }
        let me: Me = view(action, &answer)?;
        let mut sheet = KeyValueList::new();
        sheet.line("user", me.user);
        sheet.line("role", word(&me.role));
        sheet.line("token", me.token);
        sheet.line("platform", client.url());
        print(&sheet.render())
    }
}
