//! Authenticode signatures of the programs for Windows, made by `osslsigncode` with the builder's key.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{packages, run, tools};

/// Whose signature the programs for Windows get; without a key they stay unsigned.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct SignArgs {
    /// Sign with this private key (PEM).
    #[arg(long, value_name = "FILE", requires = "windows", requires = "sign_certificate")]
    sign_key: Option<PathBuf>,
    /// Its certificate, followed by those of the authorities between it and the root (PEM).
    #[arg(long, value_name = "FILE", requires = "sign_key")]
    sign_certificate: Option<PathBuf>,
    /// Sign with the key and certificates in this PKCS#12 file instead.
    #[arg(long, value_name = "FILE", requires = "windows", conflicts_with = "sign_key")]
    sign_pkcs12: Option<PathBuf>,
    /// The file with the password of the key; never given on the command line, which other users can read.
    #[arg(long, value_name = "FILE", requires = "windows")]
    sign_password_file: Option<PathBuf>,
    /// Which hash functions the signature uses.
    #[arg(long, value_enum, default_value_t, requires = "windows")]
    sign_hashes: Hashes,
    /// Ask this server (RFC 3161) to confirm the time, so that the signature stays valid when the certificate
    /// has expired. Without it, nothing is asked.
    #[arg(long, value_name = "URL", requires = "windows")]
    sign_timestamp: Option<String>,
}

/// The hash functions of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Hashes {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-1, with a second signature by SHA-256 in it: Windows Server 2008 R2 without its updates for SHA-2
    /// can verify the first one alone.
    Sha1AndSha256,
}

/// The builder's key.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    key: Key,
    password: Option<PathBuf>,
    hashes: Hashes,
    timestamp: Option<String>,
}

#[derive(Debug, Clone)]
enum Key {
    Pem { key: PathBuf, certificate: PathBuf },
    Pkcs12(PathBuf),
}

impl Signer {
    /// Who signs; `None` if no key is given.
    pub(crate) fn of(args: &SignArgs) -> Result<Option<Self>> {
        let key = match (&args.sign_key, &args.sign_certificate, &args.sign_pkcs12) {
            (Some(key), Some(certificate), None) => {
                Key::Pem { key: key.clone(), certificate: certificate.clone() }
            }
            (None, None, Some(file)) => Key::Pkcs12(file.clone()),
            (None, None, None) => {
                let is_other_given = args.sign_password_file.is_some()
                    || args.sign_timestamp.is_some()
                    || args.sign_hashes != Hashes::default();
                if is_other_given {
                    bail!(
                        "nothing would be signed: give --sign-key and --sign-certificate, or --sign-pkcs12"
                    );
                }
                return Ok(None);
            }
            _ => bail!("give either --sign-key and --sign-certificate, or --sign-pkcs12"),
        };
        packages::ensure(tools::SIGNING)?;
        Ok(Some(Self {
            key,
            password: args.sign_password_file.clone(),
            hashes: args.sign_hashes,
            timestamp: args.sign_timestamp.clone(),
        }))
    }

    /// Signs a program in its place; if that fails, it stays as it was.
    pub(crate) fn sign(&self, program: &Path) -> Result<()> {
        let beside = program.with_extension("signing");
        std::fs::copy(program, &beside)
            .with_context(|| format!("could not copy {}", program.display()))?;
        let signed = match self.hashes {
            Hashes::Sha256 => self.add(&beside, "sha256", Place::First),
            Hashes::Sha1AndSha256 => self
                .add(&beside, "sha1", Place::First)
                .and_then(|()| self.add(&beside, "sha256", Place::Nested)),
        };
        let replaced = signed.and_then(|()| {
            std::fs::rename(&beside, program)
                .with_context(|| format!("could not replace {}", program.display()))
        });
        if replaced.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        replaced.with_context(|| format!("{} could not be signed", program.display()))
    }

    fn add(&self, program: &Path, hash: &str, place: Place) -> Result<()> {
        let signed = program.with_extension("signed");
        // It refuses to replace a file.
        let _ = std::fs::remove_file(&signed);
        let mut command = Command::new("osslsigncode");
        command.arg("sign");
        match &self.key {
            Key::Pem { key, certificate } => {
                command.arg("-key").arg(key).arg("-certs").arg(certificate)
            }
            Key::Pkcs12(file) => command.arg("-pkcs12").arg(file),
        };
        if let Some(password) = &self.password {
            command.arg("-readpass").arg(password);
        }
        if let Some(url) = &self.timestamp {
            command.args(["-ts", url]);
        }
        if place == Place::Nested {
            command.arg("-nest");
        }
        command.args(["-h", hash, "-n", "Xshield"]);
        command.arg("-in").arg(program).arg("-out").arg(&signed);
        run::succeed(&mut command)?;
        std::fs::rename(&signed, program)
            .with_context(|| format!("could not replace {}", program.display()))
    }
}

/// Where a signature goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the program's first one.
    First,
    /// Into the one that is there.
    Nested,
}

#[cfg(test)]
mod tests {
    use std::process::Output;

    use super::*;

    /// A directory with an authority, a key that it has certified for programs, and a program.
    struct Builder(PathBuf);

    impl Builder {
        fn new(name: &str) -> Self {
            let directory =
                std::env::temp_dir().join(format!("xshield-sign-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            let builder = Self(directory);
            let request = ["req", "-newkey", "rsa:2048", "-nodes", "-sha256"];
            let ca = [
                "-x509",
                "-days",
                "2",
                "-subj",
                "/CN=Test authority",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ];
            builder.openssl(&[&request[..], &ca].concat());
            let own = ["-subj", "/CN=Test builder", "-keyout", "own.key", "-out", "own.csr"];
            builder.openssl(&[&request[..], &own].concat());
            std::fs::write(builder.path("extensions"), "extendedKeyUsage=codeSigning\n").unwrap();
            builder.openssl(&[
                "x509",
                "-req",
                "-in",
                "own.csr",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-days",
                "1",
                "-set_serial",
                "7",
                "-extfile",
                "extensions",
                "-out",
                "own.pem",
            ]);
            std::fs::write(builder.path("main.c"), "int main(void) { return 0; }\n").unwrap();
            let mut gcc = Command::new("x86_64-w64-mingw32-gcc");
            builder.done(gcc.args(["main.c", "-o", "program.exe"]));
            builder
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn done(&self, command: &mut Command) -> Output {
            let output = command.current_dir(&self.0).output().unwrap();
            assert!(
                output.status.success(),
                "{command:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            output
        }

        fn openssl(&self, arguments: &[&str]) {
            self.done(Command::new("openssl").args(arguments));
        }

        fn signer(&self, hashes: Hashes) -> Signer {
            let args = SignArgs {
                sign_key: Some(self.path("own.key")),
                sign_certificate: Some(self.path("own.pem")),
                sign_hashes: hashes,
                ..SignArgs::default()
            };
            Signer::of(&args).unwrap().unwrap()
        }

        /// What `osslsigncode` says about the program's signatures.
        fn verify(&self) -> (bool, String) {
            let mut command = Command::new("osslsigncode");
            command.args(["verify", "-CAfile", "ca.pem", "-in", "program.exe"]);
            let output = command.current_dir(&self.0).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        }
    }

    impl Drop for Builder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn signed_programs_verify_and_changed_ones_do_not() {
        for (hashes, name, wanted) in [
            (Hashes::Sha256, "one", &["SHA256"][..]),
            (Hashes::Sha1AndSha256, "both", &["SHA1", "SHA256"]),
        ] {
            let builder = Builder::new(name);
            let (is_valid, text) = builder.verify();
            assert!(!is_valid, "an unsigned program is valid: {text}");
            builder.signer(hashes).sign(&builder.path("program.exe")).unwrap();
            let (is_valid, text) = builder.verify();
            assert!(is_valid && text.contains("Test builder"), "{text}");
            for hash in wanted {
                assert!(
                    text.contains(&format!("Message digest algorithm  : {hash}\n")),
                    "{hash}: {text}"
                );
            }
            let mut bytes = std::fs::read(builder.path("program.exe")).unwrap();
            // In the code, after the headers.
            bytes[0x600] ^= 1;
            std::fs::write(builder.path("program.exe"), bytes).unwrap();
            let (is_valid, text) = builder.verify();
            assert!(!is_valid, "a changed program is valid: {text}");
        }
    }

    #[test]
    fn a_program_that_could_not_be_signed_stays_as_it_was() {
        let builder = Builder::new("refused");
        let before = std::fs::read(builder.path("program.exe")).unwrap();
        std::fs::write(builder.path("own.key"), "no key").unwrap();
        for hashes in [Hashes::Sha256, Hashes::Sha1AndSha256] {
            let error = builder.signer(hashes).sign(&builder.path("program.exe")).unwrap_err();
            assert!(format!("{error:#}").contains("could not be signed"), "{error:#}");
            assert_eq!(std::fs::read(builder.path("program.exe")).unwrap(), before);
            assert!(!builder.path("program.signing").exists());
        }
    }

    #[test]
    fn options_without_a_key_are_refused() {
        assert!(Signer::of(&SignArgs::default()).unwrap().is_none());
        let args = SignArgs { sign_hashes: Hashes::Sha1AndSha256, ..SignArgs::default() };
        assert!(Signer::of(&args).is_err());
    }
}
