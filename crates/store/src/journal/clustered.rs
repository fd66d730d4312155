//! What one half of the journal has in memory, found as its table finds it: by two numbers that put things side by side
//! (a week and an owner, a block of numbers and a device), and in order within them.
//!
//! Goes in: places of rows, nearly always ascending within their cluster. Comes out: a cluster, or everything in order.
//! Must never: know what a row says.

use foldhash::HashMap;
use smallvec::SmallVec;
use std::collections::{
    BTreeSet,
    hash_map::Entry::{Occupied, Vacant},
};

/// What stands before every key of a cluster.
pub(super) type Cluster = (i64, i64);

/// A row within its cluster, ordered by what else is in its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) first: i64,
    pub(super) second: u64,
    /// Which row.
    at: u32,
}

impl Item {
    pub(super) const fn at(&self) -> usize {
        self.at as usize
    }
}

/// A place in the order of everything.
pub(super) type Position = (Cluster, (i64, u64));

/// Rows by cluster. A tree of all rows would cost a search for each; this one is of clusters only, of which many rows share
/// one. Nothing is sorted later: whoever waits for a commit would wait for that too.
#[derive(Debug, Default)]
pub(super) struct Clustered {
    items: HashMap<Cluster, SmallVec<[Item; 1]>>,
    order: BTreeSet<Cluster>,
}

impl Clustered {
    pub(super) fn insert(&mut self, cluster: Cluster, (first, second): (i64, u64), at: usize) {
        let item = Item { first, second, at: u32::try_from(at).unwrap_or(u32::MAX) };
        let items = match self.items.entry(cluster) {
            Occupied(found) => found.into_mut(),
            Vacant(empty) => {
                self.order.insert(cluster);
                empty.insert(SmallVec::new())
            }
        };
        // Nearly always the newest.
        let to = items.iter().rposition(|known| *known < item).map_or(0, |before| before + 1);
        items.insert(to, item);
    }

    pub(super) fn remove(&mut self, cluster: Cluster, (first, second): (i64, u64)) {
        if let Some(items) = self.items.get_mut(&cluster) {
            items.retain(|item| (item.first, item.second) != (first, second));
        }
    }

    /// The rows of one cluster, ascending.
    pub(super) fn items(&self, cluster: Cluster) -> &[Item] {
        self.items.get(&cluster).map_or(&[], |items| &items[..])
    }

    /// Everything that comes after `position`, ascending.
    pub(super) fn after(&self, position: Option<Position>) -> impl Iterator<Item = (Position, usize)> + '_ {
        let from = position.map_or((i64::MIN, i64::MIN), |(cluster, _)| cluster);
        self.order.range(from..).flat_map(move |cluster| {
            let items = self.items(*cluster);
            let passed = position.filter(|(at, _)| at == cluster);
            let first = passed.map_or(0, |(_, key)| items.partition_point(|i| (i.first, i.second) <= key));
            items[first..].iter().map(|item| ((*cluster, (item.first, item.second)), item.at()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_finds_what_a_tree_finds(
            steps in proptest::collection::vec((0..3_i64, -2..2_i64, 0..9_i64, 0..3_u64, any::<bool>()), 0..80),
        ) {
            let (mut ours, mut tree) = (Clustered::default(), BTreeMap::new());
            for (at, (a, b, first, second, in_it)) in steps.into_iter().enumerate() {
                ours.remove((a, b), (first, second));
                tree.remove(&(a, b, first, second));
                if in_it {
                    ours.insert((a, b), (first, second), at);
                    tree.insert((a, b, first, second), at);
                }
            }
            let flat: Vec<_> = ours.after(None).map(|(((a, b), (c, d)), at)| ((a, b, c, d), at)).collect();
            prop_assert_eq!(&flat, &tree.into_iter().collect::<Vec<_>>());
            for (n, ((a, b, c, d), _)) in flat.iter().enumerate() {
                let rest: Vec<_> = ours.after(Some(((*a, *b), (*c, *d)))).map(|(_, at)| at).collect();
                prop_assert_eq!(rest, flat[n + 1..].iter().map(|(_, at)| *at).collect::<Vec<_>>());
            }
            for cluster in [(0, 0), (2, -2), (7, 7)] {
                let of = flat.iter().filter(|((a, b, ..), _)| (*a, *b) == cluster).map(|(_, at)| *at).collect::<Vec<_>>();
                prop_assert_eq!(ours.items(cluster).iter().map(Item::at).collect::<Vec<_>>(), of);
            }
        }
    }
}
