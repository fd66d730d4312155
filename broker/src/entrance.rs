//! Who may begin: how many may be between their first byte and their login, and how fast they are taken in when
//! everybody comes back at once.
//!
//! Goes in: an address, for each connection. Comes out: a place, and the moment when its handshake may begin.
//! Must never: let one address be felt by another. Addresses take turns; when there are too many strangers, it is the
//! address with the most of them that loses one.

use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep},
};

/// Who is one: an IPv4 address, or the 64 bits of an IPv6 address that one household gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Origin(u64);

impl Origin {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4))),
            // Never the same as an IPv4 address: those have nothing in their upper half.
            IpAddr::V6(v6) => Self((u128::from(v6) >> 64) as u64 | 1 << 63),
        }
    }
}

/// Those who are not logged in yet, by where they come from. At most `most`, each with its own end to be called.
#[derive(Default)]
struct Crowd {
    by_origin: HashMap<Origin, VecDeque<(u64, oneshot::Sender<()>)>>,
    /// Every origin with its number, so that the largest is at hand.
    largest: BTreeSet<(usize, Origin)>,
    number: usize,
    last: u64,
}

impl Crowd {
    fn count(&self, origin: Origin) -> usize {
        self.by_origin.get(&origin).map_or(0, VecDeque::len)
    }

    fn resize(&mut self, origin: Origin, before: usize, after: usize) {
        self.largest.remove(&(before, origin));
        if after > 0 {
            self.largest.insert((after, origin));
        } else {
            self.by_origin.remove(&origin);
        }
        self.number = self.number + after - before;
    }

    /// Makes room if there is none: the origin with the most loses its oldest, unless that is the newcomer's own.
    fn make_room(&mut self, newcomer: Origin, most: usize) -> bool {
        if self.number < most {
            return true;
        }
        let Some(&(count, loser)) = self.largest.last() else { return false };
        if count <= self.count(newcomer) + 1 {
            return false;
        }
        if let Some((_, end)) = self.by_origin.get_mut(&loser).and_then(VecDeque::pop_front) {
            let _ = end.send(());
        }
        self.resize(loser, count, count - 1);
        true
    }

    fn enter(&mut self, origin: Origin) -> (u64, oneshot::Receiver<()>) {
        let (end, ended) = oneshot::channel();
        self.last += 1;
        let all = self.by_origin.entry(origin).or_default();
        all.push_back((self.last, end));
        let after = all.len();
        self.resize(origin, after - 1, after);
        (self.last, ended)
    }

    fn leave(&mut self, origin: Origin, id: u64) {
        let Some(all) = self.by_origin.get_mut(&origin) else { return };
        let before = all.len();
        // Usually the oldest: they go in the order in which they came.
        all.retain(|(known, _)| *known != id);
        let after = all.len();
        self.resize(origin, before, after);
    }
}

/// All strangers of a gate.
#[derive(Clone, Default)]
pub(crate) struct Strangers(Arc<Mutex<Crowd>>);

/// The place of one stranger; given back when dropped, which is at its login or at its end.
pub(crate) struct Place {
    crowd: Strangers,
    origin: Origin,
    id: u64,
    ended: oneshot::Receiver<()>,
}

impl Strangers {
    /// A place among at most `most`; none when there is none for this origin.
    pub(crate) fn enter(&self, origin: Origin, most: usize) -> Option<Place> {
        let mut crowd = self.0.lock();
        if !crowd.make_room(origin, most) {
            return None;
        }
        let (id, ended) = crowd.enter(origin);
        drop(crowd);
        Some(Place { crowd: self.clone(), origin, id, ended })
    }
}

impl Place {
    /// Returns when somebody else needs the place.
    pub(crate) async fn lost(&mut self) {
        if (&mut self.ended).await.is_err() {
            std::future::pending().await
        }
    }

    pub(crate) const fn origin(&self) -> Origin {
        self.origin
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.0.lock().leave(self.origin, self.id);
    }
}

/// So many a second, and as many at once; more wait, and their origins take turns.
pub(crate) struct Turnstile {
    rate: f64,
    queue: Mutex<Queue>,
    more: Notify,
}

struct Queue {
    tokens: f64,
    at: Instant,
    /// In the order of their turns; each has somebody waiting.
    turns: VecDeque<Origin>,
    /// Bounded by the strangers: each waits once.
    waiting: HashMap<Origin, VecDeque<oneshot::Sender<()>>>,
}

/// Between two looks while somebody waits.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Turnstile {
    /// `rate` a second; 0 is no limit.
    pub(crate) fn new(rate: u32) -> Self {
        let rate = f64::from(rate);
        let queue = Queue { tokens: rate, at: Instant::now(), turns: VecDeque::new(), waiting: HashMap::new() };
        Self { rate, queue: Mutex::new(queue), more: Notify::new() }
    }

    /// Returns when it is this one's turn.
    pub(crate) async fn pass(&self, origin: Origin) {
        if self.rate == 0.0 {
            return;
        }
        let turn = {
            let mut queue = self.queue.lock();
            queue.fill(self.rate, Instant::now());
            if queue.turns.is_empty() && queue.tokens >= 1.0 {
                queue.tokens -= 1.0;
                return;
            }
            queue.wait(origin)
        };
        self.more.notify_one();
        let _ = turn.await;
    }

    /// Gives turns, for ever.
    pub(crate) async fn turn(&self) {
        loop {
            self.more.notified().await;
            while self.give(Instant::now()) {
                sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Gives as many turns as there are tokens; whether somebody still waits.
    fn give(&self, now: Instant) -> bool {
        let mut queue = self.queue.lock();
        queue.fill(self.rate, now);
        while queue.tokens >= 1.0 {
            let Some(turn) = queue.next() else { return false };
            // Who has given up meanwhile costs nothing.
            if turn.send(()).is_ok() {
                queue.tokens -= 1.0;
            }
        }
        !queue.turns.is_empty()
    }
}

impl Queue {
    fn fill(&mut self, rate: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = passed.mul_add(rate, self.tokens).min(rate);
        self.at = now;
    }

    fn wait(&mut self, origin: Origin) -> oneshot::Receiver<()> {
        let (turn, given) = oneshot::channel();
        let line = self.waiting.entry(origin).or_default();
        if line.is_empty() {
            self.turns.push_back(origin);
        }
        line.push_back(turn);
        given
    }

    /// The next origin's first; the origin goes to the end.
    fn next(&mut self) -> Option<oneshot::Sender<()>> {
        let origin = self.turns.pop_front()?;
        let line = self.waiting.get_mut(&origin)?;
        let first = line.pop_front();
        if line.is_empty() {
            self.waiting.remove(&origin);
        } else {
            self.turns.push_back(origin);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn home(n: u8) -> Origin {
        Origin::of(IpAddr::V4(Ipv4Addr::new(10, 0, 0, n)))
    }

    #[test]
    fn a_household_is_one_origin() {
        let v6 = |last: u16, net: u16| Origin::of(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, net, 1, 2, 3, last)));
        assert_eq!(v6(1, 7), v6(2, 7));
        assert_ne!(v6(1, 7), v6(1, 8));
        let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped());
        assert_eq!(Origin::of(mapped), home(1));
    }

    #[tokio::test]
    async fn the_address_with_the_most_strangers_loses_one() {
        let strangers = Strangers::default();
        let mut crowd: Vec<Place> = (0..9).map(|_| strangers.enter(home(1), 10).unwrap()).collect();
        let quiet = strangers.enter(home(2), 10).unwrap();
        assert!(strangers.enter(home(1), 10).is_none(), "it is full, and this address has the most");
        let newcomer = strangers.enter(home(3), 10).unwrap();
        crowd[0].lost().await; // its oldest
        let second = strangers.enter(home(2), 10).unwrap();
        crowd[1].lost().await;
        drop((crowd, quiet, newcomer, second));
        let crowd = strangers.0.lock();
        assert!(crowd.number == 0 && crowd.by_origin.is_empty() && crowd.largest.is_empty());
    }

    #[test]
    fn addresses_take_turns_and_who_gives_up_costs_nothing() {
        let (turnstile, start) = (Turnstile::new(10), Instant::now());
        let (mut storm, gone, mut late) = {
            let mut queue = turnstile.queue.lock();
            (queue.tokens, queue.at) = (0.0, start);
            let storm: Vec<_> = (0..100).map(|_| queue.wait(home(1))).collect();
            (storm, queue.wait(home(2)), queue.wait(home(3)))
        };
        drop(gone);
        assert!(turnstile.give(start + Duration::from_millis(201)));
        late.try_recv().unwrap();
        let served = storm.iter_mut().filter_map(|turn| turn.try_recv().ok()).count();
        assert_eq!(served, 1, "two turns: one for the storm, one for the other");
        assert!(turnstile.give(start + Duration::from_secs(60)), "no more are saved up than one second's");
        assert_eq!(storm.iter_mut().filter_map(|turn| turn.try_recv().ok()).count(), 10);
        assert!(turnstile.queue.lock().waiting.len() == 1, "only the storm waits still");
    }

    #[tokio::test]
    async fn a_storm_is_taken_in_at_the_rate() {
        let turnstile = Arc::new(Turnstile::new(200));
        let giving = turnstile.clone();
        let giver = tokio::spawn(async move { giving.turn().await });
        let begun = Instant::now();
        let all: Vec<_> = (0..300)
            .map(|_| {
                let turnstile = turnstile.clone();
                tokio::spawn(async move { turnstile.pass(home(1)).await })
            })
            .collect();
        for one in all {
            one.await.unwrap();
        }
        // 200 at once, the others at 200 a second, and none is forgotten.
        assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
        giver.abort();
    }
}
