//! TLS as a client that looks closely: whom it trusts, and what was wrong in words. Probes and zone transfers are such clients.
//!
//! Every connection makes its handshake in full: a resumed session would hide a certificate that has expired since.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use ::aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::time::Timestamp;

/// The one version that zone transfers take (RFC 9103, 7.2).
static ONLY_1_3: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Whose certificate is good.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// Signed by an authority that this system trusts, for the name asked for, in time.
    SystemRoots,
    /// The same with authorities of a file of one's own.
    Authorities {
        /// Where they were read.
        file: PathBuf,
        /// At least one.
        certificates: Vec<CertificateDer<'static>>,
    },
    /// Any with one of these keys, whatever else it says.
    Pins(Vec<Pin>),
    /// Any.
    Anyone,
}

/// The SHA-256 of a SubjectPublicKeyInfo, as RFC 7469 (2.4) pins keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pin([u8; 32]);

impl Pin {
    /// Reads the hash in base64, with or without `sha256/` before it, or in 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("sha256/").unwrap_or(text);
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            let mut octets = [0; 32];
            for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
                *octet = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
            }
            return Some(Self(octets));
        }
        BASE64_STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// That of a certificate; `None` when it can't be read.
    pub fn of(certificate: &CertificateDer) -> Option<Self> {
        let read = webpki::EndEntityCert::try_from(certificate).ok()?;
        digest(&SHA256, &read.subject_public_key_info()).as_ref().try_into().ok().map(Self)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256/{}", BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// TLS with its trust, ready to be used. Two are equal when they trust and offer the same.
#[derive(Clone)]
pub struct Client {
    trust: Trust,
    /// The name sent (SNI, RFC 6066, 3) and wanted in the certificate; `None`: that of the Host header.
    server_name: Option<String>,
    /// What is offered by ALPN (RFC 7301), the best first.
    protocols: &'static [&'static str],
    /// How many versions it speaks, the newest among them.
    versions: usize,
    config: Arc<ClientConfig>,
}

/// Why a connection did not become TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What TLS or the certificate lacks, in words.
    #[error("{0}")]
    Tls(String),
    /// The connection failed below it.
    #[error(transparent)]
    Connection(#[from] io::Error),
}

/// Why there is no TLS to ask with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// Nobody could be trusted.
    #[error("this system has no certificates of authorities (Debian has them in ca-certificates)")]
    NoSystemRoots,
    /// An authority of the file.
    #[error("the certificate of an authority can't be used: {reason}")]
    Authority {
        /// What is wrong with it.
        reason: String,
    },
}

impl Client {
    /// Gets it ready, for TLS 1.2 and 1.3.
    ///
    /// # Errors
    /// [`TrustError`], when authorities can't be had.
    pub fn new(
        trust: Trust,
        server_name: Option<String>,
        protocols: &'static [&'static str],
    ) -> Result<Self, TrustError> {
        Self::of_versions(rustls::DEFAULT_VERSIONS, trust, server_name, protocols)
    }

    /// Gets it ready for zone transfers, which take TLS 1.3 and the protocol `dot` (RFC 9103, 7.1 and 7.2).
    ///
    /// # Errors
    /// [`TrustError`], when authorities can't be had.
    pub fn for_transfers(trust: Trust, server_name: Option<String>) -> Result<Self, TrustError> {
        Self::of_versions(&ONLY_1_3, trust, server_name, &["dot"])
    }

    fn of_versions(
        versions: &'static [&'static SupportedProtocolVersion],
        trust: Trust,
        server_name: Option<String>,
        protocols: &'static [&'static str],
    ) -> Result<Self, TrustError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match &trust {
            Trust::SystemRoots => by_authorities(rustls_native_certs::load_native_certs().certs, &provider, false)?,
            Trust::Authorities { certificates, .. } => by_authorities(certificates.clone(), &provider, true)?,
            Trust::Pins(pins) => Arc::new(Own { pins: Some(pins.clone()), provider: provider.clone() }),
            Trust::Anyone => Arc::new(Own { pins: None, provider: provider.clone() }),
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider has the cipher suites of all versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        config.resumption = Resumption::disabled();
        Ok(Self { versions: versions.len(), trust, server_name, protocols, config: Arc::new(config) })
    }

    /// Whose certificate is good.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The name that is sent and wanted where `host`, which may end in a port, is asked.
    pub fn name_for<'h>(&'h self, host: &'h str) -> &'h str {
        self.server_name.as_deref().unwrap_or_else(|| without_port(host))
    }

    /// Makes `stream`, which leads to `host`, a connection of TLS. There is no timeout of its own.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn connect(&self, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, Error> {
        let name = self.name_for(host);
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| Error::Tls(format!("TLS: {name:?} is no name that a certificate could be for")))?;
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(server, stream).await.map_err(|error| {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(reason) => Error::Tls(in_words(reason)),
                None => Error::Connection(error),
            }
        })
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        let parts = |c: &Self| (c.versions, c.protocols);
        (&self.trust, &self.server_name, parts(self)) == (&other.trust, &other.server_name, parts(other))
    }
}

impl Eq for Client {}

impl Hash for Client {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.trust, &self.server_name, self.protocols, self.versions).hash(state);
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trust, name) = (&self.trust, &self.server_name);
        f.debug_struct("Client").field("trust", trust).field("server_name", name).finish_non_exhaustive()
    }
}

/// `www.example.org:8443` without its port; an IPv6 address without its brackets.
fn without_port(host: &str) -> &str {
    if let Some(inside) = host.strip_prefix('[') {
        return inside.split(']').next().unwrap_or(inside);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Verifies a chain up to one of `authorities`; where `all` is set, each of them must be usable.
fn by_authorities(
    authorities: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
    all: bool,
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let mut roots = RootCertStore::empty();
    if all {
        for certificate in authorities {
            roots.add(certificate).map_err(|error| TrustError::Authority { reason: in_words(&error) })?;
        }
    } else {
        roots.add_parsable_certificates(authorities);
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|_| TrustError::NoSystemRoots) // the one reason without revocation lists: no root at all
}

/// Looks at the key alone, or at nothing; that the server has the key is proven by its signature in either case.
#[derive(Debug)]
struct Own {
    pins: Option<Vec<Pin>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Own {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(pins) = &self.pins else { return Ok(ServerCertVerified::assertion()) };
        let seen = Pin::of(end_entity).ok_or(CertificateError::BadEncoding)?;
        if pins.contains(&seen) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::Other(OtherError(Arc::new(NotPinned { seen }))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

/// A key that is not among the pins.
#[derive(Debug, thiserror::Error)]
#[error("its key is {seen}, which is not pinned")]
struct NotPinned {
    seen: Pin,
}

/// What rustls says, as an operator says it.
fn in_words(error: &rustls::Error) -> String {
    use CertificateError as C;
    let date = |at: &UnixTime| Timestamp(at.as_secs());
    let reason = match error {
        rustls::Error::InvalidCertificate(reason) => reason,
        rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            return "TLS: the server takes no protocol that is offered by ALPN".to_owned();
        }
        other => return format!("TLS: {other}"),
    };
    let what = match reason {
        C::Expired => "expired".to_owned(),
        C::ExpiredContext { not_after, .. } => format!("expired on {}", date(not_after)),
        C::NotValidYet => "is not valid yet".to_owned(),
        C::NotValidYetContext { not_before, .. } => format!("is not valid before {}", date(not_before)),
        C::UnknownIssuer => "is not signed by an authority that is trusted".to_owned(),
        C::NotValidForName => "is for another name".to_owned(),
        C::NotValidForNameContext { expected, presented } => {
            format!("is for {}, not for {}", presented.join(", "), expected.to_str())
        }
        C::Revoked => "is revoked".to_owned(),
        C::Other(OtherError(own)) => match own.downcast_ref::<NotPinned>() {
            Some(own) => return format!("certificate: {own}"),
            // A certificate that signs itself and says that it is an authority's.
            None if own.to_string() == "CaUsedAsEndEntity" => {
                "is an authority's own, such as a self-signed one".to_owned()
            }
            None => format!("is not good: {own}"),
        },
        other => format!("is not good: {other:?}"),
    };
    format!("certificate {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_in_both_forms() {
        let base64 = "sha256/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let pin = Pin::parse(base64).unwrap();
        assert_eq!(Pin::parse(hex), Some(pin));
        assert_eq!(Pin::parse(&base64[7..]), Some(pin));
        assert_eq!(pin.to_string(), base64);
        for wrong in ["", "sha256/", "47DEQpj8", &hex[1..], "sha1/47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="] {
            assert_eq!(Pin::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_host_is_a_name_without_its_port() {
        for (host, name) in [
            ("www.example.org", "www.example.org"),
            ("www.example.org:8443", "www.example.org"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("192.0.2.1:443", "192.0.2.1"),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
