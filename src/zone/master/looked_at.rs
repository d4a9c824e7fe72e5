//! What a whole zone is checked by: its owners and their RRsets, as they were just read, or as a compiled zone has them.

use crate::dns::{Name, Rtype};
use crate::zone::compiled::Zone;
use crate::zone::compiled::node::{Node, Set as CompiledSet};
use crate::zone::gathered::{Gathered, OwnerRef, SetRef, Spot};

/// All records of a zone.
pub(super) trait Records {
    type Owner<'r>: Owner<'r>
    where
        Self: 'r;

    fn owners(&self) -> impl Iterator<Item = Self::Owner<'_>>;

    /// The owner of a wire name, in any case.
    fn get(&self, name: &[u8]) -> Option<Self::Owner<'_>>;
}

/// An owner name with its RRsets.
pub(super) trait Owner<'r>: Copy {
    type Set: Set;

    /// The name as it was written.
    fn name(self) -> &'r [u8];

    fn sets(self) -> impl Iterator<Item = Self::Set> + Clone;

    /// Whether the other one is this very one.
    fn is(self, other: Self) -> bool;

    /// The name for messages.
    fn shown(self) -> String {
        Name::from_wire(self.name()).map_or_else(|e| e.to_string(), |name| name.to_string())
    }

    fn set(self, rtype: Rtype) -> Option<Self::Set> {
        self.sets().find(|set| set.rtype() == rtype)
    }

    fn has(self, rtype: Rtype) -> bool {
        self.set(rtype).is_some()
    }

    fn has_address(self) -> bool {
        self.has(Rtype::A) || self.has(Rtype::AAAA)
    }
}

/// One of its RRsets.
pub(super) trait Set: Copy {
    fn rtype(self) -> Rtype;

    fn count(self) -> usize;

    /// Where its first record stands.
    fn first(self) -> Spot;

    /// Where its last record stands.
    fn last(self) -> Spot;

    /// Gives the RDATA of each record.
    fn each(self, give: impl FnMut(&[u8]));
}

impl Records for Gathered {
    type Owner<'r> = OwnerRef<'r>;

    fn owners(&self) -> impl Iterator<Item = OwnerRef<'_>> {
        self.owners()
    }

    fn get(&self, name: &[u8]) -> Option<OwnerRef<'_>> {
        self.get(name)
    }
}

impl<'r> Owner<'r> for OwnerRef<'r> {
    type Set = SetRef<'r>;

    fn name(self) -> &'r [u8] {
        self.name()
    }

    fn sets(self) -> impl Iterator<Item = SetRef<'r>> + Clone {
        self.sets()
    }

    fn is(self, other: Self) -> bool {
        self.is(other)
    }
}

impl Set for SetRef<'_> {
    fn rtype(self) -> Rtype {
        self.rtype()
    }

    fn count(self) -> usize {
        self.count()
    }

    fn first(self) -> Spot {
        self.first()
    }

    fn last(self) -> Spot {
        self.last()
    }

    fn each(self, give: impl FnMut(&[u8])) {
        self.rdatas().for_each(give);
    }
}

/// An RRset of a compiled zone, with the node that owns it. Where it stood in a file is not known.
#[derive(Clone, Copy)]
pub(super) struct OfNode<'r>(Node<'r>, CompiledSet<'r>);

impl Records for Zone {
    type Owner<'r> = Node<'r>;

    fn owners(&self) -> impl Iterator<Item = Node<'_>> {
        self.nodes().filter(|node| node.sets().next().is_some())
    }

    fn get(&self, name: &[u8]) -> Option<Node<'_>> {
        self.any_node(&name.to_ascii_lowercase()).filter(|node| node.sets().next().is_some())
    }
}

impl<'r> Owner<'r> for Node<'r> {
    type Set = OfNode<'r>;

    fn name(self) -> &'r [u8] {
        self.written()
    }

    fn sets(self) -> impl Iterator<Item = OfNode<'r>> + Clone {
        Node::sets(self).map(move |set| OfNode(self, set))
    }

    fn is(self, other: Self) -> bool {
        self.written() == other.written()
    }
}

impl Set for OfNode<'_> {
    fn rtype(self) -> Rtype {
        self.1.rtype()
    }

    fn count(self) -> usize {
        self.1.count().into()
    }

    fn first(self) -> Spot {
        Spot::default()
    }

    fn last(self) -> Spot {
        Spot::default()
    }

    fn each(self, give: impl FnMut(&[u8])) {
        self.1.rdatas(self.0.written(), give);
    }
}
