//! The operator's overrides in a file of lines, for when the API can't be reached. Pure: text in, words out.
//!
//! A line is `POOL SITE up|down|obey`, with a reason after `#`. `*` stands for any characters in a pool or site. Where
//! several lines speak of an endpoint the last one is in force; over what the API says each of them is.

use std::collections::BTreeMap;

use crate::control::decide::Proposal;
use crate::control::message::Action;
use crate::control::state::State;
use crate::dns::Name;
use crate::steering::pool::Override;
use crate::steering::ttl::Change;
use crate::time::Timestamp;

/// The lines of a file that was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides(Vec<Line>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    pool: String,
    site: String,
    forced: Override,
}

impl Overrides {
    /// Reads a file.
    ///
    /// # Errors
    /// All mistakes, each with its line; then nothing of the file counts.
    pub fn parse(text: &str) -> Result<Self, Vec<String>> {
        let (mut lines, mut mistakes) = (Vec::new(), Vec::new());
        for (i, line) in text.lines().enumerate() {
            let number = i + 1;
            let said = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = said.split_whitespace().collect();
            let (pool, site, word) = match *words {
                [] => continue,
                [pool, site, word] => (pool, site, word),
                _ => {
                    mistakes.push(format!("line {number}: {:?} is not POOL SITE up|down|obey", said.trim()));
                    continue;
                }
            };
            let forced = match word {
                "up" => Override::Up,
                "down" => Override::Down,
                "obey" => Override::Obey,
                _ => {
                    mistakes.push(format!("line {number}: {word:?} must be up, down or obey"));
                    continue;
                }
            };
            let pool = pool.strip_suffix('.').unwrap_or(pool).to_ascii_lowercase();
            lines.push(Line { number, pool, site: site.to_owned(), forced });
        }
        if mistakes.is_empty() { Ok(Self(lines)) } else { Err(mistakes) }
    }

    /// What the file does to `state`: the pools whose overrides it changes. A pool that would have nothing to answer is left
    /// as it was, which is told, as are lines that speak of nobody.
    pub fn apply(&self, state: &State, now: Timestamp) -> Proposal {
        let (mut touched, mut warnings) = (BTreeMap::new(), Vec::new());
        let mut groups: BTreeMap<&str, Vec<&Name>> = BTreeMap::new();
        for (name, pool) in &state.pools {
            groups.entry(pool.group.as_deref().unwrap_or_default()).or_default().push(name);
        }
        for (name, pool) in &state.pools {
            // What one pool of a group is told counts for all: a client has one site.
            let group = pool.group.as_deref().and_then(|group| groups.get(group));
            let members = group.map_or(std::slice::from_ref(&name), Vec::as_slice);
            let mut new = pool.clone();
            for endpoint in &mut new.endpoints {
                let speaks = |line: &&Line| members.iter().any(|member| line.is_about(member, &endpoint.site));
                endpoint.by_file = self.0.iter().rfind(speaks).map(|line| line.forced);
            }
            if new == *pool {
                continue;
            }
            if new.leaves_nothing() {
                let kept = "the override file would leave nothing to answer: what it says of this pool is not in force";
                warnings.push(format!("pool {name}: {kept}"));
                continue;
            }
            // A flip that waits is not confirmed by this.
            let confirmed = if new.change.is_some_and(|c| c.confirmed.is_none()) { None } else { Some(now) };
            new.change = Some(Change { at: now, confirmed });
            touched.insert(name.clone(), new);
        }
        for line in &self.0 {
            let mut pools = state.pools.iter();
            if !pools.any(|(name, pool)| pool.endpoints.iter().any(|e| line.is_about(name, &e.site))) {
                let Line { number, pool, site, .. } = line;
                warnings.push(format!("override file, line {number}: there is no endpoint of {pool} at {site}"));
            }
        }
        Proposal { action: Action::OverrideFile, touched, site: None, pending: state.pending.clone(), warnings }
    }
}

impl Line {
    fn is_about(&self, pool: &Name, site: &str) -> bool {
        let name = pool.to_lowercase().to_string();
        matches(&self.site, site) && matches(&self.pool, name.strip_suffix('.').unwrap_or(&name))
    }
}

/// Whether `text` is as `pattern` says, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let Some((last, middle)) = parts.split_last() else { return true };
    for part in middle {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::reconcile::tests::pool;
    use crate::control::state::PoolState;

    const NOW: Timestamp = Timestamp(1_800_000_000);

    fn state() -> State {
        let settings = pool(&[("ec2", 50), ("dc1", 50)]);
        let pools = [(settings.name.clone(), PoolState::initial(&settings))].into();
        State { generation: 1, pools, ..State::default() }
    }

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, text, expected) in [
            ("*", "www.example.org", true),
            ("www.example.org", "www.example.org", true),
            ("*.example.org", "www.example.org", true),
            ("*.example.org", "example.org", false),
            ("www.*.org", "www.example.org", true),
            ("w*e*g", "www.example.org", true),
            ("w*x*y", "www.example.org", false),
            ("www", "www.example.org", false),
            ("aa*aa", "aaa", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_last_line_that_speaks_of_an_endpoint_is_in_force() {
        let overrides =
            Overrides::parse("# all of ec2\n* ec2 down # maintenance\nWWW.example.org. ec2 obey\n").unwrap();
        let proposal = overrides.apply(&state(), NOW);
        let (_, pool) = proposal.touched.first_key_value().unwrap();
        assert_eq!((pool.endpoints[0].by_file, pool.endpoints[1].by_file), (Some(Override::Obey), None));
        assert_eq!(proposal.warnings, Vec::<String>::new());

        let down = Overrides::parse("www.example.org ec2 down").unwrap().apply(&state(), NOW);
        let (name, pool) = down.touched.first_key_value().unwrap();
        assert_eq!(pool.candidates(|_| true)[0].forced, Override::Down);
        // Taken out of the file, it is gone, and what the API said is in force again.
        let mut with = state();
        with.pools.insert(name.clone(), pool.clone());
        let gone = Overrides::default().apply(&with, NOW);
        assert_eq!(gone.touched[name].endpoints[0].by_file, None);
        assert!(Overrides::default().apply(&state(), NOW).touched.is_empty());
    }

    #[test]
    fn mistakes_are_told_by_line_and_nothing_is_left_empty() {
        let told = Overrides::parse("www ec2 off\n\nwww ec2\nwww ec2 up now\n").unwrap_err();
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], "line 1: \"off\" must be up, down or obey");
        let all = Overrides::parse("* * down\n").unwrap().apply(&state(), NOW);
        assert!(all.touched.is_empty() && all.warnings[0].contains("nothing to answer"), "{:?}", all.warnings);
        let nobody = Overrides::parse("www.example.org mars down\n").unwrap().apply(&state(), NOW);
        assert_eq!(nobody.warnings, ["override file, line 1: there is no endpoint of www.example.org at mars"]);
    }
}
