//! Which pools a command is for: by name, and by label. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::control::error::ControlError;
use crate::dns::{Name, Rtype};
use crate::steering::planned::{self, RrsetKey};
use crate::steering::pool::Settings;

/// Labels that a pool must all have, written `web` or `web,region=eu`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector(Vec<String>);

impl Selector {
    /// Whether it selects `pool`.
    pub fn selects(&self, pool: &Settings) -> bool {
        self.0.iter().all(|label| pool.handling.labels.contains(label))
    }

    /// The names of the pools that it selects.
    ///
    /// # Errors
    /// One sentence when there is none.
    pub fn names(&self, pools: &[Settings]) -> Result<Vec<Name>, String> {
        let names: Vec<Name> = pools.iter().filter(|pool| self.selects(pool)).map(|pool| pool.name.clone()).collect();
        if !names.is_empty() {
            return Ok(names);
        }
        let known: BTreeSet<&str> =
            pools.iter().flat_map(|pool| &pool.handling.labels).map(String::as_str).take(1000).collect();
        let known: Vec<&str> = known.into_iter().take(10).collect();
        let known =
            if known.is_empty() { "no pool has labels".to_owned() } else { format!("there are {}", known.join(", ")) };
        Err(format!("no pool has the label {self}: {known}"))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(","))
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let labels: Vec<String> = text.split(',').map(|label| label.trim().to_owned()).collect();
        if labels.iter().any(String::is_empty) {
            return Err(format!(
                "{text:?} selects nothing: write a label, such as web, or several, such as web,region=eu"
            ));
        }
        Ok(Self(labels))
    }
}

/// The pools that a command is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// By owner name.
    pub pools: Vec<Name>,
    /// And those with these labels.
    pub select: Option<Selector>,
}

impl Which {
    /// The one pool `name`.
    pub fn one(name: Name) -> Self {
        Self { pools: vec![name], select: None }
    }

    /// Their names, none twice.
    ///
    /// # Errors
    /// Not found, where labels select nothing.
    pub fn names(&self, pools: &[Settings]) -> Result<BTreeSet<Name>, ControlError> {
        let mut names: BTreeSet<Name> = self.pools.iter().cloned().collect();
        if let Some(select) = &self.select {
            names.extend(select.names(pools).map_err(ControlError::NotFound)?);
        }
        Ok(names)
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.pools.iter().map(|name| name.to_lowercase().to_string()).collect();
        parts.extend(self.select.as_ref().map(|select| format!("those with {select}")));
        f.write_str(&parts.join(", "))
    }
}

/// The planned RRsets that a command is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhichRrsets {
    /// Their owner name.
    pub name: Name,
    /// Of these types; none: all that are planned.
    pub types: Vec<Rtype>,
}

impl WhichRrsets {
    /// Their keys, none twice.
    ///
    /// # Errors
    /// Not found, where one of them is not planned.
    pub fn keys(&self, rrsets: &[planned::Settings]) -> Result<BTreeSet<RrsetKey>, ControlError> {
        let here = rrsets.iter().map(|rrset| &rrset.key).filter(|key| key.name == self.name);
        let known: BTreeSet<RrsetKey> = here.cloned().collect();
        if self.types.is_empty() && !known.is_empty() {
            return Ok(known);
        }
        let key = |rtype: &Rtype| RrsetKey { name: self.name.clone(), rtype: *rtype };
        let wanted: BTreeSet<RrsetKey> = self.types.iter().map(key).collect();
        if let Some(missing) = wanted.iter().find(|key| !known.contains(key)) {
            let types = known.iter().map(|key| key.rtype.to_string()).collect::<Vec<_>>().join(", ");
            let planned = if types.is_empty() { "nothing".to_owned() } else { types };
            return Err(ControlError::NotFound(format!(
                "no [[rrset]] plans {missing}: of this name {planned} is planned"
            )));
        }
        if wanted.is_empty() {
            return Err(ControlError::NotFound(format!("no [[rrset]] plans anything of {}", self.name)));
        }
        Ok(wanted)
    }
}

impl fmt::Display for WhichRrsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types = self.types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        write!(f, "{} {}", self.name.to_lowercase(), if types.is_empty() { "all types" } else { &types })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::reconcile::tests::pool;
    use crate::steering::pool::Handling;

    #[test]
    fn a_pool_has_all_labels_that_are_named() {
        let mut labelled = pool(&[("ec2", 100)]);
        let labels = ["region=eu", "web"].map(str::to_owned).to_vec();
        labelled.handling = Handling { labels, ..Handling::default() };
        let selects = |text: &str| text.parse::<Selector>().unwrap().selects(&labelled);
        assert!(selects("web") && selects("region=eu, web"));
        assert!(!selects("eu") && !selects("web,db"));
        assert!("web,".parse::<Selector>().is_err() && "".parse::<Selector>().is_err());
        let which = Which { pools: vec![labelled.name.clone()], select: Some("web".parse().unwrap()) };
        assert_eq!(which.names(std::slice::from_ref(&labelled)).unwrap().len(), 1);
        let none = "db".parse::<Selector>().unwrap().names(&[labelled]).unwrap_err();
        assert_eq!(none, "no pool has the label db: there are region=eu, web");
    }
}
