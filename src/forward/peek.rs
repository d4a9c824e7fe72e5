//! The host that a client wants, read from its first octets: TLS server name (RFC 6066, 3) or HTTP Host (RFC 9110, 7.2).
//! Pure, and nothing is changed or decrypted.

/// What the first octets of a connection say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peeked {
    /// This host is wanted: in lower case, without port or final period.
    Host(String),
    /// They are of no known kind, or name no host.
    Nothing,
    /// More octets are needed to tell.
    Incomplete,
}

/// Octets that are looked at: a ClientHello with keys of post-quantum size and a request with large cookies fit in.
pub const MOST: usize = 8 * 1024;

/// Looks at the first octets of a connection.
pub fn peek(octets: &[u8]) -> Peeked {
    match octets {
        [] => Peeked::Incomplete,
        [0x16, ..] => settle(client_hello(octets)),
        _ => http(octets),
    }
}

/// Why there is no host.
enum Stop {
    Incomplete,
    Nothing,
}

fn settle(host: Result<&[u8], Stop>) -> Peeked {
    match host {
        Ok(octets) => host_name(octets).map_or(Peeked::Nothing, Peeked::Host),
        Err(Stop::Incomplete) => Peeked::Incomplete,
        Err(Stop::Nothing) => Peeked::Nothing,
    }
}

/// A host as it is kept: of likely characters only, as it goes into logs and pages.
fn host_name(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?.trim();
    let host = match text.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => text.split(':').next()?,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (!host.is_empty() && host.len() <= 255 && host.bytes().all(fits)).then(|| host.to_ascii_lowercase())
}

/// Octets that are taken off from the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Stop> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Stop::Incomplete)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A big-endian number of `octets` octets.
    fn number(&mut self, octets: usize) -> Result<usize, Stop> {
        Ok(self.take(octets)?.iter().fold(0, |number, &octet| number << 8 | usize::from(octet)))
    }

    /// What follows a length of `octets` octets.
    fn block(&mut self, octets: usize) -> Result<&'a [u8], Stop> {
        let length = self.number(octets)?;
        self.take(length)
    }
}

/// The server name of a ClientHello (RFC 8446, 4.1.2) that lies in the first record.
fn client_hello(octets: &[u8]) -> Result<&[u8], Stop> {
    let mut stream = Reader(octets);
    let header = stream.take(5)?;
    let length = usize::from(header[3]) << 8 | usize::from(header[4]);
    if header[1] != 3 || length < 4 {
        return Err(Stop::Nothing);
    }
    // What the record still lacks may hold the name; what it has may do already.
    let whole = stream.0.len() >= length;
    let record = &stream.0[..length.min(stream.0.len())];
    match server_name(record) {
        Err(Stop::Incomplete) if whole => Err(Stop::Nothing),
        name => name,
    }
}

fn server_name(record: &[u8]) -> Result<&[u8], Stop> {
    const CLIENT_HELLO: usize = 1;
    const SERVER_NAME: usize = 0;
    const HOST_NAME: usize = 0;
    let mut hello = Reader(record);
    if hello.number(1)? != CLIENT_HELLO {
        return Err(Stop::Nothing);
    }
    hello.take(3 + 2 + 32)?; // length, version, random
    hello.block(1)?; // session
    hello.block(2)?; // cipher suites
    hello.block(1)?; // compression
    let mut left = hello.number(2)?;
    while left >= 4 {
        let kind = hello.number(2)?;
        let content = hello.block(2)?;
        left = left.saturating_sub(4 + content.len());
        if kind == SERVER_NAME {
            let mut names = Reader(Reader(content).block(2).map_err(|_| Stop::Nothing)?);
            return match names.number(1) {
                Ok(HOST_NAME) => names.block(2).map_err(|_| Stop::Nothing),
                _ => Err(Stop::Nothing),
            };
        }
    }
    Err(Stop::Nothing)
}

fn http(octets: &[u8]) -> Peeked {
    // A method is a short word in capitals; where the first octets are none, this is no HTTP.
    let method = octets.iter().take_while(|b| b.is_ascii_uppercase() || **b == b'-').count();
    if method > 20 || octets.get(method).is_some_and(|&b| b != b' ' || method == 0) {
        return Peeked::Nothing;
    }
    let mut rest = octets;
    let mut first = true;
    while let Some(end) = rest.iter().position(|&b| b == b'\n') {
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        if line.is_empty() {
            return Peeked::Nothing;
        }
        if first {
            if !line.windows(6).any(|w| w == b" HTTP/") {
                return Peeked::Nothing;
            }
            first = false;
        } else if line.len() > 5 && line[..5].eq_ignore_ascii_case(b"host:") {
            return settle(Ok(&line[5..]));
        }
    }
    Peeked::Incomplete
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with the extensions given, in one record.
    fn hello(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut all = Vec::new();
        for (kind, content) in extensions {
            all.extend(kind.to_be_bytes());
            all.extend((content.len() as u16).to_be_bytes());
            all.extend(content);
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([1, 9, 0, 2, 0x13, 1, 1, 0]);
        body.extend((all.len() as u16).to_be_bytes());
        body.extend(all);
        let mut record = vec![0x16, 3, 1];
        record.extend((body.len() as u16 + 4).to_be_bytes());
        record.extend([1, 0]);
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    fn server_name(host: &str) -> (u16, Vec<u8>) {
        let length = host.len() as u16;
        let mut content = (length + 3).to_be_bytes().to_vec();
        content.push(0);
        content.extend(length.to_be_bytes());
        content.extend(host.bytes());
        (0, content)
    }

    #[test]
    fn a_server_name_is_found_at_the_first_octet_that_completes_it() {
        let octets = hello(&[(43, vec![2, 3, 4]), server_name("WWW.Example.org"), (51, vec![0; 1200])]);
        let name_end = octets.windows(3).position(|w| w == b"org").unwrap() + 3;
        for length in 0..name_end {
            assert_eq!(peek(&octets[..length]), Peeked::Incomplete, "{length}");
        }
        for length in name_end..=octets.len() {
            assert_eq!(peek(&octets[..length]), Peeked::Host("www.example.org".into()));
        }
        assert_eq!(peek(&hello(&[(43, vec![2, 3, 4])])), Peeked::Nothing);
    }

    #[test]
    fn a_host_header_is_found() {
        let get = b"GET / HTTP/1.1\r\nAccept: */*\r\nhOsT:  Old.Example.org:8080\r\nX: y\r\n\r\n";
        assert_eq!(peek(get), Peeked::Host("old.example.org".into()));
        assert_eq!(peek(&get[..40]), Peeked::Incomplete);
        assert_eq!(peek(b"GET / HTTP/1.1\nHost: [2001:db8::1]:80\n\n"), Peeked::Host("2001:db8::1".into()));
        for nothing in [
            &b"GET / HTTP/1.0\r\n\r\n"[..],
            b"SSH-2.0-x\r\n",
            b"\0\x01",
            b"GET / HTTP/1.1\r\nHost: a b\r\n",
            b"ABC x\n",
        ] {
            assert_eq!(peek(nothing), Peeked::Nothing, "{nothing:?}");
        }
        assert_eq!(peek(b"POS"), Peeked::Incomplete);
    }

    /// What was said of a beginning holds whatever comes after it.
    fn holds(octets: &[u8], cut: usize) -> bool {
        let early = peek(&octets[..cut.min(octets.len())]);
        early == Peeked::Incomplete || early == peek(octets)
    }

    proptest::proptest! {
        #[test]
        fn any_host_is_found_in_a_hello(host in r"[a-z]{1,20}(\.[a-z0-9]{1,20}){0,2}", fill in 0_usize..1400, cut in 0_usize..2000) {
            let octets = hello(&[(43, vec![0; fill]), server_name(&host), (51, vec![0; 40])]);
            proptest::prop_assert_eq!(peek(&octets), Peeked::Host(host));
            proptest::prop_assert!(holds(&octets, cut));
        }

        #[test]
        fn what_is_said_of_a_request_holds_when_more_comes(
            lines in proptest::collection::vec("(GET / HTTP/1\\.1|[Hh]ost: ?[a-z.]{0,12}(:80)?|Accept: [ -~]{0,9}|[ -~]{0,12}|)(\r\n|\n)", 0..6),
            cut in 0_usize..200,
        ) {
            let octets = lines.concat();
            proptest::prop_assert!(holds(octets.as_bytes(), cut), "{octets:?}");
        }

        #[test]
        fn no_octets_make_it_panic(octets in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let _ = peek(&octets);
            let _ = peek(&[&[0x16, 3, 1, 1, 0, 1, 0, 0, 200][..], &octets].concat());
        }

        #[test]
        fn a_damaged_hello_makes_no_panic(at in 0_usize..100, octet: u8, cut in 0_usize..200) {
            let mut octets = hello(&[server_name("www.example.org"), (51, vec![0; 40])]);
            let (at, cut) = (at % octets.len(), cut.min(octets.len()));
            octets[at] = octet;
            let _ = peek(&octets[..cut]);
        }
    }
}
