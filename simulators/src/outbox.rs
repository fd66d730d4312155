//! What a meter has not yet been allowed to forget.
//!
//! Goes in: messages, acknowledgements, lost connections. Comes out: what to send next. Pure: no socket, no clock.
//! Must never: forget a message before its PUBACK, send two with one packet id, or overtake within one device.

use std::collections::VecDeque;

/// One message that waits for its PUBACK.
#[derive(Debug)]
pub struct Waiting<T> {
    /// Packet id of the present connection; 0 while it was not sent on it.
    pub pid: u16,
    /// It went out on an earlier connection, so DUP is due.
    pub again: bool,
    /// The bytes.
    pub payload: Vec<u8>,
    /// Whatever the owner wants back at the acknowledgement.
    pub tag: T,
}

/// Messages in order: first those in flight, then those that wait for the window.
#[derive(Debug)]
pub struct Outbox<T> {
    waiting: VecDeque<Waiting<T>>,
    in_flight: usize,
    last_pid: u16,
    window: usize,
}

impl<T> Outbox<T> {
    /// At most `window` (1 to 60,000) messages unacknowledged on the wire; any number waiting behind them.
    pub fn new(window: usize) -> Self {
        Self { waiting: VecDeque::new(), in_flight: 0, last_pid: 0, window: window.clamp(1, 60_000) }
    }

    /// Takes a message to keep until its PUBACK.
    pub fn push(&mut self, payload: Vec<u8>, tag: T) {
        self.waiting.push_back(Waiting { pid: 0, again: false, payload, tag });
    }

    /// The next message to put on the wire, with a packet id that no other in flight has; none when the window is full
    /// or nothing waits.
    pub fn next_to_send(&mut self) -> Option<&Waiting<T>> {
        if self.in_flight >= self.window || self.in_flight >= self.waiting.len() {
            return None;
        }
        let mut pid = self.last_pid;
        loop {
            pid = pid.checked_add(1).unwrap_or(1);
            if !self.waiting.iter().take(self.in_flight).any(|w| w.pid == pid) {
                break;
            }
        }
        self.last_pid = pid;
        let next = self.waiting.get_mut(self.in_flight)?;
        next.pid = pid;
        self.in_flight += 1;
        Some(next)
    }

    /// A PUBACK came: the message may be forgotten. None when nothing in flight has this packet id.
    pub fn acked(&mut self, pid: u16) -> Option<Waiting<T>> {
        let at = self.waiting.iter().take(self.in_flight).position(|w| w.pid == pid)?;
        self.in_flight -= 1;
        self.waiting.remove(at)
    }

    /// The connection is gone: everything in flight is to be sent again, in the same order, before anything newer.
    pub fn disconnected(&mut self) {
        for w in self.waiting.iter_mut().take(self.in_flight) {
            w.pid = 0;
            w.again = true;
        }
        self.in_flight = 0;
        self.last_pid = 0;
    }

    /// Everything not yet acknowledged.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Everything not yet acknowledged, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting<T>> {
        self.waiting.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(outbox: &mut Outbox<u32>) -> Vec<(u16, u32, bool)> {
        std::iter::from_fn(|| outbox.next_to_send().map(|w| (w.pid, w.tag, w.again))).collect()
    }

    #[test]
    fn nothing_is_forgotten_before_its_puback() {
        let mut outbox = Outbox::new(3);
        (1..=5).for_each(|n| outbox.push(vec![], n));
        assert_eq!(sent(&mut outbox), [(1, 1, false), (2, 2, false), (3, 3, false)]);
        assert_eq!(outbox.acked(2).map(|w| w.tag), Some(2));
        assert!(outbox.acked(2).is_none(), "a second PUBACK of the same id means nothing");
        assert_eq!(sent(&mut outbox), [(4, 4, false)]);
        outbox.disconnected();
        assert!(outbox.acked(4).is_none(), "a PUBACK belongs to its connection");
        assert_eq!(sent(&mut outbox), [(1, 1, true), (2, 3, true), (3, 4, true)]);
        for pid in 1..=3 {
            outbox.acked(pid);
        }
        assert_eq!(sent(&mut outbox), [(4, 5, false)]);
        outbox.acked(4);
        assert!(outbox.is_empty());
    }

    #[test]
    fn packet_ids_wrap_around_what_is_still_in_flight() {
        let mut outbox = Outbox::new(2);
        outbox.push(vec![], 0);
        assert_eq!(sent(&mut outbox), [(1, 0, false)]);
        for n in 1..=70_000 {
            outbox.push(vec![], n);
            let pid = outbox.next_to_send().map(|w| w.pid).unwrap();
            assert!(pid > 1);
            outbox.acked(pid);
        }
        assert_eq!(outbox.len(), 1);
    }
}
