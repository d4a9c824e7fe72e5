//! Whom TLS trusts: the system's authorities, those of `ca-file`, or the keys in `pins`.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::reader::Value;
use super::source::Source;
use super::values;
use crate::tls::{Pin, Trust};

/// What `sni` is.
pub(super) const SNI: &str = "the name that TLS asks for, of printable ASCII characters without spaces";

/// Of `ca-file` and `pins` at most one is given.
pub(super) fn trust(authorities: Option<Value>, pins: Option<Value>, src: &mut Source) -> Option<Trust> {
    match (authorities, pins) {
        (Some(v), _) => {
            let file = values::path(&v, "a file", src)?;
            match CertificateDer::pem_file_iter(&file).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                Ok(certificates) if certificates.is_empty() => {
                    src.error(v.span.clone(), format!("{} has no certificate in it", v.written(src)));
                    None
                }
                Ok(certificates) => Some(Trust::Authorities { file, certificates }),
                Err(error) => {
                    src.error(v.span.clone(), format!("{} can't be read: {error}", v.written(src)));
                    None
                }
            }
        }
        (_, Some(v)) => {
            const WHAT: &str = "the SHA-256 of a key (SubjectPublicKeyInfo) in base64 or hexadecimal digits";
            let elements = v.list("an array of keys' SHA-256", src);
            let pins: Option<Vec<Pin>> = elements.iter().map(|e| e.parsed(WHAT, src, Pin::parse)).collect();
            Some(Trust::Pins(pins.filter(|pins| !pins.is_empty())?))
        }
        (None, None) => Some(Trust::SystemRoots),
    }
}
