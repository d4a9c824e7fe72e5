//! Reads rinetd.conf as the manual of rinetd 0.73 describes it, and tells every mistake in one go.
//!
//! ```text
//! bindaddress bindport[/tcp|/udp] connectaddress connectport[/tcp|/udp] [ [src=ADDRESS, timeout=SECONDS] ]
//! allow PATTERN        deny PATTERN        for all rules when before the first, else for the rule above
//! logfile FILE         logcommon           pidlogfile FILE          # comment
//! ```
//!
//! No I/O but what [`Lookup`] does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::{Access, Pattern};
use super::circle::circles;
use super::mistake::{Mistake, Place};
use super::names::{self, Lookup, NameError};
use super::settings::{Listen, LogFile, LogFormat, Protocol, Rule, Settings, Target};
use super::span::Span;

/// Reads `text`, which came from `file`.
///
/// # Errors
/// All mistakes, in the order of their lines.
pub fn parse(text: &str, file: &Path, lookup: &Lookup<'_>) -> Result<Settings, Vec<Mistake>> {
    let mut reader = Reader::new(text, file, lookup);
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        reader.line(Span::new(start, line.trim_end_matches(['\n', '\r'])));
        start += line.len();
    }
    reader.finish()
}

struct Reader<'a> {
    text: &'a str,
    file: &'a Path,
    lookup: &'a Lookup<'a>,
    settings: Settings,
    /// Whether a rule was seen, also one with mistakes: patterns below it are its own.
    in_rule: bool,
    log_file: Option<PathBuf>,
    log_format: LogFormat,
    /// The line of the rule that listens on an address.
    listens: HashMap<(Protocol, SocketAddr), usize>,
    /// Where each rule's target is written.
    targets: Vec<Span<'a>>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, file: &'a Path, lookup: &'a Lookup<'a>) -> Self {
        Self {
            text,
            file,
            lookup,
            settings: Settings::default(),
            in_rule: false,
            log_file: None,
            log_format: LogFormat::default(),
            listens: HashMap::new(),
            targets: Vec::new(),
            mistakes: Vec::new(),
        }
    }

    fn finish(mut self) -> Result<Settings, Vec<Mistake>> {
        for (at, message) in circles(&self.settings.rules, self.lookup.is_ours) {
            self.mistake(self.targets[at], message);
        }
        self.mistakes.sort_by_key(|mistake| mistake.place.as_ref().map(|place| place.line));
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        if self.settings.rules.is_empty() {
            self.settings.warnings.push(Mistake::of_file(self.file, "there is no rule, so nothing is forwarded"));
        }
        self.settings.log = self.log_file.map(|file| LogFile { file, format: self.log_format });
        Ok(self.settings)
    }

    fn line(&mut self, line: Span<'a>) {
        let mut rest = line.trim();
        let Some(first) = rest.word(&['#']) else { return };
        match first.text {
            "allow" | "deny" => self.pattern(first, rest.before_comment()),
            "logfile" => self.log_file = self.file_name(first, rest),
            "pidlogfile" => self.settings.pid_file = self.file_name(first, rest),
            "logcommon" => {
                self.log_format = LogFormat::Common;
                self.nothing_more(rest.before_comment());
            }
            _ => self.rule(first, rest.before_comment()),
        }
    }

    fn pattern(&mut self, keyword: Span<'a>, mut rest: Span<'a>) {
        let Some(written) = rest.word(&[]) else {
            return self.mistake(keyword, format!("{} needs a pattern, such as 192.0.2.*", keyword.text));
        };
        self.nothing_more(rest);
        match Pattern::parse(written.text) {
            Err(e) => self.mistake(written, format!("{:?} is no pattern: {e}", written.text)),
            Ok(pattern) => {
                // A rule with mistakes has no place of its own; its patterns go where they can do no harm, as the whole
                // file is refused.
                let access = match self.settings.rules.last_mut() {
                    Some(rule) if self.in_rule => &mut rule.access,
                    _ => &mut self.settings.access,
                };
                let Access { allow, deny } = access;
                if keyword.text == "allow" { allow } else { deny }.push(pattern);
            }
        }
    }

    /// A name in double quotes, or all up to the next blank; `#` is a character like any other in it.
    fn file_name(&mut self, keyword: Span<'a>, rest: Span<'a>) -> Option<PathBuf> {
        let mut rest = rest.trim();
        let name = if let Some(quoted) = rest.text.strip_prefix('"') {
            let Some((name, after)) = quoted.split_once('"').filter(|(name, _)| !name.is_empty()) else {
                self.mistake(rest, "a file name in double quotes needs characters and a closing quote".to_owned());
                return None;
            };
            rest = rest.last(after.len());
            name
        } else {
            let Some(word) = rest.word(&[]) else {
                self.mistake(keyword, format!("{} needs a file name", keyword.text));
                return None;
            };
            word.text
        };
        self.nothing_more(rest.before_comment());
        Some(PathBuf::from(name))
    }

    fn rule(&mut self, bind_address: Span<'a>, mut rest: Span<'a>) {
        self.in_rule = true;
        let (Some(bind_port), Some(connect_address), Some(connect_port)) =
            (rest.word(&['[']), rest.word(&[]), rest.word(&['[']))
        else {
            let whole = Span { start: bind_address.start, text: &self.text[bind_address.start..rest.end()] };
            return self.mistake(
                whole.trim(),
                "expected bindaddress bindport connectaddress connectport, or one of allow, deny, logfile, pidlogfile, \
                 logcommon"
                    .to_owned(),
            );
        };
        let listen_host = self.named(bind_address, names::listen_address(bind_address.text, self.lookup));
        let listen_port = self.port(bind_port, 0);
        let host = self.named(connect_address, names::host(connect_address.text));
        let port = self.port(connect_port, 1);
        let options = self.options(rest);

        let (Some(address), Some((protocol, listen_port)), Some(host), Some((target_protocol, port))) =
            (listen_host, listen_port, host, port)
        else {
            return;
        };
        if protocol != target_protocol {
            let message = "a rule forwards TCP to TCP or UDP to UDP".to_owned();
            return self.mistake(connect_port, message);
        }
        let address = SocketAddr::new(address, listen_port);
        let line = Place::of_span(self.text, bind_address.range()).line;
        if let Some(earlier) = self.listens.insert((protocol, address), line).filter(|_| listen_port != 0) {
            return self.mistake(bind_address, format!("the rule of line {earlier} listens on {address} already"));
        }
        let listen = Listen { host: bind_address.text.trim_matches(['[', ']']).to_owned(), address };
        let mut rule = Rule { protocol, source: options.source, ..Rule::new(listen, Target { host, port }) };
        match (protocol, options.timeout) {
            (Protocol::Udp, timeout) => {
                rule.idle_timeout = timeout.map_or(Rule::UDP_TIMEOUT, |(_, timeout)| timeout);
                rule.peek = false;
            }
            (Protocol::Tcp, None) => {}
            (Protocol::Tcp, Some((at, _))) => {
                let doubt = self.at(at, "timeout is for UDP; it changes nothing for a TCP rule".to_owned());
                self.settings.warnings.push(doubt);
            }
        }
        if let Some(mismatch) = rule.source_mismatch() {
            self.mistake(rest.trim(), mismatch);
        }
        self.settings.rules.push(rule);
        self.targets.push(connect_address);
    }

    /// `PORT`, `PORT/tcp` or `PORT/udp`, a port being a number or a service name.
    fn port(&mut self, written: Span<'a>, least: u16) -> Option<(Protocol, u16)> {
        let (name, protocol) = written.text.split_once('/').unwrap_or((written.text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other => {
                self.mistake(written, format!("{other:?} is no protocol: expected tcp or udp"));
                return None;
            }
        };
        let port = self.named(written, names::port(name, protocol, least, self.lookup.services))?;
        Some((protocol, port))
    }

    /// `[src=ADDRESS, timeout=SECONDS]`
    fn options(&mut self, rest: Span<'a>) -> Options<'a> {
        let mut options = Options { source: None, timeout: None };
        let rest = rest.trim();
        if rest.text.is_empty() {
            return options;
        }
        let Some(inner) = rest.text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) else {
            self.mistake(rest, format!("{:?}: expected options in square brackets, or nothing", rest.text));
            return options;
        };
        let mut start = rest.start + 1;
        for piece in inner.split(',') {
            let option = Span::new(start, piece).trim();
            start += piece.len() + 1;
            let (key, value) = option.text.split_once('=').map_or((option.text, ""), |(k, v)| (k.trim(), v.trim()));
            match key {
                "src" => match value.trim_matches(['[', ']']).parse() {
                    Ok(address) => options.source = Some(address),
                    Err(_) => self.mistake(option, format!("src={value}: {value:?} is no address")),
                },
                "timeout" => match value.parse::<u32>() {
                    Ok(seconds) if seconds > 0 => {
                        options.timeout = Some((option, Duration::from_secs(seconds.into())));
                    }
                    _ => self.mistake(option, format!("timeout={value}: {value:?} is no number of seconds")),
                },
                _ => self.mistake(
                    option,
                    format!("{:?} is no option: expected src=ADDRESS or timeout=SECONDS", option.text),
                ),
            }
        }
        options
    }

    fn named<T>(&mut self, written: Span<'a>, read: Result<T, NameError>) -> Option<T> {
        read.map_err(|e| self.mistake(written, e.to_string())).ok()
    }

    fn nothing_more(&mut self, rest: Span<'a>) {
        let rest = rest.trim();
        if !rest.text.is_empty() {
            self.mistake(rest, format!("{:?} is more than belongs on this line", rest.text));
        }
    }

    fn mistake(&mut self, at: Span<'a>, message: String) {
        let mistake = self.at(at, message);
        self.mistakes.push(mistake);
    }

    fn at(&self, at: Span<'a>, message: String) -> Mistake {
        Mistake { file: self.file.to_owned(), place: Some(Place::of_span(self.text, at.range())), message }
    }
}

/// What stands in square brackets after a rule.
struct Options<'a> {
    source: Option<std::net::IpAddr>,
    timeout: Option<(Span<'a>, Duration)>,
}

#[cfg(test)]
mod tests {
    use super::super::names::Services;
    use super::super::settings::Host;
    use super::*;

    fn read(text: &str) -> Result<Settings, Vec<Mistake>> {
        let services = Services::parse("http 80/tcp www\nhttps 443/tcp\ndomain 53/udp\n");
        let resolve = |name: &str| match name {
            "localhost" => Ok("127.0.0.1".parse().unwrap()),
            _ => Err(std::io::Error::other("no such host")),
        };
        let lookup = Lookup { services: &services, resolve: &resolve, is_ours: &|_| false };
        parse(text, Path::new("rinetd.conf"), &lookup)
    }

    fn mistakes(text: &str) -> Vec<(usize, usize, String)> {
        let place = |m: Mistake| m.place.map_or((0, 0, m.message.clone()), |p| (p.line, p.column, m.message));
        read(text).unwrap_err().into_iter().map(place).collect()
    }

    #[test]
    fn the_forms_of_the_manual_are_read() {
        let settings = read(
            "# a comment\r\n\
             allow 192.168.2.*\n\
             deny 192.168.2.1?\n\
             \n\
             0.0.0.0 80/tcp 10.1.1.2 www\n\
             \tlocalhost https   [2001:db8::1] 8443/tcp [ src = 2001:db8::2 , timeout=1200 ] # comment\n\
             allow 10.* # only these\n\
             deny 10.0.0.1\n\
             0 23 new.example.org 23[src=10.1.1.1]\n\
             :: 25 ::1 26#comment\n\
             logfile \"/var/log/my rinetd.log\"\n\
             logcommon\n\
             pidlogfile /run/r#1.pid\n",
        )
        .unwrap();
        let shown: Vec<_> = settings.rules.iter().map(|r| format!("{} {}", r.listen, r.target())).collect();
        assert_eq!(
            shown,
            [
                "0.0.0.0:80 10.1.1.2:80",
                "localhost:443 [2001:db8::1]:8443",
                "0:23 new.example.org:23",
                "[::]:25 [::1]:26"
            ]
        );
        assert_eq!(settings.rules[1].listen.address, "127.0.0.1:443".parse().unwrap());
        assert_eq!(settings.rules[1].source, Some("2001:db8::2".parse().unwrap()));
        assert_eq!(settings.rules[2].source, Some("10.1.1.1".parse().unwrap()));
        assert_eq!(settings.rules[2].target().host, Host::Name("new.example.org".into()));
        assert_eq!((settings.access.allow.len(), settings.access.deny.len()), (1, 1));
        assert_eq!((settings.rules[1].access.allow.len(), settings.rules[1].access.deny.len()), (1, 1));
        assert_eq!(settings.rules[0].access, Access::default());
        let log = settings.log.unwrap();
        assert_eq!((log.file, log.format), ("/var/log/my rinetd.log".into(), LogFormat::Common));
        assert_eq!(settings.pid_file, Some("/run/r#1.pid".into()));
        assert_eq!(settings.warnings.len(), 1, "timeout on a TCP rule");
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let found = mistakes(
            "allow example.org\n\
             0.0.0.0 80000 10.1.1.300 htpp [src=x, tiemout=5]\n\
             0.0.0.0 53/udq 10.1.1.2 53/sctp\n\
             0.0.0.0 80\n\
             \tnowhere 80 10.1.1.2 0\n\
             logfile\n\
             logcommon yes\n\
             pidlogfile \"\n\
             deny 1.2.3.4 5\n\
             0.0.0.0 81 10.1.1.2 81 timeout=5\n",
        );
        let places: Vec<_> = found.iter().map(|(line, column, _)| (*line, *column)).collect();
        let expected = [
            (1, 7),
            (2, 9),
            (2, 15),
            (2, 26),
            (2, 32),
            (2, 39),
            (3, 9),
            (3, 25),
            (4, 1),
            (5, 2),
            (5, 22),
            (6, 1),
            (7, 11),
            (8, 12),
            (9, 14),
            (10, 24),
        ];
        assert_eq!(places, expected, "{found:#?}");
    }

    #[test]
    fn udp_rules_have_their_own_ports_and_timeout() {
        let rules =
            read("0 53/udp 10.0.0.1 domain/udp [timeout=5]\n0 53 10.0.0.1 53/tcp\n0 80/udp ::1 80/udp").unwrap().rules;
        let shown: Vec<_> = rules.iter().map(|r| (r.protocol, r.target().port, r.idle_timeout.as_secs())).collect();
        let tcp = (Protocol::Tcp, 53, Rule::IDLE_TIMEOUT.as_secs());
        assert_eq!(shown, [(Protocol::Udp, 53, 5), tcp, (Protocol::Udp, 80, Rule::UDP_TIMEOUT.as_secs())]);
        assert_eq!(mistakes("0 53/udp 10.0.0.1 53")[0].1, 19);
    }

    #[test]
    fn two_rules_on_one_address_are_a_mistake() {
        let found = mistakes("127.0.0.1 80 10.0.0.1 80\n\nlocalhost www 10.0.0.2 80\n");
        assert_eq!(found, [(3, 1, "the rule of line 1 listens on 127.0.0.1:80 already".to_owned())]);
        assert_eq!(read("127.0.0.1 0 10.0.0.1 80\n127.0.0.1 0 10.0.0.2 80").unwrap().rules.len(), 2);
    }

    #[test]
    fn what_comes_back_to_itself_is_a_mistake() {
        let found = mistakes("0 80 127.0.0.1 81\n127.0.0.1 81 127.0.0.9 80\n0 53/udp ::1 53/udp\n:: 25 ::1 25\n");
        let places: Vec<_> = found.iter().map(|(line, column, _)| (*line, *column)).collect();
        assert_eq!(places, [(1, 6), (2, 14), (4, 7)], "{found:?}");
    }

    #[test]
    fn a_file_without_rules_is_doubted_not_refused() {
        let settings = read("logfile /var/log/rinetd.log").unwrap();
        assert_eq!(settings.warnings.len(), 1);
        assert_eq!(settings.log.unwrap().format, LogFormat::Tabs);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "([ -~\\t\\r\\n]|[äß\u{2028}]){0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn a_rule_is_read_as_it_was_written(
            listen: std::net::IpAddr, target: std::net::IpAddr, ports in (1_u16.., 1_u16..), udp: bool, blanks in "[ \t]{1,3}",
            timeout in proptest::option::of(1_u32..), comment in "( ?#[ -~]{0,20})?",
        ) {
            proptest::prop_assume!(listen != target && !target.is_unspecified());
            let protocol = if udp { "/udp" } else { "" };
            let option = timeout.map(|secs| format!("{blanks}[timeout={secs}]")).unwrap_or_default();
            let words = [listen.to_string(), format!("{}{protocol}", ports.0), target.to_string(), format!("{}{protocol}", ports.1)];
            let settings = read(&format!("{blanks}{}{option}{comment}\n", words.join(&blanks))).unwrap();
            let rule = &settings.rules[0];
            proptest::prop_assert_eq!(rule.listen.address, SocketAddr::new(listen, ports.0));
            proptest::prop_assert_eq!(rule.target(), &Target { host: Host::Address(target), port: ports.1 });
            proptest::prop_assert_eq!(rule.protocol, if udp { Protocol::Udp } else { Protocol::Tcp });
            if let (true, Some(secs)) = (udp, timeout) {
                proptest::prop_assert_eq!(rule.idle_timeout, Duration::from_secs(secs.into()));
            }
        }

        #[test]
        fn no_line_of_likely_words_makes_it_panic(
            words in proptest::collection::vec("(allow|deny|logfile|#|\\[|\\]|\\[src=|,|\"|::1|0|80/udp|\n| )", 0..30)
        ) {
            let _ = read(&words.join(" "));
        }
    }
}
