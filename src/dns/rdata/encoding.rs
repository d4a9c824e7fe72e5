//! The ways in which presentation format writes octets: hexadecimal, base64, base32hex (RFC 4648), character strings.

/// Digits of 4, 5 or 6 bits that stand for octets.
pub(super) struct Base {
    bits: u32,
    digits: &'static [u8],
    /// The value of each digit; [`NO_DIGIT`] for what is none.
    values: [u8; 256],
    /// Digits and padding together are a multiple of this; 1: no padding.
    group: usize,
}

const NO_DIGIT: u8 = 0xff;

pub(super) static HEX: Base = Base::new(b"0123456789ABCDEF", 4, 1);
pub(super) static BASE32HEX: Base = Base::new(b"0123456789ABCDEFGHIJKLMNOPQRSTUV", 5, 1);
pub(super) static BASE64: Base = Base::new(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 6, 4);

impl Base {
    const fn new(digits: &'static [u8], bits: u32, group: usize) -> Self {
        let mut values = [NO_DIGIT; 256];
        let mut i = 0;
        while i < digits.len() {
            values[digits[i] as usize] = i as u8;
            if bits < 6 {
                values[digits[i].to_ascii_lowercase() as usize] = i as u8;
            }
            i += 1;
        }
        Self { bits, digits, values, group }
    }

    pub(super) fn encode(&self, octets: &[u8], out: &mut String) {
        let (mut held, mut held_bits, mut written) = (0u32, 0, 0);
        let mut digit = |value: u32| {
            out.push(self.digits[value as usize & (self.digits.len() - 1)] as char);
            written += 1;
        };
        for &octet in octets {
            held = held << 8 | octet as u32; // older bits fall off at the top, at most 5 are still wanted
            held_bits += 8;
            while held_bits >= self.bits {
                held_bits -= self.bits;
                digit(held >> held_bits);
            }
        }
        if held_bits > 0 {
            digit(held << (self.bits - held_bits));
        }
        while written % self.group != 0 {
            out.push('=');
            written += 1;
        }
    }

    /// Appends what `parts`, read as one run of digits, stand for; `None` when they are no digits or end in the middle of
    /// an octet.
    pub(super) fn decode<'a>(&self, parts: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) -> Option<()> {
        let (mut held, mut held_bits, mut digits, mut padding) = (0u32, 0, 0, 0);
        for &digit in parts.flatten() {
            if digit == b'=' && self.group > 1 {
                padding += 1;
                continue;
            }
            let value = self.values[digit as usize];
            if value == NO_DIGIT || padding > 0 {
                return None;
            }
            digits += 1;
            held = held << self.bits | value as u32;
            held_bits += self.bits;
            if held_bits >= 8 {
                held_bits -= 8;
                out.push((held >> held_bits) as u8);
            }
        }
        let whole = held_bits < self.bits && held & ((1 << held_bits) - 1) == 0;
        (whole && padding < self.group && (digits + padding) % self.group == 0).then_some(())
    }
}

/// Appends `text` with its `\DDD` and `\X` undone; `None` when a backslash has something else behind it.
pub(super) fn unescape(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|&b| b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        rest = match &rest[at + 1..] {
            [a, b, c, behind @ ..] if [a, b, c].iter().all(|d| d.is_ascii_digit()) => {
                let value = [a, b, c].iter().fold(0u16, |n, &&d| n * 10 + (d - b'0') as u16);
                out.push(u8::try_from(value).ok()?);
                behind
            }
            [other, behind @ ..] if !other.is_ascii_digit() => {
                out.push(*other);
                behind
            }
            _ => return None,
        };
    }
    out.extend_from_slice(rest);
    Some(())
}

/// Appends `octets` in quotes, with the escapes that [`unescape`] undoes.
pub(super) fn quote(octets: &[u8], out: &mut String) {
    out.push('"');
    for &b in octets {
        match b {
            b'"' | b'\\' => out.extend(['\\', b as char]),
            0x20..=0x7e => out.push(b as char),
            _ => out.extend(['\\', (b'0' + b / 100) as char, (b'0' + b / 10 % 10) as char, (b'0' + b % 10) as char]),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(base: &Base, text: &str) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        base.decode(std::iter::once(text.as_bytes()), &mut out).map(|()| out)
    }

    #[test]
    fn vectors_of_rfc_4648() {
        for (octets, base64, base32) in [
            ("", "", ""),
            ("f", "Zg==", "CO"),
            ("fo", "Zm8=", "CPNG"),
            ("foo", "Zm9v", "CPNMU"),
            ("foob", "Zm9vYg==", "CPNMUOG"),
            ("fooba", "Zm9vYmE=", "CPNMUOJ1"),
            ("foobar", "Zm9vYmFy", "CPNMUOJ1E8"),
        ] {
            for (base, text) in [(&BASE64, base64), (&BASE32HEX, base32)] {
                let mut out = String::new();
                base.encode(octets.as_bytes(), &mut out);
                assert_eq!(out, text);
                assert_eq!(decoded(base, text).as_deref(), Some(octets.as_bytes()));
            }
        }
        assert_eq!(decoded(&HEX, "00fF"), Some(vec![0, 255]));
    }

    #[test]
    fn half_octets_and_strange_digits_are_refused() {
        for (base, text) in [
            (&HEX, "0"),
            (&HEX, "0g"),
            (&HEX, "00="),
            (&BASE64, "Zg"),
            (&BASE64, "Zg="),
            (&BASE64, "Zg==="),
            (&BASE64, "Z==="),
            (&BASE64, "Zh=="),
            (&BASE64, "Z=g="),
            (&BASE32HEX, "C"),
            (&BASE32HEX, "CW"),
        ] {
            assert_eq!(decoded(base, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn octets_survive_text(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            for base in [&HEX, &BASE32HEX, &BASE64] {
                let mut text = String::new();
                base.encode(&octets, &mut text);
                prop_assert_eq!(decoded(base, &text), Some(octets.clone()));
            }
            let mut text = String::new();
            quote(&octets, &mut text);
            let mut read = Vec::new();
            prop_assert!(unescape(text.as_bytes()[1..].strip_suffix(b"\"").unwrap(), &mut read).is_some());
            prop_assert_eq!(read, octets);
        }
    }
}
