//! Errors of client commands, and their exit codes.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::ExitCode;

use xshield_api::field_error::FieldError;
use xshield_api::impact::lines;
use xshield_api::in_words;
use xshield_api::problem::ProblemDocument;
use xshield_wire::foreign::one_line;

/// For `--help`: scripts rely on these numbers.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused: what was asked for or written is wrong; nothing was changed
  2  the command line is wrong
  3  not signed in, or the role does not allow it
  4  the platform could not be reached, or is not the one that is trusted
  5  the platform failed; its log says why
130  stopped by Ctrl-C (143: by SIGTERM); the last line says what that leaves";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// Invalid input of the operator.
    #[error("{0}")]
    Input(String),
    /// An incomplete command line.
    #[error("{0}")]
    Usage(String),
    /// Invalid policy documents; a line for each error, its location first.
    #[error("{}", .0.join("\n"))]
    Documents(Vec<String>),
    /// A file operation failed.
    #[error("could not {action} {path}")]
    File {
        /// The failed action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No session.
    #[error("{0}; sign in with: xshield login https://PLATFORM:8443 --user NAME --ca ca.pem")]
    NotSignedIn(String),
    /// No response.
    #[error("could not {action} at {url}")]
    Unreachable {
        /// The requested action.
        action: String,
        /// The platform's URL.
        url: String,
        /// A possible effect of the request nevertheless, in words.
        left: Option<Box<str>>,
        /// The cause.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server is not the intended platform.
    #[error("{0}")]
    Untrusted(String),
    /// The platform refused.
    #[error("could not {action}: {refusal}")]
    Refused {
        /// The requested action.
        action: String,
        /// The reason.
        refusal: Box<Refusal>,
    },
    /// An unparsable response.
    #[error(
        "could not {action}: the platform's answer is not in the expected form; it may be of another \
         version"
    )]
    Answer {
        /// The requested action.
        action: String,
        /// The parse error.
        #[source]
        source: serde_json::Error,
    },
    /// Writing to the terminal failed.
    #[error("could not write the output")]
    Output(#[source] io::Error),
}

impl CliError {
    /// Invalid input of the operator.
    pub(crate) fn input(text: impl Into<String>) -> Self {
        Self::Input(text.into())
    }

    /// Whether the reader of the output has closed it, as `head` does.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether retrying later may help.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { refusal, .. } => refusal.status == 429 || refusal.status >= 500,
            _ => false,
        }
    }

    /// The exit code according to [`EXIT_CODES`].
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Input(_) | Self::Documents(_) | Self::File { .. } | Self::Output(_) => 1,
            Self::Usage(_) => 2,
            Self::NotSignedIn(_) => 3,
            Self::Unreachable { .. } | Self::Untrusted(_) => 4,
            Self::Answer { .. } => 5,
            Self::Refused { refusal, .. } => match refusal.status {
                401 | 403 => 3,
                500.. => 5,
                _ => 1,
            },
        })
    }

    /// The error and its causes, as printed.
    pub(crate) fn report(&self) -> String {
        let mut text = match self {
            // Each line begins with its location, so that editors can jump there.
            Self::Documents(_) => self.to_string(),
            _ => format!("error: {}", in_words(self)),
        };
        if let Self::File { source, .. } = self
            && source.kind() == io::ErrorKind::AlreadyExists
        {
            text.push_str("; name another file, or remove this one");
        }
        if let Self::Refused { refusal, .. } = self
            && refusal.is_of_no_asset()
        {
            text.push_str(
                "\n  A host becomes an asset when it registers: start ctspark or ctagent on it first. \
                 All assets: xshield asset list",
            );
        }
        if let Self::Unreachable { left: Some(left), .. } = self {
            text.push_str("\n  ");
            text.push_str(left);
        }
        text
    }
}

/// The platform's problem document (RFC 9457), or what is known of another response.
#[derive(Debug, Clone)]
pub(crate) struct Refusal(ProblemDocument);

impl Deref for Refusal {
    type Target = ProblemDocument;

    fn deref(&self) -> &ProblemDocument {
        &self.0
    }
}

impl Refusal {
    /// Parses the refusal in a response; if it is not a problem document, only the status is known.
    pub(crate) fn read(status: u16, body: &[u8]) -> Self {
        let read = serde_json::from_slice::<ProblemDocument>(body).unwrap_or_default();
        Self(ProblemDocument { status, ..read }).tamed()
    }

    /// With every text on its line: a proxy may have answered, and the platform repeats what others said.
    fn tamed(mut self) -> Self {
        let problem = &mut self.0;
        let texts = [&mut problem.kind, &mut problem.title].into_iter();
        let texts = texts.chain(problem.detail.as_mut()).chain(problem.field.as_mut());
        texts.for_each(|text| *text = one_line(text).into_owned());
        for error in &mut problem.errors {
            let texts =
                [&mut error.field, &mut error.reason].into_iter().chain(error.place.as_mut());
            texts.for_each(|text| *text = one_line(text).into_owned());
        }
        self
    }

    /// Whether the named asset does not exist.
    fn is_of_no_asset(&self) -> bool {
        self.is("not-found")
            && self.detail.as_ref().is_some_and(|detail| detail.starts_with("there is no asset "))
    }

    /// All errors, for adding their locations.
    pub(crate) fn errors_mut(&mut self) -> &mut [FieldError] {
        &mut self.0.errors
    }

    /// Whether its type is `/problems/{slug}`.
    pub(crate) fn is(&self, slug: &str) -> bool {
        self.kind.strip_prefix("/problems/") == Some(slug)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.title.as_str() {
            "" => write!(f, "HTTP status {}", self.status)?,
            title => write!(f, "{title} (HTTP {})", self.status)?,
        }
        // The platform repeats the first of several errors as detail and field.
        let listed = |detail: &str| self.errors.first().is_some_and(|e| detail.contains(&e.reason));
        if let Some(detail) = self.detail.as_ref().filter(|detail| !listed(detail)) {
            write!(f, "\n  {detail}")?;
        }
        if let Some(field) = self.field.as_ref().filter(|_| self.errors.is_empty()) {
            write!(f, "\n  field: {field}")?;
        }
        for error in &self.errors {
            write!(f, "\n  {}", placed(error))?;
        }
        for line in self.impact.iter().flat_map(|impact| lines(impact)) {
            write!(f, "\n  {}", one_line(&line.text))?;
        }
        if let Some(impact) = &self.impact {
            write!(f, "\n  digest: {}", one_line(&impact.digest))?;
        }
        Ok(())
    }
}

/// The error after its location.
fn placed(error: &FieldError) -> String {
    match &error.place {
        Some(place) => format!("{place}: {}", error.reason),
        None if error.field.is_empty() => error.reason.clone(),
        None => format!("{}: {}", error.field, error.reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_shown_with_title_detail_and_field() {
        let body = br#"{"type":"/problems/invalid-value","title":"Invalid value",
            "status":422,"detail":"not in the future","field":"/expires_at"}"#;
        let refusal = Refusal::read(422, body);
        assert!(refusal.is("invalid-value"));
        insta::assert_snapshot!(refusal, @r"
        Invalid value (HTTP 422)
          not in the future
          field: /expires_at
        ");
    }

    #[test]
    fn an_existing_file_is_named_with_a_remedy() {
        for (kind, says) in [
            (io::ErrorKind::AlreadyExists, "could not make a: entity already exists; name another"),
            (io::ErrorKind::NotFound, "could not make a: entity not found"),
        ] {
            let error = CliError::File { action: "make", path: "a".into(), source: kind.into() };
            let report = error.report();
            assert!(report.contains(says), "{report}");
        }
    }

    #[test]
    fn every_error_is_shown_once() {
        let body = br#"{"type":"/problems/invalid-policy","title":"Invalid policy",
            "status":422,"detail":"a.yaml:1:2: given twice","field":"/documents/0",
            "errors":[{"field":"/documents/0","reason":"given twice","place":"a.yaml:1:2"},
                      {"field":"/documents/1","reason":"empty"}]}"#;
        insta::assert_snapshot!(Refusal::read(422, body), @r"
        Invalid policy (HTTP 422)
          a.yaml:1:2: given twice
          /documents/1: empty
        ");
    }

    #[test]
    fn a_detail_with_more_text_is_not_a_second_error() {
        let body = br#"{"type":"/problems/policy-does-not-compile","status":422,
            "title":"Policy can't be compiled",
            "detail":"asset h: rule a/b would cut it; nothing was changed",
            "errors":[{"field":"","reason":"asset h: rule a/b would cut it"}]}"#;
        insta::assert_snapshot!(Refusal::read(422, body), @r"
        Policy can't be compiled (HTTP 422)
          asset h: rule a/b would cut it
        ");
    }

    #[test]
    fn an_answer_without_a_problem_document_is_a_refusal() {
        for body in ["", "<html>", "[]", "{\"status\":1}"] {
            let refusal = Refusal::read(502, body.as_bytes());
            assert_eq!(refusal.to_string(), "HTTP status 502", "{body}");
        }
    }

    #[test]
    fn exit_codes() {
        let refused = |status| CliError::Refused {
            action: String::new(),
            refusal: Box::new(Refusal::read(status, b"")),
        };
        for (error, code) in [
            (CliError::input("x"), 1),
            (CliError::Usage(String::new()), 2),
            (CliError::NotSignedIn(String::new()), 3),
            (CliError::Untrusted(String::new()), 4),
            (refused(400), 1),
            (refused(401), 3),
            (refused(403), 3),
            (refused(404), 1),
            (refused(429), 1),
            (refused(500), 5),
            (refused(503), 5),
        ] {
            assert_eq!(error.exit_code(), ExitCode::from(code), "{error:?}");
        }
    }
}
