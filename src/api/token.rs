//! The bearer token (RFC 6750): made at the first start, kept in a file, compared in constant time.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// Random octets in a token that is made here.
const OCTETS: usize = 32;
/// The fewest characters that a token written by somebody may have.
const MIN_CHARACTERS: usize = 16;

/// The secret that opens the API. Neither its `Debug` nor an error shows it.
#[derive(Clone)]
pub struct Token(Box<str>);

/// A token that can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can't be read.
    #[error("can't read the token file {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file can't be made.
    #[error("can't write the token file {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No random octets.
    #[error("the system gives no random octets for a token: {0}")]
    Random(getrandom::Error),
    /// What the file holds is no token.
    #[error(
        "the token file {} holds no token: one line of at least {MIN_CHARACTERS} printable ASCII characters without \
         blanks is wanted (remove the file to have a new one made)",
        path.display()
    )]
    Malformed {
        /// Which.
        path: PathBuf,
    },
}

impl Token {
    /// Reads the token at `path`; where there is no such file, makes a token of 256 random bits and writes it there, mode
    /// 0600, whole or not at all. A file that others may read is taken, with a warning in the log.
    pub fn load_or_create(path: &Path) -> Result<Self, TokenError> {
        match Self::load(path) {
            Err(TokenError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Ok(token) => {
                warn_if_readable_by_others(path);
                return Ok(token);
            }
            Err(error) => return Err(error),
        }
        let token = Self::random()?;
        write_whole(path, &token).map_err(|source| TokenError::Write { path: path.to_owned(), source })?;
        tracing::info!(file = %path.display(), "wrote a new API token");
        Ok(token)
    }

    /// Reads the token at `path`.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read(path).map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
        String::from_utf8(text)
            .ok()
            .and_then(|text| Self::from_text(&text))
            .ok_or_else(|| TokenError::Malformed { path: path.to_owned() })
    }

    /// The token that `text` is, blanks around it aside; `None` when it is none.
    pub fn from_text(text: &str) -> Option<Self> {
        let text = text.trim();
        let well_formed = text.len() >= MIN_CHARACTERS && text.bytes().all(|b| b.is_ascii_graphic());
        well_formed.then(|| Self(text.into()))
    }

    /// Whether `given` is this token. How long it takes tells nothing but the length.
    pub fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    /// The secret itself, for the header of a request.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A token of 256 random bits.
    ///
    /// # Errors
    /// [`TokenError::Random`].
    pub fn random() -> Result<Self, TokenError> {
        Ok(Self(random_hex().map_err(TokenError::Random)?.into()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// SHA-256 of a token, in hexadecimal digits: what is kept of a token that is not ours to know.
pub fn sha256(token: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token).as_ref())
}

fn random_hex() -> Result<String, getrandom::Error> {
    let mut octets = [0; OCTETS];
    getrandom::fill(&mut octets)?;
    Ok(hex(&octets))
}

fn hex(octets: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(2 * octets.len());
    for octet in octets {
        write!(text, "{octet:02x}").expect("a String takes all that is written");
    }
    text
}

/// A crash leaves the old state or the new one, and nobody else can read the secret at any moment.
fn write_whole(path: &Path, token: &Token) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    // A name that nobody can foresee: `create_new` then never meets what a crash has left behind.
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", &random_hex().map_err(io::Error::from)?[..16]));
    let draft = folder.join(name);
    let written = write_synced(&draft, token).and_then(|()| std::fs::rename(&draft, path));
    if written.is_err() {
        // What failed is told; the draft that is left holds a token that opens nothing.
        let _ = std::fs::remove_file(&draft);
    }
    written?;
    File::open(folder)?.sync_all()
}

fn write_synced(draft: &Path, token: &Token) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    writeln!(file, "{}", token.reveal())?;
    file.sync_all()
}

fn warn_if_readable_by_others(path: &Path) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(),
            mode = format_args!("{mode:04o}"),
            "others may read the API token: chmod 600 it"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_start_makes_a_token_and_the_next_finds_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/admin.token");
        let token = Token::load_or_create(&path).unwrap();
        assert_eq!(token.reveal().len(), 64);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left");
        assert_eq!(Token::load_or_create(&path).unwrap().reveal(), token.reveal());
        assert_eq!(Token::load(&path).unwrap().reveal(), token.reveal());
    }

    #[test]
    fn two_tokens_differ() {
        assert_ne!(Token::random().unwrap().reveal(), Token::random().unwrap().reveal());
    }

    #[test]
    fn only_the_whole_token_opens() {
        let token = Token::from_text("  0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcde", b"0123456789abcdeF", b"0123456789abcdef0"] {
            assert!(!token.is(other));
        }
    }

    #[test]
    fn a_file_without_a_token_is_refused_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.token");
        for text in ["", "\n", "short", "two words, sixteen long", "fünfzehn-sechzehn"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(Token::load_or_create(&path), Err(TokenError::Malformed { .. })), "{text:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn the_digest_is_that_of_sha256sum() {
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn it_does_not_show_itself() {
        let token = Token::from_text("0123456789abcdef").unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
