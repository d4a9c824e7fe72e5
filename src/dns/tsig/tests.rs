use super::*;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp(1_800_000_000);

fn key(name: &str, algorithm: Algorithm) -> Key {
    Key::new(&name.parse().unwrap(), algorithm, b"a secret of some octets, shared")
}

fn ring() -> KeyRing {
    ["one.example", "two.example", "three.example"].into_iter().zip(Algorithm::ALL).map(|(n, a)| key(n, a)).collect()
}

fn query() -> Vec<u8> {
    let mut q = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    q.extend_from_slice(b"\x03www\x07example\x03org\0\0\x01\0\x01");
    q
}

fn response_to(request: &[u8]) -> Vec<u8> {
    let mut response = request.to_vec();
    response[2] |= 0x80;
    response
}

/// The TSIG error of a response, and whether it is signed.
fn error_of(response: &[u8]) -> (u16, bool) {
    let (_, tsig) = Tsig::find(response).unwrap().unwrap();
    (tsig.error, !tsig.mac.is_empty())
}

#[test]
fn a_request_and_its_response_are_verified() {
    for (name, algorithm) in ["one.example", "two.example", "three.example"].into_iter().zip(Algorithm::ALL) {
        let mut request = query();
        let mut verifier = Arc::new(key(name, algorithm)).sign_request(&mut request, NOW);
        let Verified { message, mut signer } = ring().verify(&request, NOW).unwrap().unwrap();
        assert_eq!((message, signer.key().to_string()), (query(), name.to_owned()));
        let mut response = response_to(&query());
        let plain = response.len();
        signer.sign(&mut response, NOW.after(1));
        assert_eq!(response.len(), plain + signer.octets());
        assert_eq!(verifier.verify(&response, NOW.after(2)), Ok(true));
        assert!(verifier.is_whole());
    }
    assert!(ring().verify(&query(), NOW).unwrap().is_none());
}

#[test]
fn a_request_sent_on_under_another_id_is_still_good() {
    let mut request = query();
    Arc::new(key("one.example", Algorithm::HmacSha256)).sign_request(&mut request, NOW);
    request[0] ^= 0xff;
    let message = ring().verify(&request, NOW).unwrap().unwrap().message;
    assert_eq!((&message[..2], &message[2..]), (&request[..2], &query()[2..]));
}

#[test]
fn each_fault_has_its_response() {
    let signed = |key: Key, at: Timestamp| {
        let mut request = query();
        let verifier = Arc::new(key).sign_request(&mut request, at);
        (request, verifier)
    };
    let refused = |request: &[u8]| ring().verify(request, NOW).unwrap_err();

    for unknown in [key("four.example", Algorithm::HmacSha256), key("one.example", Algorithm::HmacSha384)] {
        let (request, mut verifier) = signed(unknown, NOW);
        let refusal = refused(&request);
        assert!(matches!(refusal.why, Error::BadKey { .. }));
        assert_eq!((refusal.rcode, error_of(&refusal.response)), (Rcode::NotAuth, (BADKEY, false)));
        assert_eq!(verifier.verify(&refusal.response, NOW), Err(Error::Told { error: BADKEY }));
    }

    let other = Key::new(&"one.example".parse().unwrap(), Algorithm::HmacSha256, b"another");
    let refusal = refused(&signed(other, NOW).0);
    assert!(matches!(refusal.why, Error::BadSig { .. }));
    assert_eq!((refusal.rcode, error_of(&refusal.response)), (Rcode::NotAuth, (BADSIG, false)));

    for (at, good) in [(NOW.before(300), true), (NOW.after(300), true), (NOW.before(301), false)] {
        let (request, mut verifier) = signed(key("one.example", Algorithm::HmacSha256), at);
        if good {
            assert!(ring().verify(&request, NOW).unwrap().is_some());
            continue;
        }
        let refusal = refused(&request);
        assert_eq!((refusal.rcode, error_of(&refusal.response)), (Rcode::NotAuth, (BADTIME, true)));
        let (_, tsig) = Tsig::find(&refusal.response).unwrap().unwrap();
        assert_eq!((tsig.time, tsig.other), (at.0, &NOW.0.to_be_bytes()[2..]));
        assert_eq!(verifier.verify(&refusal.response, at), Err(Error::Told { error: BADTIME }), "and it is signed");
    }
}

#[test]
fn a_mac_cut_short_is_told_from_one_that_is_too_short() {
    let mut request = query();
    Arc::new(key("one.example", Algorithm::HmacSha256)).sign_request(&mut request, NOW);
    let (start, tsig) = Tsig::find(&request).unwrap().unwrap();
    let cut = |octets: usize| {
        let mut cut = request[..start].to_vec();
        cut[11] = 0;
        append(&mut cut, tsig.key.wire(), tsig.algorithm.wire(), &tsig.stamp(), &tsig.mac[..octets]);
        ring().verify(&cut, NOW)
    };
    let refusal = cut(16).unwrap_err();
    assert_eq!((refusal.rcode, error_of(&refusal.response)), (Rcode::NotAuth, (BADTRUNC, true)));
    let refusal = cut(15).unwrap_err();
    assert_eq!((refusal.rcode, refusal.response.len()), (Rcode::FormErr, query().len()));
    assert!(cut(32).unwrap().is_some());
}

#[test]
fn a_tsig_that_is_not_last_is_malformed() {
    let mut request = query();
    let key = Arc::new(key("one.example", Algorithm::HmacSha256));
    key.sign_request(&mut request, NOW);
    let mut twice = request.clone();
    key.sign_request(&mut twice, NOW);
    assert_eq!(ring().verify(&twice, NOW).unwrap_err().rcode, Rcode::FormErr);
    request.push(0);
    assert_eq!(ring().verify(&request, NOW).unwrap_err().rcode, Rcode::FormErr);
}

/// Sends `messages` messages, each `every`-th signed, and gives what the other side makes of them with `spoil` done.
fn stream(messages: usize, every: usize, spoil: impl Fn(usize, &mut Vec<u8>)) -> Result<bool, Error> {
    let mut request = query();
    let mut verifier = Arc::new(key("one.example", Algorithm::HmacSha256)).sign_request(&mut request, NOW);
    let mut signer = ring().verify(&request, NOW).unwrap().unwrap().signer;
    for n in 0..messages {
        let mut message = response_to(&query());
        message[13] = b'a' + (n % 26) as u8;
        if n % every == 0 || n + 1 == messages {
            signer.sign(&mut message, NOW);
        } else {
            signer.pass(&message);
        }
        spoil(n, &mut message);
        verifier.verify(&message, NOW)?;
    }
    Ok(verifier.is_whole())
}

#[test]
fn a_stream_is_good_signed_throughout_or_now_and_then() {
    for every in [1, 2, 10, 100] {
        assert_eq!(stream(205, every, |_, _| ()), Ok(true), "each {every}th");
    }
    assert_eq!(stream(205, 102, |_, _| ()), Err(Error::Unsigned));
    for changed in [0, 3, 9] {
        let spoilt = stream(10, 4, |n, message| message[13] ^= u8::from(n == changed));
        assert!(matches!(spoilt, Err(Error::BadSig { .. })), "message {changed}");
    }
}

proptest! {
    #[test]
    fn no_octets_make_it_panic(
        head in proptest::collection::vec(any::<u8>(), 0..40),
        cut in 0usize..200, at in 0usize..200, octet: u8,
    ) {
        let _ = ring().verify(&head, NOW);
        let mut request = query();
        let mut verifier = Arc::new(key("one.example", Algorithm::HmacSha256)).sign_request(&mut request, NOW);
        if let Some(place) = request.get_mut(at) {
            *place = octet;
        }
        request.truncate(cut);
        let _ = ring().verify(&request, NOW);
        let _ = verifier.verify(&request, NOW);
    }
}
