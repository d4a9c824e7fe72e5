//! `[[webhook]]`: who is told what happens.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hyper::Uri;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::reader::Value;
use super::source::Source;
use super::values::{self, LABEL, label};
use crate::dns::rdata;
use crate::webhook::{Kind, Settings};

/// Fewer octets of a secret are refused: what it signs could be made by guessing (RFC 2104, 3, discourages less).
const SHORT_OCTETS: usize = 16;
/// More octets are no file with a secret.
const MAX_FILE_OCTETS: u64 = 4096;
const SECRET: &str =
    "a secret of at least 16 octets in base64 (with or without \"whsec_\" before it), two while they are exchanged";

/// `[[webhook]]`, in the order of the file.
pub(super) fn webhooks(section: Option<Value>, src: &mut Source) -> Vec<Settings> {
    let mut seen: Vec<(Settings, usize)> = Vec::new();
    for mut table in section.map_or_else(Vec::new, |s| s.tables("[[webhook]]", src)) {
        let [name, url, secret] = ["name", "url", "secret-file"].map(|key| table.require(key, src));
        let [kinds, authorities] = ["events", "ca-file"].map(|key| table.get(key));
        table.finish(src);
        let name = name.and_then(|v| {
            let text = v.parsed(LABEL, src, |text| Some(text.to_owned()).filter(|t| label(t)))?;
            Some((text, v.span))
        });
        let url =
            url.and_then(|v| v.parsed("an address such as \"https://hooks.example.net/waypost\"", src, self::url));
        let secrets = secret.and_then(|v| secrets(&v, src));
        let kinds = kinds.map(|v| self::kinds(&v, src));
        let authorities = authorities.and_then(|v| {
            let file = values::path(&v, "a file", src)?;
            match CertificateDer::pem_file_iter(&file).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
                Ok(certificates) if !certificates.is_empty() => Some((file, certificates)),
                Ok(_) => {
                    src.error(v.span.clone(), format!("{} has no certificate in it", v.written(src)));
                    None
                }
                Err(error) => {
                    src.error(v.span.clone(), format!("{} can't be read: {error}", v.written(src)));
                    None
                }
            }
        });
        let (Some((name, at)), Some(url), Some(secrets)) = (name, url, secrets) else { continue };
        match seen.iter().find(|(other, _)| other.name == name) {
            Some((_, line)) => _ = src.error(at, format!("webhook {name:?} is already written on line {line}")),
            None => seen.push((Settings { name, url, secrets, kinds, authorities }, src.line(at.start))),
        }
    }
    seen.into_iter().map(|(settings, _)| settings).collect()
}

fn url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    (known && url.host().is_some_and(|host| !host.is_empty())).then_some(url)
}

fn kinds(value: &Value, src: &mut Source) -> Vec<Kind> {
    let mut kinds = Vec::new();
    for element in value.list("an array of kinds of events, such as [\"breach\"]", src) {
        match element.text("a kind of event", src).map(str::parse) {
            Some(Ok(kind)) => kinds.push(kind),
            Some(Err(why)) => _ = src.error(element.span.clone(), why),
            None => {}
        }
    }
    kinds
}

/// The secrets of a file, each on a line of its own.
fn secrets(value: &Value, src: &mut Source) -> Option<Vec<Vec<u8>>> {
    let file = values::path(value, "a file", src)?;
    let shown = file.display();
    match read(&file) {
        Err(error) => {
            src.error(value.span.clone(), format!("the secret in \"{shown}\" can't be read: {error}"));
            None
        }
        Ok((text, mode)) => {
            if mode & 0o007 != 0 {
                let message = format!("the secret in \"{shown}\" can be read or written by everybody");
                src.warning(Some(value.span.clone()), message).help("chmod o= takes that away");
            }
            let decode = |line: &str| rdata::base64(line.strip_prefix("whsec_").unwrap_or(line));
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let secrets: Option<Vec<Vec<u8>>> = lines.map(decode).collect();
            let is_good = |secrets: &Vec<Vec<u8>>| {
                !secrets.is_empty() && secrets.iter().all(|secret| secret.len() >= SHORT_OCTETS)
            };
            let secrets = secrets.filter(is_good);
            if secrets.is_none() {
                src.error(value.span.clone(), format!("\"{shown}\" does not hold {SECRET}"));
            }
            secrets
        }
    }
}

fn read(file: &Path) -> std::io::Result<(String, u32)> {
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_OCTETS).read_to_string(&mut text)?;
    Ok((text, fs::metadata(file)?.permissions().mode()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::parse;
    use crate::webhook::Kind;

    #[test]
    fn a_hook_is_read_with_its_secrets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::fs::write(&file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n\nb25lIHNlY3JldCBmb3IgdGVzdHM=\n").unwrap();
        let hook = |more: &str| {
            let text = format!(
                "[[zone]]\nname = \"example.org\"\nfile = \"z\"\n[[webhook]]\nname = \"pager\"\nsecret-file = {file:?}\n{more}\n"
            );
            parse(&text, Path::new("w.toml")).map(|loaded| loaded.settings.webhooks)
        };
        let hooks = hook("url = \"https://h.example/x\"\nevents = [\"breach\"]").unwrap();
        assert_eq!((hooks[0].secrets.len(), hooks[0].kinds.as_deref()), (2, Some(&[Kind::Breach][..])));
        assert!(!format!("{hooks:?}").contains("secrets"));
        for (more, told) in [
            ("url = \"ftp://h.example\"", "must be an address such as"),
            ("url = \"/path\"", "must be an address such as"),
            ("url = \"http://h.example\"\nevents = [\"all\"]", "\"all\" is no kind of event; there are change, "),
            ("url = \"http://h.example\"\nca-file = \"/nowhere\"", "can't be read"),
        ] {
            let found = hook(more).unwrap_err();
            assert!(found.iter().any(|d| d.to_string().contains(told)), "{more}: {found:?}");
        }
        std::fs::write(&file, "dG9vIHNob3J0\n").unwrap();
        let found = hook("url = \"http://h.example\"").unwrap_err();
        assert!(found.iter().any(|d| d.message.contains("does not hold a secret")), "{found:?}");
    }
}
