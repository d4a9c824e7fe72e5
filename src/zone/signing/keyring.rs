//! The keys of a zone on disk: `state/keys/ZONE.json`, with the private keys in PKCS#8 and what has become of each.
//!
//! A file is replaced as a whole, and durable before its keys are used. It is made readable to its owner only; one that
//! others can read is refused. Private keys go nowhere else: not to the store, nor to the log.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keys::{Algorithm, ENTRY_POINT, KeyError, SigningKey, ZONE_KEY};
use super::policy::Policy;
use super::rollover::{Duty, Entering, Lives, Role, RollError, Step};
use super::zone::{Keys, ParentWish};
use crate::dns::{Name, Ttl, rdata};
use crate::time::Timestamp;

/// The keys of a zone and their lives.
#[derive(Clone, Debug)]
pub struct Keyring {
    file: PathBuf,
    lives: Lives,
    keys: Vec<Arc<SigningKey>>,
}

/// Why keys can't be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file can't be read or written.
    #[error("the keys in {} can't be {action}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read it.
    #[error("{} can be read by others than its owner (mode {mode:o}): a private key that others know is none; chmod 600", file.display())]
    Readable {
        /// The file.
        file: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Its octets are no keys.
    #[error("{}: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A key can't be made or used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// A key has the tag of one that is there: validators could not tell which one signed, nor could an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key with tag {tag} is there already")]
pub struct Taken {
    /// The tag.
    pub tag: u16,
}

/// What is written.
#[derive(Serialize, Deserialize)]
struct Written {
    zone: Name,
    lives: Lives,
    private: Vec<Private>,
}

#[derive(Serialize, Deserialize)]
struct Private {
    tag: u16,
    algorithm: Algorithm,
    /// In base64.
    pkcs8: String,
}

impl Keyring {
    /// Reads the keys of `zone` in `folder`; none, where there is no file yet.
    ///
    /// # Errors
    /// [`KeyringError`]: above all where others can read it.
    pub fn open(folder: &Path, zone: &Name) -> Result<Self, KeyringError> {
        let file = folder.join(file_name(zone));
        let mut ring = Self { file: file.clone(), lives: Lives::default(), keys: Vec::new() };
        let failed = |source| KeyringError::Io { file: file.clone(), action: "read", source };
        let text = match fs::read_to_string(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(ring),
            read => read.map_err(failed)?,
        };
        let mode = fs::metadata(&file).map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyringError::Readable { file, mode });
        }
        let malformed = |reason: String| KeyringError::Malformed { file: file.clone(), reason };
        // What serde quotes of the text is not told: it may be part of a key.
        let mut written: Written = serde_json::from_str(&text).map_err(|e| {
            malformed(format!("no keys as Waypost writes them, at line {} column {}", e.line(), e.column()))
        })?;
        for private in written.private {
            let life = written.lives.keys.iter_mut().find(|life| life.tag == private.tag);
            let life = life.ok_or_else(|| malformed(format!("of key {} nothing is known", private.tag)))?;
            life.algorithm = private.algorithm;
            let pkcs8 =
                rdata::base64(&private.pkcs8).ok_or_else(|| malformed(format!("key {} is damaged", life.tag)))?;
            let key = SigningKey::from_pkcs8(private.algorithm, flags(life.role), &pkcs8)
                .ok()
                .filter(|key| key.tag() == life.tag)
                .ok_or_else(|| malformed(format!("key {} is damaged", life.tag)))?;
            ring.keys.push(Arc::new(key));
        }
        ring.lives = written.lives;
        if let Some(life) = ring.lives.keys.iter().find(|life| ring.key(life.tag).is_none()) {
            return Err(malformed(format!("the private key {} is missing", life.tag)));
        }
        Ok(ring)
    }

    /// Makes what is known durable.
    fn save(&self, zone: &Name) -> Result<(), KeyringError> {
        let mut private = Vec::new();
        for key in &self.keys {
            private.push(Private {
                tag: key.tag(),
                algorithm: key.algorithm(),
                pkcs8: rdata::to_base64(&key.to_pkcs8()?),
            });
        }
        let written = Written { zone: zone.clone(), lives: self.lives.clone(), private };
        let text = serde_json::to_string_pretty(&written).unwrap_or_default();
        write(&self.file, text.as_bytes()).map_err(|source| KeyringError::Io {
            file: self.file.clone(),
            action: "written",
            source,
        })
    }

    /// Carries out all that is due at `now`, makes new keys where the policy wants them. `data_ttl` is the largest TTL of the
    /// zone. Gives what was done; it is durable then.
    ///
    /// # Errors
    /// [`KeyringError`]; nothing has happened then.
    pub fn advance(
        &mut self,
        zone: &Name,
        policy: &Policy,
        data_ttl: Ttl,
        now: Timestamp,
    ) -> Result<Vec<Step>, KeyringError> {
        let mut next = self.clone();
        let mut done = Vec::new();
        while let Some((at, step)) = next.lives.next(&policy.wanted(), &policy.timing, data_ttl)
            && at <= now
        {
            if let Step::Make(role, algorithm) = step {
                next.add(SigningKey::generate(algorithm, flags(role))?, role, now);
            } else {
                next.lives.take(step, now);
                let left: Vec<u16> = next.lives.keys.iter().map(|life| life.tag).collect();
                next.keys.retain(|key| left.contains(&key.tag()));
            }
            done.push(step);
        }
        if !done.is_empty() {
            next.save(zone)?;
            *self = next;
        }
        Ok(done)
    }

    /// Takes in keys that were made elsewhere: all of them or none; they are durable then.
    ///
    /// # Errors
    /// What [`Lives::take_in`] gives, [`Taken`] where a key tag is there already, or [`KeyringError`].
    pub fn import<E: From<KeyringError> + From<RollError> + From<Taken>>(
        &mut self,
        zone: &Name,
        keys: &[(Arc<SigningKey>, Role)],
        entering: Entering,
        now: Timestamp,
    ) -> Result<(), E> {
        let mut next = self.clone();
        for (key, _) in keys {
            if next.key(key.tag()).is_some() {
                return Err(Taken { tag: key.tag() }.into());
            }
            next.keys.push(key.clone());
        }
        let lives: Vec<_> = keys.iter().map(|(key, role)| (key.tag(), key.algorithm(), *role)).collect();
        next.lives.take_in(&lives, entering, now)?;
        next.save(zone)?;
        *self = next;
        Ok(())
    }

    fn add(&mut self, key: SigningKey, role: Role, now: Timestamp) {
        self.lives.add(key.tag(), key.algorithm(), role, now);
        self.keys.push(Arc::new(key));
    }

    /// Changes the lives by an operator's word, durably.
    ///
    /// # Errors
    /// What `change` gives, or [`KeyringError`].
    pub fn change<E: From<KeyringError>>(
        &mut self,
        zone: &Name,
        change: impl FnOnce(&mut Lives) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut next = self.clone();
        change(&mut next.lives)?;
        next.save(zone)?;
        *self = next;
        Ok(())
    }

    /// When [`Keyring::advance`] has something to do.
    pub fn next(&self, policy: &Policy, data_ttl: Ttl) -> Option<Timestamp> {
        self.lives.next(&policy.wanted(), &policy.timing, data_ttl).map(|(at, _)| at)
    }

    /// What has become of the keys.
    pub fn lives(&self) -> &Lives {
        &self.lives
    }

    /// The key with that tag.
    pub fn key(&self, tag: u16) -> Option<&Arc<SigningKey>> {
        self.keys.iter().find(|key| key.tag() == tag)
    }

    /// The keys as a signer needs them.
    pub fn keys(&self) -> Keys {
        let duties = self.lives.duties();
        let those = |of: fn(&Duty) -> bool| -> Vec<Arc<SigningKey>> {
            duties.iter().filter(|duty| of(duty)).filter_map(|duty| self.key(duty.tag).cloned()).collect()
        };
        let dnskeys = |keys: Vec<Arc<SigningKey>>| keys.iter().map(|key| key.dnskey().clone()).collect::<Vec<_>>();
        let asked = dnskeys(those(|duty| duty.asked));
        let parent = match (self.lives.leaving, asked.is_empty()) {
            (Some(_), _) => ParentWish::Delete,
            (None, true) => ParentWish::Nothing,
            (None, false) => ParentWish::Keys(asked),
        };
        Keys {
            published: dnskeys(those(|duty| duty.published)),
            parent,
            key_signers: those(|duty| duty.signs_keys),
            zone_signers: those(|duty| duty.signs_zone),
        }
    }
}

const fn flags(role: Role) -> u16 {
    if role.is_entry() { ENTRY_POINT } else { ZONE_KEY }
}

/// The zone's name in lower case; what could mean something in a path is written as its number.
fn file_name(zone: &Name) -> String {
    let mut name = String::new();
    for octet in zone.to_lowercase().to_string().bytes() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => name.push(octet.into()),
            b'.' if !zone.is_root() => name.push('.'),
            _ => _ = write!(name, "%{octet:02x}"), // a String takes all
        }
    }
    name + ".json"
}

/// Replaces `file`, durably, readable to its owner only; makes its folder.
fn write(file: &Path, octets: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let new = file.with_extension("json.new");
    _ = fs::remove_file(&new); // what a crash left may have other permissions
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    out.write_all(octets)?;
    out.sync_all()?;
    fs::rename(&new, file)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    #[test]
    fn keys_are_made_once_and_stay_with_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        let zone: Name = "Example.org".parse().unwrap();
        let policy = Policy { split: true, ..Policy::default() };
        let mut ring = Keyring::open(&folder, &zone).unwrap();
        let done = ring.advance(&zone, &policy, Ttl::from_secs(60), NOW).unwrap();
        assert_eq!(done.len(), 3, "two are made, one signs: {done:?}");
        let file = folder.join("example.org.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);

        let again = Keyring::open(&folder, &zone).unwrap();
        assert_eq!(again.lives(), ring.lives());
        assert_eq!(again.keys().published, ring.keys().published);
        assert_eq!((again.keys().key_signers.len(), again.keys().zone_signers.len()), (1, 1));
        assert_eq!(again.keys().parent, ParentWish::Nothing);
        assert!(ring.advance(&zone, &policy, Ttl::from_secs(60), NOW.after(1)).unwrap().is_empty());

        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = Keyring::open(&folder, &zone).unwrap_err();
        assert!(matches!(refused, KeyringError::Readable { mode: 0o640, .. }), "{refused}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "{\"private\": \"secret").unwrap();
        let told = Keyring::open(&folder, &zone).unwrap_err().to_string();
        assert!(!told.contains("secret"), "{told}");
    }

    #[test]
    fn file_names_stay_in_their_folder() {
        let name = |text: &str| file_name(&text.parse().unwrap());
        assert_eq!(name("Example.org"), "example.org.json");
        assert_eq!(name("."), "%2e.json");
        assert_eq!(name("0/25.2.0.192.in-addr.arpa"), "0%2f25.2.0.192.in-addr.arpa.json");
        assert_eq!(name("\\..example"), "%5c..example.json");
    }
}
