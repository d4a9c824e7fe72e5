//! `$GENERATE` as BIND has it: `$GENERATE START-STOP[/STEP] OWNER [TTL] [CLASS] TYPE RDATA`, where `$` in owner and RDATA
//! stands for the number, `${OFFSET[,WIDTH[,BASE]]}` for it in another form, and `\$` or `$$` for a dollar.

use std::fmt::Write as _;

/// The most records that one directive may make.
pub(super) const MOST_RECORDS: u64 = 1_000_000;

/// The numbers that a directive counts through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    start: u32,
    stop: u32,
    step: u32,
}

impl Range {
    /// Reads `START-STOP` or `START-STOP/STEP`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, GenerateError> {
        let shown = || String::from_utf8_lossy(text).into_owned();
        let read = || {
            let text = std::str::from_utf8(text).ok()?;
            let (range, step) = text.split_once('/').unwrap_or((text, "1"));
            let (start, stop) = range.split_once('-')?;
            let number = |t: &str| if t.starts_with('+') { None } else { t.parse::<i32>().ok()?.try_into().ok() };
            Some(Self { start: number(start)?, stop: number(stop)?, step: number(step)? })
        };
        let range = read().filter(|r| r.step > 0).ok_or_else(|| GenerateError::Range { text: shown() })?;
        if range.stop < range.start {
            return Err(GenerateError::Backwards { text: shown() });
        }
        let count = (range.stop - range.start) as u64 / range.step as u64 + 1;
        if count > MOST_RECORDS { Err(GenerateError::TooMany { text: shown(), count }) } else { Ok(range) }
    }

    pub(super) fn numbers(self) -> impl Iterator<Item = u32> {
        (self.start..=self.stop).step_by(self.step as usize)
    }
}

/// Appends `template` with `number` in place of each `$`.
pub(super) fn expand(template: &[u8], number: u32, out: &mut Vec<u8>) -> Result<(), GenerateError> {
    let mut rest = template;
    while let Some(at) = rest.iter().position(|&b| matches!(b, b'$' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        rest = match &rest[at..] {
            [b'\\' | b'$', b'$', behind @ ..] => {
                out.push(b'$');
                behind
            }
            [b'\\', other, behind @ ..] => {
                out.extend([b'\\', *other]);
                behind
            }
            [b'$', b'{', behind @ ..] => {
                let bad = || GenerateError::Modifier { text: format!("${{{}", String::from_utf8_lossy(behind)) };
                let end = behind.iter().position(|&b| b == b'}').ok_or_else(bad)?;
                let text = format!("${{{}}}", String::from_utf8_lossy(&behind[..end]));
                let modifier = Modifier::parse(&behind[..end]).ok_or(GenerateError::Modifier { text })?;
                out.extend(modifier.apply(number)?.bytes());
                &behind[end + 1..]
            }
            [b'$', behind @ ..] => {
                out.extend(number.to_string().bytes());
                behind
            }
            all => {
                out.extend_from_slice(all); // a backslash at the end, for the reader behind us to refuse
                &[]
            }
        };
    }
    out.extend_from_slice(rest);
    Ok(())
}

/// `OFFSET[,WIDTH[,BASE]]`.
struct Modifier {
    offset: i64,
    width: usize,
    base: u8,
}

/// The most digits that a number is filled up to: more fit no name.
const MOST_WIDTH: usize = 255;

impl Modifier {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(text).ok()?.split(',');
        let offset: i32 = parts.next()?.parse().ok()?;
        let width = parts.next().map_or(Some(0), |w| w.parse().ok()).filter(|w| *w <= MOST_WIDTH)?;
        let base = match parts.next().unwrap_or("d").as_bytes() {
            [base @ (b'd' | b'o' | b'x' | b'X' | b'n' | b'N')] => *base,
            _ => return None,
        };
        parts.next().is_none().then_some(Self { offset: offset.into(), width, base })
    }

    fn apply(&self, number: u32) -> Result<String, GenerateError> {
        let (width, number) = (self.width, number as i64 + self.offset);
        let number = u64::try_from(number).map_err(|_| GenerateError::Negative { number })?;
        Ok(match self.base {
            b'o' => format!("{number:0width$o}"),
            b'x' => format!("{number:0width$x}"),
            b'X' => format!("{number:0width$X}"),
            b'n' => nibbles(&format!("{number:x}"), width),
            b'N' => nibbles(&format!("{number:X}"), width),
            _ => format!("{number:0width$}"),
        })
    }
}

/// Hexadecimal digits from the least on, a dot between two; filled up with zeros to `width` digits and dots, as for ip6.arpa.
/// An even `width` ends in a dot, for a name goes on behind it.
fn nibbles(digits: &str, width: usize) -> String {
    let mut out = String::new();
    let mut left = digits.chars().rev();
    let mut next = left.next();
    while next.is_some() || out.len() < width {
        let _ = write!(out, "{}", next.unwrap_or('0')); // a String takes all
        next = left.next();
        if next.is_some() || out.len() < width {
            out.push('.');
        }
    }
    out
}

/// What is wrong with a `$GENERATE`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum GenerateError {
    #[error("{text:?} is no range (as in 1-127 or 0-254/2)")]
    Range { text: String },
    #[error("the range {text:?} runs backwards")]
    Backwards { text: String },
    #[error("the range {text:?} makes {count} records, more than {MOST_RECORDS}")]
    TooMany { text: String, count: u64 },
    #[error("{text:?} is no form of the number (as in ${{0,3,d}}: offset, width, and a base of d, o, x, X, n or N)")]
    Modifier { text: String },
    #[error("the number becomes {number}: it can't be below 0")]
    Negative { number: i64 },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(template: &str, number: u32) -> Result<String, GenerateError> {
        let mut out = Vec::new();
        expand(template.as_bytes(), number, &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn ranges() {
        let numbers = |text: &str| Range::parse(text.as_bytes()).unwrap().numbers().collect::<Vec<_>>();
        assert_eq!(numbers("1-3"), [1, 2, 3]);
        assert_eq!(numbers("0-5/2"), [0, 2, 4]);
        assert_eq!(numbers("7-7"), [7]);
        let error = |text: &str| Range::parse(text.as_bytes()).unwrap_err().to_string();
        for bad in ["1", "a-b", "1-3/0", "-1-3", "1-+3", "1-2147483648"] {
            assert!(error(bad).contains("is no range"), "{bad}");
        }
        assert_eq!(error("3-1"), r#"the range "3-1" runs backwards"#);
        assert_eq!(error("1-1000001"), r#"the range "1-1000001" makes 1000001 records, more than 1000000"#);
    }

    #[test]
    fn numbers_in_all_forms() {
        for (template, number, text) in [
            ("host-$", 7, "host-7"),
            ("$.$", 7, "7.7"),
            (r"\$$ $$ \\$ \.", 7, r"$7 $ \\7 \."),
            ("${10}", 7, "17"),
            ("${-7}", 7, "0"),
            ("${0,3}", 7, "007"),
            ("${0,3,d}x", 1234, "1234x"),
            ("${0,4,o}", 8, "0010"),
            ("${0,4,x}/${0,0,X}", 171, "00ab/AB"),
            ("${0,3,n}", 0x12, "2.1"),
            ("${0,0,n}", 0x1ab, "b.a.1"),
            ("${0,7,N}", 0x1a, "A.1.0.0"),
            ("${0,4,n}x", 1, "1.0.x"),
        ] {
            assert_eq!(expanded(template, number).as_deref(), Ok(text), "{template}");
        }
        for bad in ["${", "${}", "${a}", "${0,a}", "${0,1,z}", "${0,1,d,1}", "${0,256}", "${-8}"] {
            assert!(expanded(bad, 7).is_err(), "{bad}");
        }
    }
}
