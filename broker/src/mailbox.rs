//! How the rest of the gate reaches one connection: a few flags and a short queue of live copies.
//!
//! Goes in: from any task. Comes out: in the connection's own task.
//! Must never: block, or grow. An idle connection's mailbox holds no heap memory.

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::Waker,
};

/// Another connection of the same device is here.
pub(crate) const TAKEN_OVER: u8 = 1;
/// The credential is no longer good.
pub(crate) const REVOKED: u8 = 2;
/// The process ends.
pub(crate) const STOP: u8 = 4;
/// Commands wait in the store.
pub(crate) const COMMANDS: u8 = 8;
/// Live copies wait here.
const COPIES: u8 = 16;

/// Live copies that wait for one service client. Full: the newest is dropped (they are at most once) and counted.
const COPIES_WAITING: usize = 256;

/// A live copy: topic and payload, shared by all who get it.
pub(crate) type Copy = Arc<(String, Bytes)>;

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    flags: AtomicU8,
    waker: AtomicWaker,
    copies: Mutex<VecDeque<Copy>>,
}

impl Mailbox {
    /// Says something to the connection.
    pub(crate) fn raise(&self, flag: u8) {
        self.flags.fetch_or(flag, Ordering::Release);
        self.waker.wake();
    }

    /// Gives a live copy; false when it was dropped.
    pub(crate) fn offer(&self, copy: Copy) -> bool {
        {
            let mut copies = self.copies.lock();
            if copies.len() >= COPIES_WAITING {
                return false;
            }
            copies.push_back(copy);
        }
        self.raise(COPIES);
        true
    }

    /// What was said since the last time. The waker is remembered first, so nothing is missed.
    pub(crate) fn take(&self, waker: &Waker) -> u8 {
        self.waker.register(waker);
        match self.flags.load(Ordering::Acquire) {
            0 => 0,
            _ => self.flags.swap(0, Ordering::AcqRel),
        }
    }

    /// One live copy.
    pub(crate) fn copy(&self) -> Option<Copy> {
        self.copies.lock().pop_front()
    }
}
