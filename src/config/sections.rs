//! The sections of the file, but for probes and pools.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::available_parallelism;

use tracing_subscriber::EnvFilter;

use super::keys::{self, Keys};
use super::primaries;
use super::reader::Value;
use super::signing::{self, Policies};
use super::source::Source;
use super::updates;
use super::values::{self, LABEL, label};
use super::{LogFormat, LogSettings};
use crate::dns::Name;
use crate::query::MOST_NSID_OCTETS;
use crate::query::cookies::Secret;
use crate::steering::pool::{Site, SiteState};
use crate::zone::access::{Rule, Who};
use crate::zone::notify::Target;
use crate::zone::signing::nsec::Denial;
use crate::zone::{AccessList, serial};
use crate::{api, server, zone};

const ADDRESSES: &str = "an array of addresses, such as [\"127.0.0.1:5300\", \"[::1]:5300\"]";

/// `[server]`: sockets, name, secrets of cookies, folder of the store.
pub(super) fn server(section: Option<Value>, src: &mut Source) -> (server::Settings, String, Vec<Secret>, PathBuf) {
    let table = section.and_then(|s| s.table("[server]", src));
    let [name, listen, workers, cookie_secrets, state, tls] = table.map_or([const { None }; 6], |mut table| {
        let written = ["name", "listen", "workers", "cookie-secrets", "state", "tls"].map(|key| table.get(key));
        table.finish(src);
        written
    });
    // All addresses, on the port of DNS: what a name server is for, and what NSD and Knot do unless told otherwise.
    let everywhere = || vec![(Ipv4Addr::UNSPECIFIED, 53).into(), (Ipv6Addr::UNSPECIFIED, 53).into()];
    let (listen, interfaces) = listen.map_or_else(|| (everywhere(), Vec::new()), |v| listen_on(&v, src));
    let workers = match workers.and_then(|v| v.integer("a whole number", 0..=1024, src)).unwrap_or(0) {
        0 => available_parallelism().map_or(1, usize::from),
        n => n as usize,
    };
    let printable = |text: &&str| (1..=255).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
    let name = match name {
        Some(v) => {
            let what = "1 to 255 printable ASCII characters without spaces";
            let name = v.parsed(what, src, |text| Some(text).filter(printable)).unwrap_or_default();
            if name.len() > MOST_NSID_OCTETS {
                let message = format!("a name of more than {MOST_NSID_OCTETS} characters is not sent as NSID");
                src.warning(Some(v.span.clone()), message);
            }
            name.to_owned()
        }
        None => host_name().filter(|n| printable(&n.as_str())).unwrap_or_else(|| "waypost".to_owned()),
    };
    let state = state.map_or_else(|| Some("state".into()), |v| values::path(&v, "a folder", src)).unwrap_or_default();
    let secrets = cookie_secrets.map_or_else(Vec::new, |v| secrets(&v, src));
    let encrypted = tls.and_then(|v| encrypted(&v, src));
    (server::Settings { listen, interfaces, workers, encrypted }, name, secrets, state)
}

/// `tls` of `[server]`: TLS, QUIC and HTTPS share one certificate.
fn encrypted(section: &Value, src: &mut Source) -> Option<server::encrypted::Settings> {
    let mut table = section.table("tls", src)?;
    let certificate = table.require("certificate", src).and_then(|v| values::path(&v, "a file", src));
    let key = table.require("key", src).and_then(|v| values::path(&v, "a file", src));
    let [tls, quic, https] = ["listen", "quic", "https"].map(|key| table.get(key));
    if tls.is_none() && quic.is_none() && https.is_none() {
        let message = "nothing listens with this certificate".to_owned();
        src.error(table.span(), message).help("say where: listen (TLS), quic or https, such as [\"127.0.0.1:853\"]");
    }
    table.finish(src);
    let [tls, quic, https] =
        [tls, quic, https].map(|v| v.map_or_else(Vec::new, |v| listeners(v.list(ADDRESSES, src), src)));
    Some(server::encrypted::Settings { certificate: certificate?, key: key?, tls, quic, https })
}

/// One secret for server cookies, or two.
fn secrets(value: &Value, src: &mut Source) -> Vec<Secret> {
    const WHAT: &str = "an array of one or two secrets of 32 hexadecimal digits";
    let elements = value.list(WHAT, src);
    if elements.len() > 2 {
        src.error(elements[2].span.clone(), "two secrets for cookies are in use at most: this is one too many");
    }
    let mut secrets = Vec::new();
    for element in elements {
        // A secret is not quoted, not even a wrong one.
        match element.text(WHAT, src).map(Secret::parse) {
            Some(Some(secret)) => secrets.push(secret),
            Some(None) => src.error(element.span, "a secret for cookies has 32 hexadecimal digits").secret(),
            None => {}
        }
    }
    secrets
}

/// `listen` of `[server]`: addresses, and interfaces at which queries for them are taken.
fn listen_on(value: &Value, src: &mut Source) -> (Vec<SocketAddr>, Vec<String>) {
    let elements = value.list(ADDRESSES, src);
    let interface = |v: &Value| v.as_text().and_then(|text| text.strip_prefix("xdp:")).map(str::to_owned);
    let (at, addresses): (Vec<_>, Vec<_>) = elements.into_iter().partition(|v| interface(v).is_some());
    let addresses = listeners(addresses, src);
    let mut interfaces = Vec::new();
    for element in at {
        let Some(name) = interface(&element).filter(|name| is_interface(name)) else {
            src.error(element.span, "behind \"xdp:\" stands the name of a network interface, such as \"xdp:eth0\"");
            continue;
        };
        if interfaces.contains(&name) {
            src.error(element.span.clone(), format!("the interface \"{name}\" is written twice"));
        }
        if !addresses.iter().any(|a| !a.ip().is_unspecified()) {
            src.error(element.span, format!("\"xdp:{name}\" has no addresses to take queries for"))
                .help("list them beside it: [\"192.0.2.1:53\", \"xdp:eth0\"]; a wildcard address does not tell whose they are");
        }
        interfaces.push(name);
    }
    (addresses, interfaces)
}

/// What Linux takes as the name of a network interface.
fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | ':'))
}

fn listeners(elements: Vec<Value>, src: &mut Source) -> Vec<SocketAddr> {
    let mut listen = Vec::new();
    for element in elements {
        let Some(address) = values::socket_address(&element, src) else { continue };
        if address.port() != 0 && listen.contains(&address) {
            src.error(element.span, format!("the address \"{address}\" is written twice"));
        }
        listen.push(address);
    }
    listen
}

/// The name that the kernel gives this machine.
fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim_end().to_owned())
}

/// `[api]`: where it listens; its token lies beside the store.
pub(super) fn api(section: Option<Value>, state: &Path, src: &mut Source) -> api::Settings {
    let table = section.and_then(|s| s.table("[api]", src));
    let [listen, tls] = table.map_or([const { None }; 2], |mut table| {
        let written = ["listen", "tls"].map(|key| table.get(key));
        table.finish(src);
        written
    });
    // Loopback: without a certificate the API speaks plain HTTP, whoever wants it from elsewhere puts it there knowingly.
    let loopback = || (Ipv4Addr::LOCALHOST, 5380).into();
    let listen = listen.and_then(|v| values::socket_address(&v, src)).unwrap_or_else(loopback);
    let tls = tls.and_then(|section| {
        let mut table = section.table("tls", src)?;
        let [certificate, key] = ["certificate", "key"].map(|key| table.require(key, src));
        table.finish(src);
        let [certificate, key] = [certificate, key].map(|v| v.and_then(|v| values::path(&v, "a file", src)));
        Some(api::Tls { certificate: certificate?, key: key? })
    });
    api::Settings { listen, token_file: state.join("admin.token"), tls }
}

/// `[overrides]`: the file that says what is up and down when the API can't.
pub(super) fn overrides(section: Option<Value>, src: &mut Source) -> Option<PathBuf> {
    let mut table = section?.table("[overrides]", src)?;
    let file = table.require("file", src);
    table.finish(src);
    values::path(&file?, "a file", src)
}

/// `[log]`.
pub(super) fn log(section: Option<Value>, src: &mut Source) -> LogSettings {
    let table = section.and_then(|s| s.table("[log]", src));
    let [format, level] = table.map_or([const { None }; 2], |mut table| {
        let written = ["format", "level"].map(|key| table.get(key));
        table.finish(src);
        written
    });
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = format.and_then(|v| v.one_of(&formats, src)).unwrap_or_default();
    let what = "a level (off, error, warn, info, debug, trace) or a filter such as \"info,waypost::probe=debug\"";
    let level = level.and_then(|v| v.parsed(what, src, |text| Some(text).filter(|t| is_filter(t)))).unwrap_or("info");
    LogSettings { format, level: level.to_owned() }
}

/// Whether `tracing` reads it as a filter, and no part of it is a misspelt level, which would read as the name of a
/// module and silence everything else.
fn is_filter(text: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let known = |part: &str| part.contains('=') || levels.contains(&part.trim().to_ascii_lowercase().as_str());
    text.split(',').all(known) && EnvFilter::try_new(text).is_ok()
}

/// `[[zone]]` as read.
pub(super) struct Zones {
    /// Each with the place of its file's name.
    pub(super) served: Vec<(zone::Settings, Range<usize>)>,
    /// The line of each name.
    lines: HashMap<Name, usize>,
    /// Whether every one could be read, so that what is missing is missing.
    pub(super) complete: bool,
}

impl Zones {
    /// Whether this is the apex of a zone.
    pub(super) fn has_apex(&self, name: &Name) -> bool {
        self.lines.contains_key(name)
    }

    /// Whether this is at or below the apex of a zone.
    pub(super) fn cover(&self, name: &Name) -> bool {
        std::iter::successors(Some(name.clone()), Name::parent).any(|n| self.has_apex(&n))
    }
}

/// `[[zone]]`, of a server that `gives_encrypted` or not.
pub(super) fn zones(
    section: Option<Value>,
    known: &Keys,
    policies: &Policies,
    gives_encrypted: bool,
    src: &mut Source,
) -> Zones {
    let mut zones = Zones { served: Vec::new(), lines: HashMap::new(), complete: true };
    let Some(section) = section else {
        src.warning(None, "there is no [[zone]], so every query is refused");
        return zones;
    };
    let tables = section.tables("[[zone]]", src);
    zones.complete = !tables.is_empty();
    let mut clients = primaries::Clients::default();
    for mut table in tables {
        let name = table.require("name", src);
        let [primaries, allow_notify] = ["primary", "allow-notify"].map(|key| table.get(key));
        let catalog = table.get("catalog");
        let is_catalog = catalog.as_ref().and_then(|v| v.flag(src)).unwrap_or_default();
        let has_no_file = primaries.is_some() || is_catalog;
        let file = if has_no_file { table.get("file") } else { table.require("file", src) };
        let watch = table.get("watch");
        let transfer_tls = table.get("transfer-tls");
        let keys = ["serial", "allow-query", "allow-transfer", "notify", "allow-update", "update-policy", "dnssec"];
        let [serial, allow_query, allow_transfer, notify, allow_update, update_policy, dnssec] =
            keys.map(|key| table.get(key));
        table.finish(src);
        let serials = [
            ("increase", serial::Policy::Increase),
            ("unixtime", serial::Policy::UnixTime),
            ("dateserial", serial::Policy::DateSerial),
        ];
        // By one: it is newer than any that the file had, and leaves the way on to all of them.
        let serial = serial.and_then(|v| v.one_of(&serials, src)).unwrap_or_default();
        let name = name.and_then(|v| Some((values::name(&v, src)?, v.span)));
        let allow_query = allow_query.map(|v| keys::addresses(&v, src));
        let transfer_at = allow_transfer.as_ref().map(|v| v.span.clone());
        let allow_transfer = allow_transfer.map(|v| keys::access(&v, known, src)).unwrap_or_default();
        let transfer_tls = transfer_tls.is_some_and(|v| {
            let wanted = v.flag(src).unwrap_or_default();
            if wanted && !gives_encrypted {
                src.warning(
                    Some(v.span),
                    "\"transfer-tls\" lets nobody have the zone: the server listens for neither TLS nor QUIC",
                )
                .help("say where in [server]: tls = { certificate, key, listen = [\"127.0.0.1:853\"] }");
            }
            wanted
        });
        let notify = notify.map(|v| keys::targets(&v, known, src)).unwrap_or_default();
        // What a catalog says is for its secondaries (RFC 9432, 7).
        let of_secondaries = || {
            let rule = |to: &Target| Rule { deny: false, who: Who::Net(to.address.ip().into()) };
            AccessList(notify.iter().map(rule).collect())
        };
        let allow_query = allow_query.or_else(|| is_catalog.then(of_secondaries));
        for (given, what) in [
            (&file, "file"),
            (&primaries, "primary"),
            (&watch, "watch"),
            (&allow_update, "allow-update"),
            (&update_policy, "update-policy"),
            (&dnssec, "dnssec"),
        ] {
            if let Some(given) = given.as_ref().filter(|_| is_catalog) {
                let message = format!("a catalog is made by the server: \"{what}\" is not for it");
                src.error(given.span.clone(), message);
            }
        }
        if let (Some(given), Some(_)) = (&watch, &primaries) {
            let message = "a zone with a \"primary\" has no file to be watched";
            src.error(given.span.clone(), message).help("its primary tells of changes");
        }
        let watch = watch.and_then(|v| v.flag(src)).unwrap_or_default();
        if let (Some(given), Some(_)) = (&dnssec, &primaries) {
            let message = "a zone with a \"primary\" has the signatures that it has there";
            src.error(given.span.clone(), message).help("sign it at the primary");
        }
        let dnssec = dnssec.and_then(|v| signing::of_zone(&v, policies, src));
        if let Some(at) = transfer_at.filter(|_| dnssec.as_ref().is_some_and(|p| p.denial == Denial::Compact)) {
            let message = "the zone's policy says denial = \"compact\": a secondary can't sign answers, so it could prove nothing";
            src.error(at, message).help("take nsec or nsec3 for zones that are transferred");
        }
        if let (Some(primaries), Some(file)) = (&primaries, &file) {
            let message = "a zone has a \"file\" or a \"primary\", not both".to_owned();
            let line = src.line(primaries.span.start);
            let help = format!("what is transferred is kept in the store; the primary is written on line {line}");
            src.error(file.span.clone(), message).help(help);
        }
        if let Some(given) = allow_notify.as_ref().filter(|_| primaries.is_none()) {
            src.error(
                given.span.clone(),
                "\"allow-notify\" is for a zone with a \"primary\": this one is read from its file",
            );
        }
        for given in [&allow_update, &update_policy].into_iter().flatten().filter(|_| primaries.is_some()) {
            let message = "a zone with a \"primary\" is changed there, not here".to_owned();
            src.error(given.span.clone(), message).help("send UPDATE to the primary");
        }
        let allow_notify = allow_notify.map(|v| keys::access(&v, known, src)).unwrap_or_default();
        let is_secondary = primaries.is_some();
        let primaries = primaries.map_or_else(Vec::new, |v| primaries::primaries(&v, known, &mut clients, src));
        let file = file.and_then(|v| Some((values::path(&v, "a file", src)?, v.span)));
        let allow_update = allow_update.map(|v| updates::allow_update(&v, known, src)).unwrap_or_default();
        let (update_policy, pool_policy) =
            update_policy.map(|v| updates::update_policy(&v, known, src)).unwrap_or_default();
        let Some((name, at)) = name else {
            zones.complete = false;
            continue;
        };
        if let Some(line) = zones.lines.get(&name) {
            src.error(at, format!("zone \"{name}\" is already written on line {line}"));
            continue;
        }
        zones.lines.insert(name.clone(), src.line(at.start));
        let (file, at) = match file {
            _ if is_catalog => (PathBuf::from(format!("catalog {name}")), at),
            file => file.unwrap_or((PathBuf::new(), at)), // told; the name still counts as served
        };
        let settings = zone::Settings {
            name,
            file: (!is_secondary).then_some(file),
            catalog: is_catalog.then(Arc::default),
            watch,
            primaries,
            allow_notify,
            serial,
            allow_query,
            allow_transfer,
            transfer_tls,
            notify,
            allow_update,
            update_policy,
            pool_policy,
            dnssec,
        };
        zones.served.push((settings, at));
    }
    zones
}

/// `[[site]]`: all of them, also those whose name is not well formed, so that pools which use them aren't told of it too.
pub(super) fn sites(section: Option<Value>, src: &mut Source) -> Vec<Site> {
    let mut seen: Vec<(Site, usize)> = Vec::new();
    for mut table in section.map_or_else(Vec::new, |s| s.tables("[[site]]", src)) {
        let (name, state) = (table.require("name", src), table.get("state"));
        table.finish(src);
        let states = [("active", SiteState::Active), ("drained", SiteState::Drained), ("retired", SiteState::Retired)];
        let state = state.and_then(|v| v.one_of(&states, src)).unwrap_or_default();
        let Some(name) = name else { continue };
        let Some(text) = name.text(LABEL, src) else { continue };
        if !label(text) {
            name.must_be(LABEL, src);
        }
        match seen.iter().find(|(site, _)| site.name == text) {
            Some((_, line)) => {
                let message = format!("site {text:?} is already written on line {line}");
                src.error(name.span, message);
            }
            None => seen.push((Site { name: text.to_owned(), state }, src.line(name.span.start))),
        }
    }
    seen.into_iter().map(|(site, _)| site).collect()
}
