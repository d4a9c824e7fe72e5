//! `waypost dnssec`: the keys of a signed zone, and the operator's part in their life.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::cli::client::{ChangeArgs, Failure, ServerArgs, encoded};
use crate::control::dnssec::{DnssecStatus, KeyStatus};
use crate::diagnostic::{Diagnostic, Place};
use crate::dns::Name;
use crate::zone::signing::import::{self, Given, Half, ImportError};
use crate::zone::signing::rollover::{Entering, Role};

/// Keys of signed zones: what they do, and what their parent needs
///
/// Keys are made, published and replaced by themselves, as the zone's policy says. The parent's DS is yours: hand what `ds`
/// prints to the registrar, and say `confirm-ds` once the parent answers with it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What each key of a zone does, and what waits for you
    Status {
        /// The zone
        #[arg(value_parser = super::name)]
        zone: Name,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// The DS records that the parent shall have, as a registrar takes them
    Ds {
        /// The zone
        #[arg(value_parser = super::name)]
        zone: Name,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Say that the parent answers with the DS that it was asked for
    ConfirmDs {
        #[command(flatten)]
        of: Of,
    },
    /// Replace a key
    Roll {
        /// Which one; all, where none is named
        #[arg(long)]
        role: Option<Word>,
        #[command(flatten)]
        of: Of,
    },
    /// Take in keys that BIND, Knot DNS or ldns made
    ///
    /// All of them, or none. They go into the server's folder of keys, readable to the server only; the files stay as they are.
    Import {
        /// A key of BIND or ldns (its .key, its .private, or both without the ending), or PKCS#8 in PEM, as Knot DNS has it;
        /// where no .key says what it is for, write csk=, ksk= or zsk= before the file
        #[arg(long = "key", required = true, value_name = "[ROLE=]FILE", value_parser = key_file)]
        keys: Vec<KeyFile>,
        /// How they begin
        #[arg(long)]
        state: State,
        #[command(flatten)]
        of: Of,
    },
    /// Ask the parent to have no DS any more (RFC 8078); the zone is unsigned after `confirm-ds`, when caches have followed
    Leave {
        #[command(flatten)]
        of: Of,
    },
}

#[derive(Debug, clap::Args)]
struct Of {
    /// The zone
    #[arg(value_parser = super::name)]
    zone: Name,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Word {
    /// The key that signs everything
    Csk,
    /// The key that signs the keys
    Ksk,
    /// The key that signs the zone's data
    Zsk,
}

impl Word {
    const fn role(self) -> Role {
        match self {
            Self::Csk => Role::Csk,
            Self::Ksk => Role::Ksk,
            Self::Zsk => Role::Zsk,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// In service at once: the zone is signed with them already, elsewhere, and the parent has their DS
    Active,
    /// Published first, in service when caches and the parent know them: they take the place of those before
    Published,
}

/// A key as an argument.
#[derive(Clone, Debug)]
struct KeyFile {
    role: Option<Role>,
    file: PathBuf,
}

fn key_file(text: &str) -> Result<KeyFile, String> {
    let (role, file) = match text.split_once('=').map(|(word, file)| (Word::from_str(word, true), file)) {
        Some((Ok(word), file)) => (Some(word.role()), file),
        _ => (None, text),
    };
    if file.is_empty() {
        return Err(format!("{text:?} names no file"));
    }
    Ok(KeyFile { role, file: file.into() })
}

/// Asks or tells the server.
pub fn run(args: &Args) -> Result<String, Failure> {
    let path = |zone: &Name| format!("/api/v1/zones/{}/dnssec", encoded(&zone.to_string()));
    let change = |of: &Of, what: &str, mut body: Value| {
        if let Some(reason) = &of.change.reason {
            body["reason"] = json!(reason);
        }
        let answer = of.server.client()?.change("POST", &format!("{}/{what}", path(&of.zone)), &body, &of.change)?;
        answer.told(|status: &DnssecStatus| shown(status))
    };
    match &args.command {
        Command::Status { zone, server } => server.client()?.get(&path(zone))?.told(|s: &DnssecStatus| shown(s)),
        Command::Ds { zone, server } => server.client()?.get(&path(zone))?.told(|s: &DnssecStatus| ds(s)),
        Command::ConfirmDs { of } => change(of, "confirm-ds", json!({})),
        Command::Roll { role, of } => {
            change(of, "roll", role.map_or_else(|| json!({}), |word| json!({"role": word.role()})))
        }
        Command::Import { keys, state, of } => {
            let entering = match state {
                State::Active => Entering::Active,
                State::Published => Entering::Published,
            };
            may_carry_keys(&of.server.api)?;
            let keys = keys.iter().map(|key| key.read(&of.zone)).collect::<Result<Vec<_>, _>>()?;
            change(of, "import", json!({"keys": keys, "state": entering}))
        }
        Command::Leave { of } => change(of, "leave", json!({})),
    }
}

/// A private key goes to another machine encrypted, or not at all.
fn may_carry_keys(api: &str) -> Result<(), Failure> {
    let host = api.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or_default());
    let local = host.is_none_or(|host| {
        let host = host
            .parse()
            .map_or_else(|_| host.split(':').next().map(str::to_owned), |at: SocketAddr| Some(at.ip().to_string()));
        host.is_some_and(|h| h == "localhost" || h.parse().is_ok_and(|address: IpAddr| address.is_loopback()))
    });
    if local {
        return Ok(());
    }
    let told = format!(
        "{api} is another machine, and what goes there is not encrypted: run this where the server is, or name an https:// address"
    );
    Err(Failure::Usage(told))
}

impl KeyFile {
    /// The key as the API takes it. It is looked at here, where the files are, so that a mistake names its place.
    fn read(&self, zone: &Name) -> Result<Value, Failure> {
        let ending = self.file.extension().and_then(|ending| ending.to_str());
        let with = |ending: &str| {
            let mut name = self.file.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        };
        let (private, public) = match ending {
            Some("key" | "private") => (self.file.with_extension("private"), self.file.with_extension("key")),
            _ if self.file.exists() => (self.file.clone(), PathBuf::new()),
            _ => (with(".private"), with(".key")),
        };
        let told = |file: &Path, error: &io::Error| Failure::Usage(format!("{}: {error}", file.display()));
        let text = fs::read_to_string(&private).map_err(|error| told(&private, &error))?;
        let public_text = match fs::read_to_string(&public) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(told(&public, &error)),
        };
        let given = Given { private: &text, public: public_text.as_deref(), role: self.role };
        if let Err(ImportError { half, line, message }) = import::read(zone, given) {
            let file = if half == Half::Public { public } else { private };
            let place = line.map(|line| Place { line, column: 1, length: 1, source: String::new() });
            return Err(Failure::Usage(Diagnostic { place, ..Diagnostic::of_file(file, message) }.to_string()));
        }
        Ok(json!({"private": text, "public": public_text, "role": self.role}))
    }
}

fn ds(status: &DnssecStatus) -> String {
    let wanted = status.keys.iter().filter(|key| key.wanted_at_parent).filter_map(|key| key.ds.as_ref());
    wanted.fold(String::new(), |mut text, ds| {
        _ = writeln!(text, "{}. IN DS {ds}", status.zone); // a String takes all
        text
    })
}

fn shown(status: &DnssecStatus) -> String {
    if status.keys.is_empty() && status.leaving.is_none() {
        return format!("{}: no keys yet: they are to be imported\n", status.zone);
    }
    let mut text = format!("{}: next change by itself {}\n", status.zone, status.next);
    for key in &status.keys {
        let role = match key.life.role {
            Role::Csk => "CSK",
            Role::Ksk => "KSK",
            Role::Zsk => "ZSK",
        };
        _ = writeln!(text, "  {role} {:>5}  {}  {}", key.life.tag, key.life.algorithm, does(key));
    }
    if status.leaving.is_some() {
        text += "The zone leaves DNSSEC: have the registrar remove all DS, then say confirm-ds.\n";
    } else if status.waits_for_parent {
        text += "The parent is to have this DS; say confirm-ds once it does:\n";
        text += &ds(status);
    }
    text
}

fn does(key: &KeyStatus) -> String {
    let life = &key.life;
    let since = |what: &str, at| format!("{what} since {at}");
    if let Some(at) = life.withdrawn {
        return since("withdrawn", at);
    }
    match (life.retired, life.at_parent, life.asked, life.signs) {
        (Some(at), ..) => since("replaced", at),
        (_, Some(at), ..) => since("in use, at the parent", at),
        (_, _, Some(at), _) => since("waits for the parent", at),
        (_, _, _, Some(at)) if life.published.is_none() => since("signs, before it is published,", at),
        (_, _, _, Some(at)) => since("signs", at),
        _ => life.published.map_or_else(|| "waits to be published".to_owned(), |at| since("published", at)),
    }
}
