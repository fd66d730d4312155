//! What each device last said of itself: its birth message, and when it was heard.
//!
//! Goes in: a hello's members, checked. Comes out: the same, for whoever looks after devices.
//! Must never: believe a device's word for who it is.

use crate::{Store, StoreError};
use rusqlite::{Connection, OptionalExtension, params};
use vitals::{DeviceKey, Timestamp};

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS device_presence(device INTEGER PRIMARY KEY REFERENCES device(key), hello_at INTEGER,
    status_at INTEGER, model TEXT, firmware TEXT, battery INTEGER, last_seq INTEGER);
CREATE TABLE IF NOT EXISTS device_lost(device INTEGER PRIMARY KEY REFERENCES device(key), at INTEGER NOT NULL);
";

/// What a device said of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// When its last `hello` came.
    pub hello_at: Option<Timestamp>,
    /// When its last `status` came; the will is one.
    pub status_at: Option<Timestamp>,
    /// When its connection broke off (its will was said), where it was not heard since.
    pub lost_at: Option<Timestamp>,
    /// As it says.
    pub model: Option<String>,
    /// As it says.
    pub firmware: Option<String>,
    /// Percent.
    pub battery: Option<u8>,
    /// The highest number that it has counted.
    pub last_seq: Option<i64>,
}

impl Store {
    /// Keeps a device's hello in the place of the one before. The moments of the argument are not looked at.
    ///
    /// # Errors
    /// As every write.
    pub async fn note_hello(&self, device: DeviceKey, said: Presence) -> Result<(), StoreError> {
        let now = self.clock().now();
        self.registry
            .write(move |c| {
                c.prepare_cached(
                    "INSERT INTO device_presence(device, hello_at, model, firmware, battery, last_seq)
                     VALUES(?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT(device) DO UPDATE SET hello_at = excluded.hello_at,
                     model = excluded.model, firmware = excluded.firmware, battery = excluded.battery,
                     last_seq = excluded.last_seq",
                )?
                .execute(params![
                    device.as_i64(),
                    now.as_micros(),
                    said.model,
                    said.firmware,
                    said.battery,
                    said.last_seq
                ])?;
                found(c, device)
            })
            .await
    }

    /// Notes that a device sent a status, and the battery that it spoke of, in percent. `lost`: it was its will, so the
    /// connection broke off.
    ///
    /// # Errors
    /// As every write.
    pub async fn note_status(&self, device: DeviceKey, battery: Option<u8>, lost: bool) -> Result<(), StoreError> {
        let now = self.clock().now();
        self.registry
            .write(move |c| {
                c.prepare_cached(
                    "INSERT INTO device_presence(device, status_at, battery) VALUES(?1, ?2, ?3)
                     ON CONFLICT(device) DO UPDATE SET status_at = excluded.status_at,
                     battery = coalesce(excluded.battery, battery)",
                )?
                .execute(params![device.as_i64(), now.as_micros(), battery])?;
                if !lost {
                    return found(c, device);
                }
                c.prepare_cached("INSERT OR REPLACE INTO device_lost(device, at) VALUES(?1, ?2)")?
                    .execute(params![device.as_i64(), now.as_micros()])?;
                Ok(())
            })
            .await
    }

    /// What a device last said of itself; empty where it never did.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub async fn presence(&self, device: DeviceKey) -> Result<Presence, StoreError> {
        self.registry.read(move |c| presence(c, device)).await
    }

    /// As [`Store::presence`], for threads.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub fn presence_blocking(&self, device: DeviceKey) -> Result<Presence, StoreError> {
        self.registry.read_blocking(|c| presence(c, device))
    }
}

/// A device that was lost speaks again.
fn found(c: &Connection, device: DeviceKey) -> Result<(), StoreError> {
    c.prepare_cached("DELETE FROM device_lost WHERE device = ?1")?.execute([device.as_i64()])?;
    Ok(())
}

fn presence(c: &Connection, device: DeviceKey) -> Result<Presence, StoreError> {
    let sql = "SELECT hello_at, status_at, model, firmware, battery, last_seq, l.at
        FROM device_presence p LEFT JOIN device_lost l ON l.device = p.device WHERE p.device = ?1";
    let found = c
        .prepare_cached(sql)?
        .query_row([device.as_i64()], |r| {
            let moment = |i: usize| r.get::<_, Option<i64>>(i).map(|at| at.map(Timestamp::from_micros));
            Ok(Presence {
                hello_at: moment(0)?,
                status_at: moment(1)?,
                lost_at: moment(6)?,
                model: r.get(2)?,
                firmware: r.get(3)?,
                battery: r.get(4)?,
                last_seq: r.get(5)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}
