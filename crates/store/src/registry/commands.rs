//! Commands that wait for a device: `resend`, `remeasure`, `time` and the like, until the device acknowledged them.
//!
//! Goes in: the JSON that is to be sent, with its end. Comes out: what is still waiting, in the order it was given.
//! Must never: know what a command says. Delivery is at least once; a command that expired is never sent.

use crate::{Store, StoreError};
use rusqlite::{Connection, params};
use std::sync::Arc;
use tokio::sync::watch;
use vitals::{DeviceKey, Timestamp};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS device_command(sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
    device INTEGER NOT NULL, body TEXT NOT NULL, expires_at INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS device_command_waiting ON device_command(device, sequence) WHERE done = 0;
CREATE INDEX IF NOT EXISTS device_command_expiry ON device_command(expires_at);
";

/// Most commands that wait for one device; the oldest give way, since a newer one knows more.
const WAITING_PER_DEVICE: i64 = 256;

/// One command for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCommand {
    /// Unique; the same id again is the same command.
    pub id: String,
    /// Who shall hear it.
    pub device: DeviceKey,
    /// The JSON that is sent.
    pub body: String,
    /// From then on it is no longer sent.
    pub expires_at: Timestamp,
}

/// Wakes those who deliver. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct CommandBell(Arc<watch::Sender<u64>>);

impl Default for CommandBell {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl CommandBell {
    /// To be called after the commit of a transaction in which [`insert_command`] was used.
    pub(crate) fn ring(&self) {
        self.0.send_modify(|n| *n += 1);
    }
}

/// Adds a command, and takes away those that give way to it, within a transaction of somebody else; whoever does that rings
/// the bell after the commit.
pub(crate) fn insert_command(c: &Connection, command: &DeviceCommand) -> Result<(), StoreError> {
    let added = c
        .prepare_cached("INSERT OR IGNORE INTO device_command(id, device, body, expires_at) VALUES(?1, ?2, ?3, ?4)")?
        .execute(params![command.id, command.device.as_i64(), command.body, command.expires_at.as_micros()])?;
    if added > 0 {
        c.prepare_cached(
            "DELETE FROM device_command WHERE done = 0 AND device = ?1 AND sequence <= (
               SELECT sequence FROM device_command WHERE done = 0 AND device = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
        )?
        .execute(params![command.device.as_i64(), WAITING_PER_DEVICE])?;
    }
    Ok(())
}

/// Expired commands are of no use to anybody; done ones are kept until then, so that a repeat is recognised.
fn purge(c: &Connection, now: Timestamp) -> Result<(), StoreError> {
    c.prepare_cached("DELETE FROM device_command WHERE expires_at < ?1")?.execute([now.as_micros()])?;
    Ok(())
}

impl Store {
    /// Puts a command into the device's queue.
    ///
    /// # Errors
    /// As every write.
    pub async fn queue_command(&self, command: DeviceCommand) -> Result<(), StoreError> {
        self.queue_commands(vec![command]).await
    }

    /// Puts commands into their devices' queues, all of them in one transaction.
    ///
    /// # Errors
    /// As every write.
    pub async fn queue_commands(&self, commands: Vec<DeviceCommand>) -> Result<(), StoreError> {
        let (now, bell) = (self.clock().now(), self.registry.commands().clone());
        self.registry
            .write_then(
                move |c| {
                    purge(c, now)?;
                    commands.iter().try_for_each(|command| insert_command(c, command))
                },
                move |()| bell.ring(),
            )
            .await
    }

    /// What waits for `device` at `now`, in the order it was given.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn pending_commands(&self, device: DeviceKey, now: Timestamp) -> Result<Vec<DeviceCommand>, StoreError> {
        self.registry
            .read(move |c| {
                let mut statement = c.prepare_cached(
                    "SELECT id, body, expires_at FROM device_command
                     WHERE done = 0 AND device = ?1 AND expires_at > ?2 ORDER BY sequence",
                )?;
                let rows = statement.query_map(params![device.as_i64(), now.as_micros()], |r| {
                    let expires_at = Timestamp::from_micros(r.get(2)?);
                    Ok(DeviceCommand { id: r.get(0)?, device, body: r.get(1)?, expires_at })
                })?;
                rows.map(|r| Ok(r?)).collect()
            })
            .await
    }

    /// The device acknowledged it; it is not sent again.
    ///
    /// # Errors
    /// As every write.
    pub async fn command_done(&self, id: &str) -> Result<(), StoreError> {
        let (id, now) = (id.to_owned(), self.clock().now());
        self.registry
            .write(move |c| {
                c.prepare_cached("UPDATE device_command SET done = 1 WHERE id = ?1")?.execute([id])?;
                purge(c, now)
            })
            .await
    }

    /// Devices for which something was added after `sequence`, and the sequence reached.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn commanded_after(&self, sequence: i64) -> Result<(Vec<DeviceKey>, i64), StoreError> {
        self.registry
            .read(move |c| {
                let mut statement =
                    c.prepare_cached("SELECT sequence, device FROM device_command WHERE sequence > ?1 AND done = 0")?;
                let (mut devices, mut reached) = (Vec::new(), sequence);
                let mut rows = statement.query([sequence])?;
                while let Some(row) = rows.next()? {
                    reached = reached.max(row.get(0)?);
                    devices.push(DeviceKey::from_i64(row.get(1)?));
                }
                devices.sort_unstable();
                devices.dedup();
                Ok((devices, reached))
            })
            .await
    }

    /// Changes whenever a command was added.
    pub fn command_changes(&self) -> watch::Receiver<u64> {
        self.registry.commands().0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::{Clock, Drain};

    fn command(id: &str, device: i64, expires: i64) -> DeviceCommand {
        let device = DeviceKey::from_i64(device);
        DeviceCommand { id: id.into(), device, body: "{}".into(), expires_at: Timestamp::from_seconds(expires) }
    }

    fn ids(commands: &[DeviceCommand]) -> Vec<&str> {
        commands.iter().map(|c| c.id.as_str()).collect()
    }

    #[tokio::test]
    async fn a_command_waits_until_it_is_acknowledged_or_expires() {
        let folder = tempfile::tempdir().unwrap();
        let (_handle, drain) = Drain::new();
        let clock = Clock::manual(Timestamp::from_seconds(100));
        let store = Store::open(folder.path(), clock, &drain).unwrap();
        let mut changes = store.command_changes();
        for c in [command("a", 1, 200), command("b", 1, 110), command("a", 1, 200), command("c", 2, 200)] {
            store.queue_command(c).await.unwrap();
        }
        assert!(changes.has_changed().unwrap(), "who delivers is woken");
        changes.mark_unchanged();
        let pending =
            async |at| store.pending_commands(DeviceKey::from_i64(1), Timestamp::from_seconds(at)).await.unwrap();
        assert_eq!(ids(&pending(100).await), ["a", "b"], "in order, the repeat is one");
        assert_eq!(ids(&pending(110).await), ["a"], "b has expired");
        store.command_done("a").await.unwrap();
        assert!(pending(110).await.is_empty());
        store.queue_command(command("a", 1, 200)).await.unwrap();
        assert!(pending(110).await.is_empty(), "what was acknowledged is not sent again");
        let (devices, reached) = store.commanded_after(0).await.unwrap();
        assert_eq!(devices, [DeviceKey::from_i64(1), DeviceKey::from_i64(2)]);
        assert_eq!(store.commanded_after(reached).await.unwrap(), (Vec::new(), reached));
    }

    #[tokio::test]
    async fn a_device_that_never_listens_does_not_fill_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (_handle, drain) = Drain::new();
        let store = Store::open(folder.path(), Clock::manual(Timestamp::from_seconds(100)), &drain).unwrap();
        for n in 0..WAITING_PER_DEVICE + 3 {
            store.queue_command(command(&n.to_string(), 1, 200)).await.unwrap();
        }
        let waiting = store.pending_commands(DeviceKey::from_i64(1), Timestamp::from_seconds(100)).await.unwrap();
        assert_eq!(waiting.len(), usize::try_from(WAITING_PER_DEVICE).unwrap());
        assert_eq!(waiting[0].id, "3", "the oldest gave way");
        let rows = "SELECT count(*) FROM device_command";
        let rows: i64 = store.registry.read(move |c| Ok(c.query_row(rows, [], |r| r.get(0))?)).await.unwrap();
        assert_eq!(rows, WAITING_PER_DEVICE, "and is gone");
    }
}
