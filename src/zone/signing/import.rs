//! Keys that other programs made: BIND's and ldns' `Kname+alg+tag.private` with its `.key`, PKCS#8 in PEM as Knot DNS keeps it.
//!
//! No files here: texts come in. What a private key is made of is never quoted, nor is a line that could be part of one.

use super::keys::{Algorithm, ENTRY_POINT, KeyError, SigningKey, ZONE_KEY};
use super::rollover::Role;
use crate::dns::{Name, rdata};

/// The first line of a private key of BIND and ldns, up to its version.
const PRIVATE_HEAD: &str = "Private-key-format";
/// The parts of an RSA key there, in the order of PKCS#1.
const RSA_PARTS: [&str; 8] =
    ["Modulus", "PublicExponent", "PrivateExponent", "Prime1", "Prime2", "Exponent1", "Exponent2", "Coefficient"];

/// What is said of a key that is brought.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The text of the private half.
    pub private: &'a str,
    /// The DNSKEY record of the public half, where there is one.
    pub public: Option<&'a str>,
    /// What it is for; needed where there is no DNSKEY record.
    pub role: Option<Role>,
}

/// The half of a key that a mistake is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// [`Given::private`].
    Private,
    /// [`Given::public`].
    Public,
    /// Neither: what is said beside them.
    Role,
}

/// Why a key is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ImportError {
    /// Where.
    pub half: Half,
    /// Counted from 1; `None` where it is about the whole.
    pub line: Option<usize>,
    /// One sentence without any part of the key.
    pub message: String,
}

/// Reads a key of `zone`.
///
/// # Errors
/// [`ImportError`]: what is no key, one of another zone or of an algorithm that is not signed with here, halves that do not
/// belong together.
pub fn read(zone: &Name, given: Given<'_>) -> Result<SigningKey, ImportError> {
    let public = given.public.map(|text| public(zone, text)).transpose()?;
    let flags = match (&public, given.role) {
        (Some(public), role) => {
            if role.is_some_and(|role| role.is_entry() != (public.flags == ENTRY_POINT)) {
                let told = format!("its flags are {}: that is {}", public.flags, role_of(public.flags));
                return Err(bad(Half::Role, None, told));
            }
            public.flags
        }
        (None, Some(role)) => flags(role),
        (None, None) => {
            let told = "there is no DNSKEY record beside it that says what it is for: name its role, csk, ksk or zsk";
            return Err(bad(Half::Role, None, told));
        }
    };
    let key = private(given.private, flags)?;
    if let Some(public) = public
        && (public.algorithm, &*public.key) != (key.algorithm().number(), key.dnskey().public())
    {
        let told = format!("this DNSKEY is not the public half of the private key, which is of {}", key.algorithm());
        return Err(bad(Half::Public, Some(public.line), told));
    }
    Ok(key)
}

const fn flags(role: Role) -> u16 {
    if role.is_entry() { ENTRY_POINT } else { ZONE_KEY }
}

const fn role_of(flags: u16) -> &'static str {
    if flags == ENTRY_POINT { "a KSK or CSK" } else { "a ZSK" }
}

fn bad(half: Half, line: Option<usize>, message: impl Into<String>) -> ImportError {
    ImportError { half, line, message: message.into() }
}

/// A DNSKEY record as text.
struct Public {
    flags: u16,
    algorithm: u8,
    key: Vec<u8>,
    line: usize,
}

/// Reads the one DNSKEY record of a text in the form of a master file (RFC 1035, 5.1).
fn public(zone: &Name, text: &str) -> Result<Public, ImportError> {
    let mut tokens: Vec<(usize, &str)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split(';').next().unwrap_or_default();
        tokens.extend(line.split(|c: char| c.is_whitespace() || "()".contains(c)).map(|token| (at + 1, token)));
    }
    tokens.retain(|(_, token)| !token.is_empty());
    let found = |(_, token): &(usize, &str)| token.eq_ignore_ascii_case("DNSKEY");
    let no_record = "there is no DNSKEY record here, such as \"example.org. IN DNSKEY 257 3 13 ...\"";
    let at = tokens.iter().position(found).ok_or_else(|| bad(Half::Public, None, no_record))?;
    let line = tokens[at].0;
    let wrong = |told: String| bad(Half::Public, Some(line), told);
    let owner = tokens[0].1;
    if at > 0 && !Name::parse(owner, Some(&Name::root())).is_ok_and(|owner| owner == *zone) {
        return Err(wrong(format!("this is a key of {owner:?}, not of {zone}")));
    }
    let number = |place: usize| tokens.get(at + place).and_then(|(_, token)| token.parse::<u16>().ok());
    let (Some(flags), Some(3), Some(algorithm)) = (number(1), number(2), number(3)) else {
        return Err(wrong("flags, protocol 3 and the algorithm's number are wanted behind DNSKEY".to_owned()));
    };
    if ![ENTRY_POINT, ZONE_KEY].contains(&flags) {
        let told = format!("its flags are {flags}: a key that signs has {ENTRY_POINT} or {ZONE_KEY}");
        return Err(wrong(told));
    }
    let algorithm = u8::try_from(algorithm).ok().filter(|number| Algorithm::from_number(*number).is_some());
    let algorithm = algorithm.ok_or_else(|| wrong(format!("its algorithm is {}: {}", tokens[at + 3].1, known())))?;
    let base64: String = tokens[at + 4..].iter().map(|(_, token)| *token).collect();
    let key = rdata::base64(&base64).ok_or_else(|| wrong("its key is no base64".to_owned()))?;
    Ok(Public { flags, algorithm, key, line })
}

fn known() -> String {
    let all: Vec<String> =
        Algorithm::ALL.iter().map(|(name, number)| format!("{} ({name})", number.number())).collect();
    format!("signed with are {}", all.join(", "))
}

fn private(text: &str, flags: u16) -> Result<SigningKey, ImportError> {
    let text = text.trim_start_matches('\u{feff}');
    let begun = text.lines().find(|line| line.starts_with("-----BEGIN "));
    match begun.map(str::trim_end) {
        Some("-----BEGIN PRIVATE KEY-----") => pem(text, flags),
        Some("-----BEGIN ENCRYPTED PRIVATE KEY-----") => {
            Err(bad(Half::Private, None, "it is encrypted: take the encryption off first (openssl pkcs8)"))
        }
        Some(_) => Err(bad(Half::Private, None, "of PEM files those of PKCS#8 are read: -----BEGIN PRIVATE KEY-----")),
        None if text.trim_start().starts_with(PRIVATE_HEAD) => listed(text, flags),
        None => {
            let told =
                format!("this is no private key: neither PKCS#8 in PEM nor a file that begins with {PRIVATE_HEAD}");
            Err(bad(Half::Private, None, told))
        }
    }
}

/// PKCS#8 in PEM (RFC 7468, 10); the first one of the text.
fn pem(text: &str, flags: u16) -> Result<SigningKey, ImportError> {
    let inside = text.lines().skip_while(|line| !line.starts_with("-----BEGIN "));
    let base64: String = inside.skip(1).take_while(|line| !line.starts_with("-----END ")).map(str::trim).collect();
    let damaged = || bad(Half::Private, None, "what stands between BEGIN and END is no base64");
    let der = rdata::base64(&base64).ok_or_else(damaged)?;
    let tried = Algorithm::ALL.iter().find_map(|(_, algorithm)| SigningKey::from_pkcs8(*algorithm, flags, &der).ok());
    tried.ok_or_else(|| {
        let told = format!("it is no key that can sign here: {}, RSA with 2048 bits or more", known());
        bad(Half::Private, None, told)
    })
}

/// The form of BIND and ldns: `Field: value`, one a line.
fn listed(text: &str, flags: u16) -> Result<SigningKey, ImportError> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let mut fields: Vec<(usize, &str, &str)> = Vec::new();
    for (at, line) in lines {
        let Some((name, value)) = line.split_once(':') else {
            return Err(bad(Half::Private, Some(at + 1), "\"Field: value\" is wanted on each line"));
        };
        fields.push((at + 1, name.trim(), value.trim()));
    }
    let field = |wanted: &str| fields.iter().find(|(_, name, _)| *name == wanted);
    let missing = |wanted: &str| bad(Half::Private, None, format!("the line \"{wanted}:\" is missing"));
    let (line, _, version) = field(PRIVATE_HEAD).ok_or_else(|| missing(PRIVATE_HEAD))?;
    if !version.starts_with("v1.") {
        return Err(bad(Half::Private, Some(*line), format!("{version:?} is no form that is known: v1.2, v1.3")));
    }
    if let Some((line, ..)) = field("Engine").or_else(|| field("Label")) {
        return Err(bad(Half::Private, Some(*line), "the key itself is in a security module, not in this file"));
    }
    let (line, _, written) = field("Algorithm").ok_or_else(|| missing("Algorithm"))?;
    let number = written.split_whitespace().next().and_then(|number| number.parse().ok());
    let algorithm = number.and_then(Algorithm::from_number);
    let unknown = || bad(Half::Private, Some(*line), format!("its algorithm is {written:?}: {}", known()));
    let algorithm = algorithm.ok_or_else(unknown)?;
    let part = |wanted: &str| {
        let (line, _, value) = field(wanted).ok_or_else(|| missing(wanted))?;
        rdata::base64(value).ok_or_else(|| bad(Half::Private, Some(*line), format!("{wanted} is no base64")))
    };
    let octets = match algorithm {
        Algorithm::RsaSha256 => {
            let parts = RSA_PARTS.iter().map(|name| part(name)).collect::<Result<Vec<_>, _>>()?;
            pkcs1(&parts)
        }
        Algorithm::EcdsaP256Sha256 | Algorithm::Ed25519 => part("PrivateKey")?,
    };
    SigningKey::from_raw(algorithm, flags, &octets).map_err(|error| {
        let more = match (algorithm, error) {
            (Algorithm::RsaSha256, KeyError::Rejected { .. }) => ", or one of less than 2048 bits",
            _ => "",
        };
        bad(Half::Private, None, format!("{error}{more}"))
    })
}

/// RSAPrivateKey (RFC 8017, A.1.2) of its numbers.
fn pkcs1(numbers: &[Vec<u8>]) -> Vec<u8> {
    let mut inside = vec![2, 1, 0]; // version: two primes
    for number in numbers {
        let significant = number.iter().position(|octet| *octet != 0).map_or(&[0][..], |at| &number[at..]);
        let positive = [&[0][..usize::from(significant[0] >= 0x80)], significant].concat();
        inside.extend(der(2, &positive));
    }
    der(0x30, &inside)
}

/// One element in DER.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[content.len().leading_zeros() as usize / 8..];
    let head = match content.len() {
        0..0x80 => vec![tag, content.len() as u8],
        _ => [&[tag, 0x80 | length.len() as u8], length].concat(),
    };
    [&head, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8080, 6.1.
    const PRIVATE: &str = "Private-key-format: v1.2\nAlgorithm: 15 (ED25519)\n\
                           PrivateKey: ODIyNjAzODQ2MjgwODAxMjI2NDUxOTAyMDQxNDIyNjI=\nCreated: 20260101000000\n";
    const PUBLIC: &str = "; a comment\nexample.com. 3600 IN DNSKEY 257 3 15 (\n  l02Woi0iS8Aa25FQkUd9\n  \
                          RMzZHJpBoRQwAQEX1SxZJA4= ) ; key id\n";

    fn told(given: Given<'_>) -> (Half, Option<usize>, String) {
        let ImportError { half, line, message } = read(&"example.com".parse().unwrap(), given).unwrap_err();
        (half, line, message)
    }

    #[test]
    fn the_key_of_the_rfc() {
        let zone = "Example.COM".parse().unwrap();
        let key = read(&zone, Given { private: PRIVATE, public: Some(PUBLIC), role: None }).unwrap();
        assert_eq!((key.tag(), key.dnskey().rdata()[1]), (3613, 1));
        let zsk = read(&zone, Given { private: PRIVATE, public: None, role: Some(Role::Zsk) }).unwrap();
        assert_eq!(zsk.dnskey().rdata()[..4], [1, 0, 3, 15]);
        let der = key.to_pkcs8().unwrap();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", rdata::to_base64(&der));
        let same = read(&zone, Given { private: &pem, public: Some(PUBLIC), role: Some(Role::Csk) }).unwrap();
        assert_eq!(same.dnskey(), key.dnskey());
    }

    #[test]
    fn each_mistake_is_told_with_its_place_and_without_the_key() {
        let good = Given { private: PRIVATE, public: Some(PUBLIC), role: None };
        let cases = [
            (Given { public: None, ..good }, Half::Role, None, "name its role"),
            (Given { role: Some(Role::Zsk), ..good }, Half::Role, None, "flags are 257"),
            (Given { private: "x", ..good }, Half::Private, None, "no private key"),
            (
                Given { private: "Private-key-format: v1.3\nAlgorithm: 5 (RSASHA1)\n", ..good },
                Half::Private,
                Some(2),
                "5 (RSASHA1)",
            ),
            (
                Given { private: "Private-key-format: v1.3\nAlgorithm: 15\nPrivateKey: !\n", ..good },
                Half::Private,
                Some(3),
                "no base64",
            ),
            (
                Given { private: "Private-key-format: v1.3\nAlgorithm: 15\n", ..good },
                Half::Private,
                None,
                "\"PrivateKey:\"",
            ),
            (
                Given { private: "Private-key-format: v1.3\nAlgorithm: 13\nLabel: x\n", ..good },
                Half::Private,
                Some(3),
                "security module",
            ),
            (Given { private: "-----BEGIN ENCRYPTED PRIVATE KEY-----\n", ..good }, Half::Private, None, "encrypted"),
            (
                Given { private: "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----", ..good },
                Half::Private,
                None,
                "no key that can sign",
            ),
            (
                Given { public: Some("example.org. DNSKEY 257 3 15 AA=="), ..good },
                Half::Public,
                Some(1),
                "\"example.org.\"",
            ),
            (
                Given { public: Some("example.com. DNSKEY 257 3 15 AA=="), ..good },
                Half::Public,
                Some(1),
                "not the public half",
            ),
            (Given { public: Some("example.com. DNSKEY 385 3 15 AA=="), ..good }, Half::Public, Some(1), "385"),
            (
                Given { public: Some("example.com. DNSKEY 257 3 7 AA=="), ..good },
                Half::Public,
                Some(1),
                "algorithm is 7",
            ),
            (Given { public: Some("nothing"), ..good }, Half::Public, None, "no DNSKEY record"),
        ];
        for (given, half, line, part) in cases {
            let (at, on, message) = told(given);
            assert!((at, on) == (half, line) && message.contains(part), "{at:?} {on:?} {message}");
            assert!(!message.contains("ODIy"), "{message}");
        }
    }

    #[test]
    fn numbers_in_der() {
        assert_eq!(der(2, &[1; 3]), [2, 3, 1, 1, 1]);
        assert_eq!(der(4, &[0; 200])[..4], [4, 0x81, 200, 0]);
        assert_eq!(der(4, &[0; 700])[..5], [4, 0x82, 2, 188, 0]);
        assert_eq!(pkcs1(&[vec![0, 0x80], vec![0], vec![5]]), [0x30, 13, 2, 1, 0, 2, 2, 0, 0x80, 2, 1, 0, 2, 1, 5]);
    }
}
