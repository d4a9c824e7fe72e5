//! `waypost dnssec`: the keys of a signed zone, and the operator's part in their life.

use std::fmt::Write as _;

use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::cli::client::{ChangeArgs, Failure, ServerArgs, encoded};
use crate::control::dnssec::{DnssecStatus, KeyStatus};
use crate::dns::Name;
use crate::zone::signing::rollover::Role;

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

/// Asks or tells the server.
pub fn run(args: &Args) -> Result<String, Failure> {
    let path = |zone: &Name| format!("/api/v1/zones/{}/dnssec", encoded(&zone.to_string()));
    let change = |of: &Of, what: &str, role: Option<Role>| {
        let mut body = json!({});
        if let Some(reason) = &of.change.reason {
            body["reason"] = json!(reason);
        }
        if let Some(role) = role {
            body["role"] = json!(role);
        }
        let answer = of.server.client()?.change("POST", &format!("{}/{what}", path(&of.zone)), &body, &of.change)?;
        answer.told(|status: &DnssecStatus| shown(status))
    };
    match &args.command {
        Command::Status { zone, server } => server.client()?.get(&path(zone))?.told(|s: &DnssecStatus| shown(s)),
        Command::Ds { zone, server } => server.client()?.get(&path(zone))?.told(|s: &DnssecStatus| ds(s)),
        Command::ConfirmDs { of } => change(of, "confirm-ds", None),
        Command::Roll { role, of } => {
            let role = role.map(|word| match word {
                Word::Csk => Role::Csk,
                Word::Ksk => Role::Ksk,
                Word::Zsk => Role::Zsk,
            });
            change(of, "roll", role)
        }
        Command::Leave { of } => change(of, "leave", None),
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
    let mut text = format!("{}: next change by itself {}\n", status.zone, status.next);
    for key in &status.keys {
        let role = match key.life.role {
            Role::Csk => "CSK",
            Role::Ksk => "KSK",
            Role::Zsk => "ZSK",
        };
        _ = writeln!(text, "  {role} {:>5}  {}  {}", key.life.tag, key.algorithm, does(key));
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
    match (life.retired, life.at_parent, life.asked, life.signs) {
        (Some(at), ..) => since("replaced", at),
        (_, Some(at), ..) => since("in use, at the parent", at),
        (_, _, Some(at), _) => since("waits for the parent", at),
        (_, _, _, Some(at)) => since("signs", at),
        _ => since("published", life.published),
    }
}
