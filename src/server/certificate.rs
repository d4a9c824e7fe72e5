//! A certificate for servers, taken from its file without a restart; a bad one leaves the old one in use.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};

/// How often the certificate's file is looked at, at most.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(10);

/// A certificate and its key, read again when the file changes.
pub struct Certificate {
    file: PathBuf,
    key_file: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    key: Arc<CertifiedKey>,
    modified: Option<SystemTime>,
    checked: Instant,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({:?})", self.file)
    }
}

impl Certificate {
    /// Reads both files, in PEM; of the first the server's own certificate comes first.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn read(certificate: &Path, key: &Path) -> io::Result<Arc<Self>> {
        let both = Arc::new(read(certificate, key)?);
        let current = Current { key: both, modified: modified(certificate), checked: Instant::now() };
        let (file, key_file) = (certificate.to_owned(), key.to_owned());
        Ok(Arc::new(Self { file, key_file, current: Mutex::new(current) }))
    }

    fn current(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.checked.elapsed() >= CERTIFICATE_CHECK {
            current.checked = Instant::now();
            let modified = modified(&self.file);
            if modified != current.modified {
                match read(&self.file, &self.key_file) {
                    Ok(key) => {
                        tracing::info!(file = ?self.file, "a new certificate is in use");
                        (current.key, current.modified) = (Arc::new(key), modified);
                    }
                    Err(error) => tracing::warn!(%error, "the new certificate can't be used, the old one stays"),
                }
            }
        }
        current.key.clone()
    }
}

/// TLS of a server with `certificate`, by one of `versions`, for `protocol` where a client offers any (ALPN, RFC 7301).
///
/// # Errors
/// That these versions can't be had.
pub fn server_config(
    certificate: Arc<Certificate>,
    versions: &[&'static SupportedProtocolVersion],
    protocol: &[u8],
) -> io::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let mut config = config.map_err(io::Error::other)?.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|m| m.modified()).ok()
}

fn read(certificate: &Path, key_file: &Path) -> io::Result<CertifiedKey> {
    let bad =
        |file: &Path, why: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {why}", file.display()));
    let open = |file: &Path| File::open(file).map(BufReader::new).map_err(|e| bad(file, e.to_string()));
    let chain = CertificateDer::pem_reader_iter(open(certificate)?).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| bad(certificate, e.to_string()))?;
    if chain.is_empty() {
        return Err(bad(certificate, "it holds no certificate in PEM".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_reader(open(key_file)?).map_err(|e| bad(key_file, e.to_string()))?;
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|e| bad(key_file, e.to_string()))
}
