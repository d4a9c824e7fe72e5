//! Locations: LOC (RFC 1876).

use std::fmt::Write as _;

use super::RdataFault;
use super::tokens::{Tokens, invalid};

/// VERSION, SIZE, HORIZ PRE, VERT PRE, LATITUDE, LONGITUDE, ALTITUDE.
pub(super) const OCTETS: usize = 16;

/// The equator and the prime meridian; a thousandth of a second of arc is 1.
const MIDDLE: u32 = 1 << 31;
const DEGREE: u32 = 3_600_000;
/// The altitude 0 m; a centimetre is 1.
const SEA_LEVEL: i64 = 10_000_000;

const METRES: &str = "metres, as in 10m or -12.50m";
const ANGLE: &str = "degrees [minutes [seconds]], as in 52 22 23.000";

/// Reads `D [M [S]] N|S D [M [S]] E|W ALTITUDE [SIZE [HORIZONTAL [VERTICAL]]]` and appends it.
pub(super) fn read(tokens: &mut Tokens<'_>, wire: &mut Vec<u8>) -> Result<(), RdataFault> {
    let latitude = angle("latitude", tokens, 90, [b'S', b'N'])?;
    let longitude = angle("longitude", tokens, 180, [b'W', b'E'])?;
    let token = tokens.need("altitude")?;
    let altitude = centimetres(token.text).and_then(|cm| u32::try_from(cm + SEA_LEVEL).ok());
    let altitude = altitude.ok_or_else(|| invalid("altitude", &token, METRES))?;
    let mut sizes = [0x12, 0x16, 0x13]; // 1 m, 10 km, 10 m: the defaults of RFC 1876, 3
    for (size, what) in sizes.iter_mut().zip(["size", "horizontal precision", "vertical precision"]) {
        let Some(token) = tokens.next() else { break };
        *size = centimetres(token.text).and_then(scaled).ok_or_else(|| invalid(what, &token, METRES))?;
    }
    wire.push(0);
    wire.extend(sizes);
    for number in [latitude, longitude, altitude] {
        wire.extend(number.to_be_bytes());
    }
    Ok(())
}

/// Appends the text of `wire`, which has [`OCTETS`]; `None` when there is none for it.
pub(super) fn write(wire: &[u8], out: &mut String) -> Option<()> {
    let number = |at: usize| wire[at..at + 4].iter().fold(0u32, |n, &b| n << 8 | b as u32);
    if wire[0] != 0 {
        return None;
    }
    for (value, most, sides) in [(number(4), 90, ['S', 'N']), (number(8), 180, ['W', 'E'])] {
        let off = value.abs_diff(MIDDLE);
        if off > most * DEGREE {
            return None;
        }
        let (degrees, minutes, thousandths) = (off / DEGREE, off / 60_000 % 60, off % 60_000);
        let side = sides[(value >= MIDDLE) as usize];
        let (seconds, rest) = (thousandths / 1000, thousandths % 1000);
        let _ = write!(out, "{degrees} {minutes} {seconds}.{rest:03} {side} "); // a String takes all
    }
    let altitude = number(12) as i64 - SEA_LEVEL;
    let minus = if altitude < 0 { "-" } else { "" };
    let _ = write!(out, "{minus}{}.{:02}m", altitude.abs() / 100, altitude.abs() % 100);
    for &size in &wire[1..4] {
        let (mantissa, exponent) = (size >> 4, size & 15);
        if mantissa > 9 || exponent > 9 || mantissa == 0 && exponent > 0 {
            return None;
        }
        let cm = mantissa as u64 * 10u64.pow(exponent as u32);
        let _ = write!(out, " {}.{:02}m", cm / 100, cm % 100);
    }
    Some(())
}

/// Reads an angle with the letter of its side: the negative one, the positive one.
fn angle(what: &'static str, tokens: &mut Tokens<'_>, most: u32, sides: [u8; 2]) -> Result<u32, RdataFault> {
    let mut thousandths = 0;
    for (i, unit) in [DEGREE, 60_000, 1000].into_iter().enumerate() {
        let token = tokens.need(what)?;
        if let [letter] = token.text
            && let Some(side) = sides.iter().position(|s| s.eq_ignore_ascii_case(letter)).filter(|_| i > 0)
        {
            return Ok(from_middle(thousandths, side));
        }
        let part = match i {
            2 => decimal(token.text, 3).filter(|n| *n < 60_000),
            1 => decimal(token.text, 0).filter(|n| *n < 60).map(|n| n * unit as u64),
            _ => decimal(token.text, 0).filter(|n| *n <= most as u64).map(|n| n * unit as u64),
        };
        thousandths += part.ok_or_else(|| invalid(what, &token, ANGLE))? as u32;
        if thousandths > most * DEGREE {
            return Err(invalid(what, &token, ANGLE));
        }
    }
    let token = tokens.need(what)?;
    match sides.iter().position(|s| token.text.len() == 1 && s.eq_ignore_ascii_case(&token.text[0])) {
        Some(side) => Ok(from_middle(thousandths, side)),
        None => Err(invalid(what, &token, "behind the angle stands N or S, E or W")),
    }
}

fn from_middle(thousandths: u32, side: usize) -> u32 {
    if side == 0 { MIDDLE - thousandths } else { MIDDLE + thousandths }
}

fn centimetres(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"m").or(text.strip_suffix(b"M")).unwrap_or(text);
    match text.strip_prefix(b"-") {
        Some(below) => decimal(below, 2).map(|cm| -(cm as i64)),
        None => decimal(text, 2).map(|cm| cm as i64),
    }
}

/// A decimal number times 10^`places`, with at most so many places behind the point.
fn decimal(text: &[u8], places: usize) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let plain = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || fraction.len() > places || !plain(whole) || !plain(fraction) {
        return None;
    }
    format!("{whole}{fraction:0<places$}").parse().ok()
}

/// Centimetres as one decimal digit and a power of ten, rounded down (RFC 1876, 2).
fn scaled(cm: i64) -> Option<u8> {
    let mut mantissa = u64::try_from(cm).ok()?;
    let mut exponent = 0;
    while mantissa > 9 {
        mantissa /= 10;
        exponent += 1;
    }
    (exponent <= 9).then_some((mantissa as u8) << 4 | exponent)
}
