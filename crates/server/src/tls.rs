//! The platform's certificate authority and the server certificate it issues. Hosts pin the CA, so the server
//! certificate can be renewed at any time.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::crypto::ring::{default_provider, sign};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use xshield_model::Timestamp;

use crate::keys::{DataDir, KeyError};
use crate::platform_key::PlatformKey;

/// The age of new certificates: a host whose clock is behind should get an error from the platform, not fail
/// in TLS.
const BACKDATED: Duration = Duration::days(3);
const CA_LASTS: Duration = Duration::days(20 * 365);
const SERVER_LASTS: Duration = Duration::days(397);
/// Seconds before the end at which the server certificate is renewed.
const RENEW_BEFORE: i64 = 60 * 24 * 3600;

/// The CA's certificate in the data directory.
pub(crate) const CA: &str = "ca.pem";

/// The parameters of the server certificate in the data directory.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    names: Vec<String>,
    not_after: i64,
    ca: String,
}

/// The CA and the current server certificate.
pub struct Tls {
    ca_pem: String,
    ca_params: CertificateParams,
    ca_key: KeyPair,
    names: Vec<String>,
    current: Arc<Current>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads CA and server certificate, creates what is missing, and renews the latter for other `names` or
    /// near its expiry.
    ///
    /// # Errors
    /// When a file can't be read or written, or is damaged.
    pub fn open(dir: &DataDir, names: Vec<String>, now: Timestamp) -> Result<Self, KeyError> {
        let (ca_key, ca_pem) = certificate_authority(dir, now)?;
        let ca_params = ca_params(&ca_key, now);
        let certified = match stored(dir, &names, &ca_pem, now)? {
            Some(certified) => certified,
            None => issue(dir, &names, &ca_params, &ca_key, &ca_pem, now)?,
        };
        let current = Arc::new(Current(RwLock::new(Arc::new(certified))));
        Ok(Self { ca_pem, ca_params, ca_key, names, current })
    }

    /// The certificate that hosts pin.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The SHA-256 of [`Tls::ca_pem`]'s certificate, as operators compare it: `sha256:` and hex.
    ///
    /// # Errors
    /// When the stored certificate is damaged.
    pub fn ca_fingerprint(&self) -> Result<String, KeyError> {
        let hash = digest(&SHA256, &self.ca_der()?);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256:{hex}"))
    }

    /// [`Tls::ca_pem`] in DER.
    ///
    /// # Errors
    /// When the stored certificate is damaged.
    pub fn ca_der(&self) -> Result<Vec<u8>, KeyError> {
        let ca = CertificateDer::from_pem_slice(self.ca_pem.as_bytes())
            .map_err(|_| rustls::Error::General("unreadable PEM".to_owned()))?;
        Ok(ca.to_vec())
    }

    /// Renews the server certificate if it is about to expire; later connections use it.
    ///
    /// # Errors
    /// When a file can't be written.
    pub fn renew(&self, dir: &DataDir, now: Timestamp) -> Result<(), KeyError> {
        if stored(dir, &self.names, &self.ca_pem, now)?.is_none() {
            let certified =
                issue(dir, &self.names, &self.ca_params, &self.ca_key, &self.ca_pem, now)?;
            *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
        }
        Ok(())
    }

    /// TLS 1.3 with the current certificate.
    ///
    /// # Errors
    /// When rustls refuses.
    pub fn server_config(&self) -> Result<ServerConfig, KeyError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

struct Current(RwLock<Arc<CertifiedKey>>);

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn certificate_authority(dir: &DataDir, now: Timestamp) -> Result<(KeyPair, String), KeyError> {
    match (dir.read("ca.key")?, dir.read("ca.pem")?) {
        (Some(key), Some(pem)) => {
            let key = KeyPair::from_pem(&key).map_err(damaged(dir, "ca.key"))?;
            Ok((key, pem))
        }
        (None, _) if dir.has_database()? => Err(dir.missing(PlatformKey::Ca)),
        (Some(_), None) if dir.has_database()? => Err(KeyError::Damaged {
            path: dir.file("ca.pem"),
            reason: "it is missing, but its key exists".to_owned(),
        }),
        (None, None) => new_ca(dir, now),
        // The key is written first: without the certificate nobody has seen it yet.
        (Some(key), None) => {
            let key = KeyPair::from_pem(&key).map_err(damaged(dir, "ca.key"))?;
            let pem = ca_params(&key, now).self_signed(&key)?.pem();
            dir.write("ca.pem", &pem)?;
            Ok((key, pem))
        }
        (None, Some(_)) => Err(KeyError::Damaged {
            path: dir.file("ca.key"),
            reason: "ca.pem exists, but its key is missing".to_owned(),
        }),
    }
}

fn new_ca(dir: &DataDir, now: Timestamp) -> Result<(KeyPair, String), KeyError> {
    let key = KeyPair::generate()?;
    let pem = self_signed(&key, now)?;
    dir.write("ca.key", &key.serialize_pem())?;
    dir.write(CA, &pem)?;
    Ok((key, pem))
}

/// The self-signed certificate of a CA with this key.
pub(crate) fn self_signed(key: &KeyPair, now: Timestamp) -> Result<String, KeyError> {
    Ok(ca_params(key, now).self_signed(key)?.pem())
}

/// Creates another CA in the place of one whose key is lost.
pub(crate) fn make_ca_again(dir: &DataDir, now: Timestamp) -> Result<(), KeyError> {
    if dir.read("ca.key")?.is_some() {
        return Err(KeyError::IsThere(dir.file("ca.key")));
    }
    // The old certificate matches no other key: once it is removed, an interruption leaves nothing
    // inconsistent.
    dir.remove("ca.pem")?;
    new_ca(dir, now).map(drop)
}

fn damaged<E: fmt::Display>(dir: &DataDir, name: &str) -> impl FnOnce(E) -> KeyError {
    let path = dir.file(name);
    move |error| KeyError::Damaged { path, reason: error.to_string() }
}

/// The CA's name contains a fingerprint of its key, to distinguish the CAs of two platforms.
fn ca_params(key: &KeyPair, now: Timestamp) -> CertificateParams {
    let hash = digest(&SHA256, key.public_key_raw());
    let mark: String = hash.as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = validity(now, CA_LASTS);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Xshield platform CA {mark}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn validity(now: Timestamp, lasts: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = OffsetDateTime::from_unix_timestamp(now.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    (now.saturating_sub(BACKDATED), now.saturating_add(lasts))
}

/// The stored server certificate, if it is still valid for these names.
fn stored(
    dir: &DataDir,
    names: &[String],
    ca_pem: &str,
    now: Timestamp,
) -> Result<Option<CertifiedKey>, KeyError> {
    let (Some(issued), Some(key), Some(pem)) =
        (dir.read("tls.json")?, dir.read("tls.key")?, dir.read("tls.pem")?)
    else {
        return Ok(None);
    };
    let good = serde_json::from_str::<Issued>(&issued).is_ok_and(|issued| {
        issued.names == names
            && issued.not_after - RENEW_BEFORE > now.0
            && issued.ca == fingerprint(ca_pem)
    });
    // A damaged certificate is no loss: the CA issues another.
    Ok(if good { certified(&pem, ca_pem, &key).ok() } else { None })
}

fn issue(
    dir: &DataDir,
    names: &[String],
    ca_params: &CertificateParams,
    ca_key: &KeyPair,
    ca_pem: &str,
    now: Timestamp,
) -> Result<CertifiedKey, KeyError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names.to_vec())?;
    (params.not_before, params.not_after) = validity(now, SERVER_LASTS);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Xshield platform");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let not_after = params.not_after.unix_timestamp();
    let leaf = params.signed_by(&key, &Issuer::from_params(ca_params, ca_key))?.pem();
    // The CA is included, so that clients which know its fingerprint can get it here.
    let pem = format!("{leaf}{ca_pem}");
    let issued = Issued { names: names.to_vec(), not_after, ca: fingerprint(ca_pem) };
    let issued = serde_json::to_string(&issued).map_err(damaged(dir, "tls.json"))?;
    dir.write("tls.key", &key.serialize_pem())?;
    dir.write("tls.pem", &pem)?;
    dir.write("tls.json", &issued)?;
    certified(&pem, ca_pem, &key.serialize_pem())
}

fn fingerprint(ca_pem: &str) -> String {
    digest(&SHA256, ca_pem.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The CA is sent along, so that clients which only know its fingerprint can pin it, too.
fn certified(pem: &str, ca_pem: &str, key: &str) -> Result<CertifiedKey, KeyError> {
    let unreadable = |_| rustls::Error::General("unreadable PEM".to_owned());
    let read = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(unreadable);
    let chain = vec![read(pem)?, read(ca_pem)?];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(unreadable)?;
    let certified = CertifiedKey::new(chain, sign::any_supported_type(&key)?);
    certified.keys_match()?;
    Ok(certified)
}

/// Subject alternative names: those of the public URLs, and this machine's.
#[must_use]
pub fn names(public: &[crate::settings::PublicUrl], listen: IpAddr) -> Vec<String> {
    let mut names: Vec<String> = public.iter().map(|url| url.host.clone()).collect();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(dir: &DataDir) -> String {
        dir.read("tls.pem").unwrap().unwrap()
    }

    #[test]
    fn the_certificate_is_renewed_on_new_names_or_expiry_and_the_ca_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let names = |text: &str| vec![text.to_owned()];
        let start = Timestamp(1_800_000_000);
        let ca = Tls::open(&dir, names("a.example"), start).unwrap().ca_pem;
        let first = certificate(&dir);
        Tls::open(&dir, names("a.example"), start.plus(1000)).unwrap();
        assert_eq!(certificate(&dir), first, "nothing has changed");
        let tls = Tls::open(&dir, names("b.example"), start).unwrap();
        let second = certificate(&dir);
        assert_ne!(second, first, "other names");
        tls.renew(&dir, start.plus(100 * 24 * 3600)).unwrap();
        assert_eq!(certificate(&dir), second, "far from its end");
        tls.renew(&dir, start.plus(390 * 24 * 3600)).unwrap();
        assert_ne!(certificate(&dir), second, "near its end");
        assert_eq!(tls.ca_pem, ca);
    }

    #[test]
    fn if_a_database_exists_a_ca_is_recreated_only_by_command() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let now = Timestamp(1_800_000_000);
        let open = || Tls::open(&dir, vec!["a.example".to_owned()], now);
        let first = open().unwrap().ca_pem;
        std::fs::write(dir.file(DataDir::DATABASE), "").unwrap();
        assert!(matches!(make_ca_again(&dir, now), Err(KeyError::IsThere(_))));
        for lost in [&["ca.pem"][..], &["ca.key"], &["ca.key", "ca.pem"]] {
            let kept: Vec<_> = lost.iter().map(|name| dir.read(name).unwrap().unwrap()).collect();
            lost.iter().for_each(|name| std::fs::remove_file(dir.file(name)).unwrap());
            let said = open().unwrap_err().to_string();
            assert!(said.contains(lost[0]) && said.contains("Restore it from a backup"), "{said}");
            assert!(lost.iter().all(|name| !dir.file(name).exists()), "{lost:?}");
            lost.iter().zip(kept).for_each(|(name, text)| dir.write(name, &text).unwrap());
            assert_eq!(open().unwrap().ca_pem, first);
        }
        std::fs::remove_file(dir.file("ca.key")).unwrap();
        make_ca_again(&dir, now).unwrap();
        assert_ne!(open().unwrap().ca_pem, first);
    }

    #[test]
    fn a_ca_whose_key_is_gone_is_not_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let start = Timestamp(1_800_000_000);
        Tls::open(&dir, vec!["a.example".to_owned()], start).unwrap();
        std::fs::remove_file(dir.file("ca.key")).unwrap();
        let again = Tls::open(&dir, vec!["a.example".to_owned()], start);
        assert!(matches!(again, Err(KeyError::Damaged { .. })));
    }
}
