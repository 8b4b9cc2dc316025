//! Trust at the first sign-in: a CA certificate from a file, or the one that the platform shows and whose
//! fingerprint the operator knows.

use std::fmt;
use std::io::{self, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring::default_provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

use crate::error::CliError;

const WITHIN: Duration = Duration::from_secs(10);

/// SHA-256 of a certificate's DER form: `sha256:` and 64 hexadecimal digits, colons allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

/// Why a text is not a fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a fingerprint: expected sha256: and 64 hexadecimal digits")]
pub(crate) struct FingerprintError(String);

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let refuse = || FingerprintError(text.to_owned());
        let hex = text.strip_prefix("sha256:").ok_or_else(refuse)?.replace(':', "");
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(refuse());
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = &hex[2 * at..2 * at + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| refuse())?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The CA certificate that a platform shows. It is not trusted yet.
#[derive(Debug)]
pub(crate) struct ShownCa(CertificateDer<'static>);

impl ShownCa {
    /// Requests it. Nothing but a TLS handshake is sent.
    pub(crate) fn ask(url: &str) -> Result<Self, CliError> {
        let chain = shown_chain(url).map_err(|source| CliError::Unreachable {
            action: "read the platform's certificate".to_owned(),
            url: url.to_owned(),
            left: None,
            source: Box::new(ureq::Error::Io(source)),
        })?;
        // The leaf comes first, its issuer last.
        let issuer = chain.into_iter().skip(1).last();
        issuer.map(Self).ok_or_else(|| {
            CliError::Untrusted(format!(
                "{url} does not show its CA's certificate; give it with --ca FILE"
            ))
        })
    }

    /// What an operator compares.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, &self.0).as_ref());
        Fingerprint(bytes)
    }

    /// The certificate as PEM, if it has this fingerprint.
    pub(crate) fn if_it_has(self, expected: Fingerprint) -> Result<String, CliError> {
        let got = self.fingerprint();
        if got == expected {
            return Ok(self.into_pem());
        }
        Err(CliError::Untrusted(format!(
            "this is not the expected platform: its CA has the fingerprint {got}, expected \
             {expected}"
        )))
    }

    /// The certificate as PEM.
    pub(crate) fn into_pem(self) -> String {
        let base64 = STANDARD.encode(&self.0);
        let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
        for line in base64.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
        pem
    }
}

/// Starts a handshake and records the certificates received.
fn shown_chain(url: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let uri: ureq::http::Uri = url.parse().map_err(io::Error::other)?;
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(443);
    let taken_down = Arc::new(ChainRecorder::default());
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(taken_down.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut tcp = connect(host, port)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    tls.send_close_notify();
    tls.complete_io(&mut tcp)?;
    tcp.flush()?;
    let mut chain = taken_down.chain.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *chain))
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, WITHIN) {
            Ok(stream) => {
                stream.set_read_timeout(Some(WITHIN))?;
                stream.set_write_timeout(Some(WITHIN))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Accepts any chain in order to record it. The connection is used for nothing else.
#[derive(Debug)]
struct ChainRecorder {
    provider: CryptoProvider,
    chain: Mutex<Vec<CertificateDer<'static>>>,
}

impl Default for ChainRecorder {
    fn default() -> Self {
        Self { provider: default_provider(), chain: Mutex::default() }
    }
}

impl ServerCertVerifier for ChainRecorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.clear();
        chain.push(end_entity.clone().into_owned());
        chain.extend(intermediates.iter().map(|each| each.clone().into_owned()));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("the platform speaks TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints() {
        let hex = "00ff".repeat(16);
        let colons = format!("sha256:{}", vec!["00:FF"; 16].join(":"));
        for text in [format!("sha256:{hex}"), colons] {
            assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), format!("sha256:{hex}"));
        }
        for text in [
            String::new(),
            hex.clone(),
            format!("sha1:{hex}"),
            format!("sha256:{hex}0"),
            "sha256:".to_owned() + &"é".repeat(32),
        ] {
            assert!(text.parse::<Fingerprint>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_the_certificate_with_the_fingerprint_is_accepted() {
        let ca = || ShownCa(CertificateDer::from(vec![7; 100]));
        let fingerprint = ca().fingerprint();
        let pem = ca().if_it_has(fingerprint).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\nBwcH") && pem.lines().count() == 5);
        let error = ca().if_it_has(Fingerprint([0; 32])).unwrap_err().to_string();
        assert!(error.contains(&fingerprint.to_string()), "{error}");
    }
}
