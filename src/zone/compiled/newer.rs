//! The owners of NSEC, or of NSEC3, records that are newer than the table of a zone, in the order of the chain.
//!
//! Versions of a zone share all of it but what a change touches: it is kept in chunks, as the pools of a snapshot are. A
//! question searches the chunks, then in one of them, and allocates nothing.

use std::cmp::Ordering;
use std::sync::Arc;

use super::node::Node;
use super::signed::canonical_order;

/// A chunk is divided when it has more nodes than this: a change copies a chunk, and the list of them.
const MOST_IN_CHUNK: usize = 256;

/// Nodes in canonical order of their names (RFC 4034, 6.1), which is that of the hashes for owners of NSEC3 (RFC 5155, 1).
#[derive(Clone, Debug, Default)]
pub(super) struct Newer {
    /// None is empty.
    chunks: Vec<Arc<Vec<Arc<[u8]>>>>,
}

impl Newer {
    /// Puts a node in, in place of one with the same name.
    pub(super) fn put(&mut self, node: Arc<[u8]>) {
        let name = Node::new(&node).name();
        let Some(at) = self.chunk_of(name) else {
            self.chunks.push(Arc::new(vec![node]));
            return;
        };
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        match place_in(chunk, name) {
            Ok(place) => chunk[place] = node,
            Err(place) => chunk.insert(place, node),
        }
        if chunk.len() > MOST_IN_CHUNK {
            let behind = chunk.split_off(MOST_IN_CHUNK / 2);
            self.chunks.insert(at + 1, Arc::new(behind));
        }
    }

    /// Takes the node with this name out, where it is there.
    pub(super) fn remove(&mut self, name: &[u8]) {
        let Some(at) = self.chunk_of(name) else { return };
        let Ok(place) = place_in(&self.chunks[at], name) else { return };
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
    }

    /// The node at `name`, or else the one before it.
    pub(super) fn at_or_before(&self, name: &[u8]) -> Option<Node<'_>> {
        let chunk = &self.chunks[self.chunk_of(name)?];
        let place = match place_in(chunk, name) {
            Ok(place) => place,
            Err(place) => place.checked_sub(1)?, // only before the first of all
        };
        Some(Node::new(&chunk[place]))
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<Node<'_>> {
        self.chunks.last()?.last().map(|node| Node::new(node))
    }

    /// The last chunk that begins at or before `name`, else the first.
    fn chunk_of(&self, name: &[u8]) -> Option<usize> {
        let begins = |chunk: &Arc<Vec<Arc<[u8]>>>| canonical_order(Node::new(&chunk[0]).name(), name);
        let behind = self.chunks.partition_point(|chunk| begins(chunk) != Ordering::Greater);
        (!self.chunks.is_empty()).then(|| behind.saturating_sub(1))
    }
}

fn place_in(chunk: &[Arc<[u8]>], name: &[u8]) -> Result<usize, usize> {
    chunk.binary_search_by(|node| canonical_order(Node::new(node).name(), name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Name;
    use crate::zone::compiled::node::{Marks, Writer};
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn node(name: &Name) -> Arc<[u8]> {
        let mut out = Vec::new();
        Writer::node(&mut out, name.wire(), &Marks::default(), 0);
        out.into()
    }

    proptest! {
        #[test]
        fn it_holds_what_was_put_in_order(
            steps in proptest::collection::vec(("[a-e]{1,2}", "[a-e]{1,3}", proptest::bool::weighted(0.8)), 1..900),
            asked in proptest::collection::vec(("[a-f]{1,2}", "[a-f]{0,3}"), 20),
        ) {
            let name = |above: &str, below: &str| -> Name { format!("{below}.{above}.").trim_start_matches('.').parse().unwrap() };
            let (mut newer, mut known) = (Newer::default(), BTreeSet::new());
            for (above, below, put) in &steps {
                let name = name(above, below);
                if *put {
                    newer.put(node(&name));
                    known.insert(name);
                } else {
                    newer.remove(name.wire());
                    known.remove(&name);
                }
            }
            let wire = |name: &Name| name.wire().to_vec();
            prop_assert_eq!(newer.last().map(|node| node.name().to_vec()), known.last().map(wire));
            for (above, below) in &asked {
                let name = name(above, below);
                let found = newer.at_or_before(name.wire()).map(|node| node.name().to_vec());
                prop_assert_eq!(found, known.range(..=name).next_back().map(wire));
            }
        }
    }
}
