//! `waypost forwarder`: the forwarders that the server leads.

use std::fmt::Write;

use clap::Subcommand;
use serde::Deserialize;

use crate::cli::client::{ChangeArgs, Client, Failure, ServerArgs, encoded};
use crate::cli::render::{Paint, Table, Tone, printable, when};
use crate::control::forwarders::{Answer, AuditEntry, Change, Condition};
use crate::dns::Name;
use crate::forward::ask::HoldArgs;
use crate::forward::control::HoldRequest;
use crate::pairing::{Class, RuleWish, Rung, TargetWish, Terms};
use crate::time::Timestamp;

/// Lead the forwarders of old sites: what they hold, how they nudge, where they send
///
/// A forwarder connects with `authority` in its settings and the token that `add` prints. It does as it was told last when
/// this server can't be reached, also after a restart of its own; only a hold ends then.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the forwarders and how they do
    List,
    /// Show one: what is wanted, what is in force, its rules
    Show {
        /// The forwarder
        name: String,
    },
    /// Make one known and print its token, this once
    Add {
        /// What it is called: letters a-z, digits, "-", "_", "."
        name: String,
        #[command(flatten)]
        word: Word,
    },
    /// Give one a new token and print it, this once; the old one opens nothing any more
    Token {
        /// The forwarder
        name: String,
        #[command(flatten)]
        word: Word,
    },
    /// Lead one no longer: it goes on as it was told last
    Remove {
        /// The forwarder
        name: String,
        #[command(flatten)]
        word: Word,
    },
    /// Let new connections wait, until the time is over or `release`
    Hold {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        hold: HoldArgs,
        #[command(flatten)]
        word: Word,
    },
    /// Let what is held go on
    Release {
        #[command(flatten)]
        which: Which,
        /// One rule, by name or listen address; else all
        #[arg(long)]
        rule: Option<String>,
        #[command(flatten)]
        word: Word,
    },
    /// Set how firmly stragglers are nudged to leave
    Rung {
        /// The forwarder
        name: String,
        /// One rule, by name or listen address; else all
        #[arg(long)]
        rule: Option<String>,
        /// One class of stragglers: cached, stays or never-asked; else all
        #[arg(long)]
        class: Option<Class>,
        /// The rung
        #[command(subcommand)]
        rung: Rung,
        #[command(flatten)]
        word: Word,
    },
    /// Say where the connections of a rule go, and to which pool and site the rule belongs
    Rule {
        /// The forwarder
        name: String,
        /// The rule, by name or listen address
        rule: String,
        /// HOST:PORT, or HOST:PORT=WEIGHT; may be repeated. Left out: as the forwarder is set
        #[arg(long, value_name = "TARGET", value_parser = target)]
        target: Vec<TargetWish>,
        /// The pool whose stragglers come by it
        #[arg(long, value_parser = crate::cli::name, requires = "site")]
        pool: Option<Name>,
        /// The site that they come to
        #[arg(long, requires = "pool")]
        site: Option<String>,
        /// All as the forwarder is set
        #[arg(long, conflicts_with_all = ["target", "pool", "site"])]
        clear: bool,
        #[command(flatten)]
        word: Word,
    },
    /// List past changes, newest first: who, when, why, what
    Audit {
        /// At most so many, up to 1000
        #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
}

/// Forwarders by name, or all.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The forwarders
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// All that are connected
    #[arg(long)]
    all: bool,
}

/// What goes with a change.
#[derive(Debug, clap::Args)]
struct Word {
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Who, for the audit, instead of the token's name
    #[arg(long, value_name = "NAME", env = "WAYPOST_AUTHOR", hide_env_values = true)]
    author: Option<String>,
    /// Only if this is the revision of the forwarder's state
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
}

impl Word {
    fn how(&self) -> ChangeArgs {
        ChangeArgs { reason: None, author: self.author.clone(), if_generation: self.if_revision }
    }
}

fn target(text: &str) -> Result<TargetWish, String> {
    let Some((target, weight)) = text.split_once('=') else {
        return Ok(TargetWish { target: text.to_owned(), weight: 100 });
    };
    let weight = weight.parse().map_err(|_| format!("{weight:?} is no weight"))?;
    Ok(TargetWish { target: target.to_owned(), weight })
}

/// The server's answer to `list`.
#[derive(Deserialize)]
struct List {
    forwarders: Vec<Condition>,
}

/// The server's answer to `audit`.
#[derive(Deserialize)]
struct Audit {
    entries: Vec<AuditEntry>,
}

/// Does it.
pub fn run(args: &Args) -> Result<String, Failure> {
    let client = args.server.client()?;
    let path = |name: &str, rest: &str| format!("/api/v1/forwarders/{}{rest}", encoded(name));
    match &args.action {
        Action::List => client.get("/api/v1/forwarders")?.told(|list: &List| {
            let (paint, now) = (Paint::for_stdout(), Timestamp::now());
            table(&list.forwarders, now).print("", paint)
        }),
        Action::Show { name } => client.get(&path(name, ""))?.told(|one: &Condition| {
            let mut text = String::new();
            show(&mut text, one, Timestamp::now()).expect("writing to a String does not fail");
            text
        }),
        Action::Add { name, word } => {
            let body = serde_json::json!({ "name": name, "reason": word.reason });
            client.change("POST", "/api/v1/forwarders", &body, &word.how())?.told(token)
        }
        Action::Token { name, word } => {
            client.change("POST", &path(name, "/token"), &reason(word), &word.how())?.told(token)
        }
        Action::Remove { name, word } => {
            let answer = client.change("DELETE", &path(name, ""), &reason(word), &word.how())?;
            answer.told(|done: &Answer| format!("{} is led no longer.\n", done.forwarder))
        }
        Action::Hold { which, hold, word } => {
            let HoldRequest { rule, terms } = hold.request();
            let Terms { secs, most, beyond, rate } = terms;
            let body = serde_json::json!({
                "rule": rule, "secs": secs, "most": most, "beyond": beyond, "rate": rate, "reason": word.reason
            });
            each(&client, which, |name| client.change("PUT", &path(name, "/hold"), &body, &word.how())?.told(done))
        }
        Action::Release { which, rule, word } => {
            let body = serde_json::json!({ "rule": rule, "reason": word.reason });
            each(&client, which, |name| client.change("DELETE", &path(name, "/hold"), &body, &word.how())?.told(done))
        }
        Action::Rung { name, rule, class, rung, word } => {
            let body = serde_json::json!({ "rule": rule, "class": class, "ladder": rung, "reason": word.reason });
            client.change("PUT", &path(name, "/ladder"), &body, &word.how())?.told(done)
        }
        Action::Rule { name, rule, target, pool, site, clear, word } => {
            let path = path(name, &format!("/rules/{}", encoded(rule)));
            if *clear {
                return client.change("DELETE", &path, &reason(word), &word.how())?.told(done);
            }
            let wish =
                RuleWish { targets: target.clone(), pool: pool.as_ref().map(ToString::to_string), site: site.clone() };
            let mut body = serde_json::to_value(wish).expect("a wish has text as keys");
            body["reason"] = serde_json::json!(word.reason);
            client.change("PUT", &path, &body, &word.how())?.told(done)
        }
        Action::Audit { limit } => {
            client.get(&format!("/api/v1/audit/forwarders?limit={limit}"))?.told(|audit: &Audit| {
                if audit.entries.is_empty() {
                    "No changes.\n".to_owned()
                } else {
                    audit.entries.iter().map(entry).collect()
                }
            })
        }
    }
}

fn reason(word: &Word) -> serde_json::Value {
    serde_json::json!({ "reason": word.reason })
}

/// Does it for each, the one refused first ends it: the ones before are told.
fn each(client: &Client, which: &Which, one: impl Fn(&str) -> Result<String, Failure>) -> Result<String, Failure> {
    let names = if which.all {
        let list: List = client.get("/api/v1/forwarders")?.read()?;
        list.forwarders.into_iter().filter(|f| f.connected).map(|f| f.name).collect()
    } else {
        which.names.clone()
    };
    let mut text = String::new();
    for name in &names {
        match one(name) {
            Ok(told) => text += &told,
            Err(failure) => {
                eprint!("{text}");
                return Err(failure);
            }
        }
    }
    Ok(if names.is_empty() { "No forwarder is connected.\n".to_owned() } else { text })
}

fn done(answer: &Answer) -> String {
    let mut text = format!("{}: revision {}\n", answer.forwarder, answer.revision);
    for warning in &answer.warnings {
        let _ = writeln!(text, "  warning: {}", printable(warning));
    }
    text
}

fn token(answer: &Answer) -> String {
    format!(
        "{}\n\nThe token of {}, told this once. Put it into a file on that host (mode 0600) and name it in its settings:\n  \
         [authority]\n  url = \"https://...\"\n  name = \"{}\"\n  token-file = \"...\"\n",
        answer.token.as_deref().unwrap_or_default(),
        answer.forwarder,
        answer.forwarder,
    )
}

fn table(forwarders: &[Condition], now: Timestamp) -> Table {
    let mut table = Table::new(&["forwarder", "", "wanted", "applied", "held", "open", "last seen"]);
    for one in forwarders {
        let (state, tone) = match (one.connected, one.has_token) {
            (true, _) => ("connected", Tone::Plain),
            (false, true) => ("away", Tone::Bad),
            (false, false) => ("no token", Tone::Warning),
        };
        let behind = one.applied != Some(one.wanted.revision) || !one.problems.is_empty();
        let applied = one.applied.map_or_else(|| "-".to_owned(), |revision| revision.to_string());
        let waiting: u32 = one.rules.iter().map(|rule| rule.waiting).sum();
        let open: u64 = one.rules.iter().map(|rule| rule.open).sum();
        table.row([
            (one.name.clone(), Tone::Strong),
            (state.to_owned(), tone),
            (one.wanted.revision.to_string(), Tone::Plain),
            (applied, if behind { Tone::Warning } else { Tone::Plain }),
            (if one.holds.is_empty() { "-".to_owned() } else { format!("{waiting} wait") }, Tone::Plain),
            (open.to_string(), Tone::Plain),
            (one.last_seen.map_or_else(|| "-".to_owned(), |at| when(at, now)), Tone::Plain),
        ]);
    }
    table
}

fn show(text: &mut String, one: &Condition, now: Timestamp) -> std::fmt::Result {
    let paint = Paint::for_stdout();
    write!(text, "{}", table(std::slice::from_ref(one), now).print("", paint))?;
    for problem in &one.problems {
        writeln!(text, "  can't be done: {}", printable(problem))?;
    }
    for hold in &one.holds {
        writeln!(text, "  hold of {}: {} s at most", hold.rule.as_deref().unwrap_or("all rules"), hold.terms.secs)?;
    }
    for set in &one.wanted.ladder {
        let rule = set.rule.as_deref().unwrap_or("all rules");
        let class = set.class.map_or_else(String::new, |class| format!(", {class}"));
        writeln!(text, "  ladder of {}{class}: {}", printable(rule), rung(set.ladder))?;
    }
    for (rule, wish) in &one.wanted.rules {
        let targets: Vec<_> = wish.targets.iter().map(|t| format!("{} ({})", t.target, t.weight)).collect();
        let targets = if targets.is_empty() { "as it is set".to_owned() } else { targets.join(", ") };
        let belongs = match (&wish.pool, &wish.site) {
            (Some(pool), Some(site)) => format!(", stragglers of {pool} at {site}"),
            _ => String::new(),
        };
        writeln!(text, "  {}: to {targets}{belongs}", printable(rule))?;
    }
    for rule in &one.rules {
        writeln!(
            text,
            "  rule {} ({}): {} open, {} wait, {} gave up, to {}",
            printable(&rule.rule),
            printable(&rule.listen),
            rule.open,
            rule.waiting,
            rule.gave_up,
            printable(&rule.targets.join(", "))
        )?;
    }
    Ok(())
}

fn rung(rung: Rung) -> String {
    match rung {
        Rung::Forward => "forward".to_owned(),
        Rung::CloseIdle { age_secs } => format!("close idle connections older than {age_secs} s"),
        Rung::CapLife { age_secs } => format!("close connections older than {age_secs} s"),
        Rung::RefusePart { percent, for_secs } => format!("refuse {percent} % for {for_secs} s"),
        Rung::Refuse => "refuse".to_owned(),
    }
}

fn entry(entry: &AuditEntry) -> String {
    let of = |rule: &Option<String>| rule.as_ref().map_or_else(String::new, |rule| format!(" of {}", printable(rule)));
    let what = match &entry.change {
        Change::Add => "added".to_owned(),
        Change::Token => "new token".to_owned(),
        Change::Remove => "removed".to_owned(),
        Change::Hold { rule, terms } => format!("hold{}, {} s at most", of(rule), terms.secs),
        Change::Release { rule } => format!("release{}", of(rule)),
        Change::Ladder { rule, class, ladder } => {
            format!("ladder{}{}: {}", of(rule), class.map_or_else(String::new, |c| format!(", {c}")), rung(*ladder))
        }
        Change::Rule { rule, wish: Some(wish) } => {
            let targets: Vec<_> = wish.targets.iter().map(|t| t.target.as_str()).collect();
            format!("rule {}: to {}", printable(rule), printable(&targets.join(", ")))
        }
        Change::Rule { rule, wish: None } => format!("rule {}: as it is set", printable(rule)),
    };
    let (name, author) = (&entry.forwarder, printable(&entry.author));
    let mut text = format!("{}  {name} revision {}  {author}: {what}\n", entry.at, entry.revision);
    if let Some(reason) = &entry.reason {
        let _ = writeln!(text, "    \"{}\"", printable(reason));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_and_an_entry_read_well() {
        let one: Condition = serde_json::from_value(serde_json::json!({
            "name": "old-web-1", "connected": true, "last_seen": "2027-01-15T08:00:00Z", "version": "0.1.0",
            "wanted": {"lineage": 1, "revision": 7, "rules": {}, "ladder": [
                {"set": 7, "class": "stays", "ladder": {"rung": "close-idle", "age_secs": 600}}]},
            "applied": 6, "problems": ["\u{1b}no rule web"], "holds": [], "rules": [], "belongs": [], "has_token": true,
        }))
        .unwrap();
        let now = Timestamp(1_800_000_005);
        let expected = "\
forwarder             wanted  applied  held  open  last seen
old-web-1  connected  7       6        -     0     2027-01-15T08:00:00Z (5s ago)
";
        assert_eq!(table(std::slice::from_ref(&one), now).print("", Paint(false)), expected);
        let mut text = String::new();
        show(&mut text, &one, now).unwrap();
        assert!(text.contains("ladder of all rules, stays: close idle connections older than 600 s"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
        let change = Change::Hold { rule: Some("web".to_owned()), terms: Terms::default() };
        let audit = AuditEntry {
            forwarder: "old-web-1".to_owned(),
            revision: 8,
            at: Timestamp(1_800_000_000),
            author: "anna".to_owned(),
            reason: Some("database".to_owned()),
            change,
        };
        let told = "2027-01-15T08:00:00Z  old-web-1 revision 8  anna: hold of web, 10 s at most\n    \"database\"\n";
        assert_eq!(entry(&audit), told);
    }
}
