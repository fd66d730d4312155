//! Commands waiting for a device. (The broker's owner completes this module; `findings` needs the type and the insert.)

use crate::StoreError;
use rusqlite::{Connection, params};
use vitals::{DeviceKey, Timestamp};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS device_command(sequence INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, device INTEGER NOT NULL,
    body TEXT NOT NULL, expires_at INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS device_command_waiting ON device_command(device) WHERE done = 0;
";

/// Something asked of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCommand {
    /// Stable identity; the same id twice is one command.
    pub id: String,
    /// Of which device.
    pub device: DeviceKey,
    /// The JSON that is sent.
    pub body: String,
    /// Not sent after this.
    pub expires_at: Timestamp,
}

/// Queues a command inside a transaction of another module; the same id twice is one command.
pub(crate) fn insert_command(c: &Connection, command: &DeviceCommand) -> Result<(), StoreError> {
    c.prepare_cached("INSERT OR IGNORE INTO device_command(id, device, body, expires_at) VALUES(?1, ?2, ?3, ?4)")?.execute(params![
        command.id,
        command.device.as_i64(),
        command.body,
        command.expires_at.as_micros()
    ])?;
    Ok(())
}
