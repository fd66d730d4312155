//! What one half of the journal has in memory, found as its table finds it: by two numbers that put things side by side
//! (a week and an owner, a block of numbers and a device), and in order within them.
//!
//! Goes in: places of rows, nearly always ascending within their cluster. Comes out: a cluster, or everything in order.
//! Must never: know what a row says.

use foldhash::HashMap;
use smallvec::SmallVec;

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

/// Rows by cluster. A tree would keep them sorted at the price of a search for each; here only clusters are sorted, once.
#[derive(Debug, Default)]
pub(super) struct Clustered(HashMap<Cluster, SmallVec<[Item; 1]>>);

impl Clustered {
    pub(super) fn insert(&mut self, cluster: Cluster, (first, second): (i64, u64), at: usize) {
        let item = Item { first, second, at: u32::try_from(at).unwrap_or(u32::MAX) };
        let items = self.0.entry(cluster).or_default();
        // Nearly always the newest.
        let to = items.iter().rposition(|known| *known < item).map_or(0, |before| before + 1);
        items.insert(to, item);
    }

    pub(super) fn remove(&mut self, cluster: Cluster, (first, second): (i64, u64)) {
        if let Some(items) = self.0.get_mut(&cluster) {
            items.retain(|item| (item.first, item.second) != (first, second));
        }
    }

    /// The rows of one cluster, ascending.
    pub(super) fn items(&self, cluster: Cluster) -> &[Item] {
        self.0.get(&cluster).map_or(&[], |items| &items[..])
    }

    /// Everything, ascending.
    pub(super) fn in_order(&self) -> Vec<(Cluster, Item)> {
        let mut clusters: Vec<_> = self.0.iter().collect();
        clusters.sort_unstable_by_key(|(cluster, _)| **cluster);
        clusters.iter().flat_map(|(cluster, items)| items.iter().map(|item| (**cluster, *item))).collect()
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
            let flat: Vec<_> = ours.in_order().iter().map(|((a, b), i)| ((*a, *b, i.first, i.second), i.at())).collect();
            prop_assert_eq!(&flat, &tree.into_iter().collect::<Vec<_>>());
            for cluster in [(0, 0), (2, -2), (7, 7)] {
                let of = flat.iter().filter(|((a, b, ..), _)| (*a, *b) == cluster).map(|(_, at)| *at).collect::<Vec<_>>();
                prop_assert_eq!(ours.items(cluster).iter().map(Item::at).collect::<Vec<_>>(), of);
            }
        }
    }
}
