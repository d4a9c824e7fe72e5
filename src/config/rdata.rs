//! RDATA as the file gives it, in the text form of master files.

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::dns::Rtype;

/// The wire form of RDATA of type `rtype`; names in it are absolute.
///
/// # Errors
/// Why the text is no such RDATA.
pub(super) fn rdata_from_text(rtype: Rtype, text: &str) -> Result<Box<[u8]>, String> {
    let mut rdata = RData::try_from_str(RecordType::from(rtype.0), text).map_err(|e| e.to_string())?;
    if let RData::SVCB(svcb) | RData::HTTPS(hickory_proto::rr::rdata::HTTPS(svcb)) = &mut rdata {
        // In order on the wire, in any order as text (RFC 9460, 2.1 and 2.2).
        svcb.svc_params.sort_by_key(|(key, _)| u16::from(*key));
    }
    let mut wire = Vec::new();
    rdata.emit(&mut BinEncoder::new(&mut wire)).map_err(|e| e.to_string())?;
    Ok(wire.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_forms() {
        let wire = |rtype, text| rdata_from_text(rtype, text).map(Vec::from);
        assert_eq!(
            wire(Rtype::SRV, "10 5 443 host.example."),
            Ok(b"\0\x0a\0\x05\x01\xbb\x04host\x07example\0".to_vec())
        );
        assert_eq!(
            wire(Rtype::HTTPS, "1 . port=8443 alpn=h2"),
            Ok(b"\0\x01\0\0\x01\0\x03\x02h2\0\x03\0\x02\x20\xfb".to_vec())
        );
        assert!(wire(Rtype::HTTPS, "one . alpn=h2").is_err());
        assert!(wire(Rtype::SRV, "10 5 443").is_err());
    }
}
