//! The recount: every row of the file counted again, against the books, from one snapshot.
//!
//! Goes in: a [`Snapshot`], beside a running service or without one. Comes out: [`Recount`]. Duplicates leave no row:
//! only the books know them. Memory does not grow with devices: a day's sums say whether the day is right, and only
//! the devices of a wrong day are looked at one by one.

use super::{
    BookRow, Readings, Snapshot,
    books::{Books, Counts, after, day_number},
    keeping, lines,
    numbers::{self, Number},
    numbers_before,
    row::Row,
    tables::{self, Half, fault},
};
use crate::StoreError;
use jiff::civil::Date;
use std::collections::{BTreeMap, HashSet};
use vitals::{DeviceKey, Entry, PatientId, ReadingId, Timestamp, Zone};

/// Mismatches that are told one by one; the rest is a number.
const TOLD: usize = 100;

/// What a recount found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recount {
    /// The books of each day, over all devices, ascending.
    pub days: Vec<(Date, DayBooks)>,
    /// The books of each device of the day that was asked for.
    pub devices: Vec<BookRow>,
    /// Sums of a patient's week that were counted again.
    pub sums: u64,
    /// What does not agree: the first hundred.
    pub mismatches: Vec<Mismatch>,
    /// How much more does not agree.
    pub untold: u64,
}

/// One day over all devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DayBooks {
    pub stored: u64,
    pub duplicate: u64,
    pub quarantined: u64,
    /// Of `stored` and `quarantined`, rows that retention or an erasure has taken out since.
    pub removed: u64,
}

/// Something that does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mismatch {
    /// The books say another number than the rows.
    Count { day: Date, device: DeviceKey, what: &'static str, books: u64, rows: u64 },
    /// A number of a device that does not lead to exactly the one reading stored under it.
    Number { device: DeviceKey, epoch: u32, seq: i64, reading: ReadingId, known: Option<ReadingId> },
    /// The kept sums of this patient's days are not what the readings of that week (of seven days since 1970) come to.
    Days { week: i32, patient: PatientId },
    /// A day's sums differ though every device's agree, or numbers are known of readings that are not there.
    Sum { what: &'static str },
}

impl Mismatch {
    /// In words; `name` gives a device's public name.
    pub fn words(&self, name: impl Fn(DeviceKey) -> String) -> String {
        match self {
            Self::Count { day, device, what, books, rows } => {
                format!("{day} {}: {what} is {books} in the books, {rows} by rows", name(*device))
            }
            Self::Number { device, epoch, seq, reading, known: Some(known) } => {
                format!("{}: number {seq} of epoch {epoch} is stored twice: {known} and {reading}", name(*device))
            }
            Self::Number { device, epoch, seq, reading, known: None } => {
                format!("{}: number {seq} of epoch {epoch} is stored ({reading}) but not known", name(*device))
            }
            Self::Days { week, patient } => {
                format!("patient {patient}: the sums of week {week} are not those of the readings")
            }
            Self::Sum { what } => (*what).to_owned(),
        }
    }
}

impl Recount {
    /// How much does not agree.
    pub fn wrong(&self) -> u64 {
        self.mismatches.len() as u64 + self.untold
    }

    pub(super) fn tell(&mut self, mismatch: Mismatch) {
        if self.mismatches.len() < TOLD {
            self.mismatches.push(mismatch);
        } else {
            self.untold += 1;
        }
    }
}

/// One day, in sums that two ways of counting must share. `mark` mixes the devices in: equal marks, equal devices.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    counts: Counts,
    removed: u64,
    mark: u64,
}

impl Sum {
    fn add(&mut self, device: DeviceKey, counts: Counts) {
        self.counts += counts;
        let device = device.as_i64().cast_unsigned();
        let weighed =
            mix(device).wrapping_mul(counts.stored).wrapping_add(mix(!device).wrapping_mul(counts.quarantined));
        self.mark = self.mark.wrapping_add(weighed);
    }
}

/// Spreads a number over all bits (splitmix64).
const fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

fn number_mark(device: i64, epoch: u32, seq: i64, id: i64) -> u64 {
    let parts = [device, i64::from(epoch), seq, id];
    parts.into_iter().fold(0, |mark, part| mix(mark ^ mix(part.cast_unsigned())))
}

/// Days of moments, without asking the zone again for a moment of the same day.
struct Days<'z> {
    zone: &'z Zone,
    last: Option<(Timestamp, Timestamp, i32)>,
}

impl Days<'_> {
    fn of(&mut self, at: Timestamp) -> i32 {
        if let Some((from, to, day)) = self.last
            && at >= from
            && at < to
        {
            return day;
        }
        let date = at.day(self.zone);
        let day = day_number(date);
        if let Ok(tomorrow) = date.tomorrow() {
            self.last = Some((self.zone.start_of(date), self.zone.start_of(tomorrow), day));
        }
        day
    }
}

type Counted<'a> = dyn FnMut(i32, DeviceKey, Counts, bool) + 'a;

impl Snapshot {
    /// Counts everything again. With a `day` the books of its devices are given too.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn recount(&self, zone: &Zone, day: Option<Date>) -> Result<Recount, StoreError> {
        let mut report = Recount::default();
        let mut booked: BTreeMap<i32, Sum> = BTreeMap::new();
        let mut counted: BTreeMap<i32, Sum> = BTreeMap::new();
        self.each_booked(&mut |(day, device), counts| booked.entry(day).or_default().add(device, counts))?;
        self.each_row(zone, &mut |day, device, counts, removed| {
            let sum = counted.entry(day).or_default();
            sum.add(device, counts);
            sum.removed += if removed { counts.stored + counts.quarantined } else { 0 };
        })?;
        let mut wrong: HashSet<i32> = HashSet::new();
        for day in booked.keys().chain(counted.keys()) {
            let (b, c) = (booked.get(day).copied().unwrap_or_default(), counted.get(day).copied().unwrap_or_default());
            let same =
                (b.counts.stored, b.counts.quarantined, b.mark) == (c.counts.stored, c.counts.quarantined, c.mark);
            if !same {
                wrong.insert(*day);
            }
        }
        let released = self.released()?;
        for (number, b) in &booked {
            let Counts { stored, duplicate, quarantined } = b.counts;
            let left = released.iter().filter(|((day, _), _)| day == number).map(|(_, n)| n).sum();
            let quarantined = quarantined.saturating_sub(left);
            let removed = counted.get(number).map_or(0, |c| c.removed);
            report.days.extend(date(*number).map(|d| (d, DayBooks { stored, duplicate, quarantined, removed })));
        }
        if !wrong.is_empty() || day.is_some() {
            self.compare(zone, &wrong, day, &mut report)?;
        }
        self.recount_numbers(&mut report)?;
        self.recount_days(&mut report)?;
        Ok(report)
    }

    /// Device by device, for the days that do not agree and the one that was asked for.
    fn compare(
        &self,
        zone: &Zone,
        wrong: &HashSet<i32>,
        asked: Option<Date>,
        report: &mut Recount,
    ) -> Result<(), StoreError> {
        let asked = asked.map(day_number);
        let wanted = |day: i32| wrong.contains(&day) || Some(day) == asked;
        let (mut booked, mut counted) = (Books::new(), Books::new());
        let released = self.released()?;
        self.each_booked(&mut |key, counts| {
            if wanted(key.0) {
                *booked.entry(key).or_default() += counts;
            }
        })?;
        self.each_row(zone, &mut |day, device, counts, _| {
            if wanted(day) {
                *counted.entry((day, device)).or_default() += counts;
            }
        })?;
        let keys: std::collections::BTreeSet<_> = booked.keys().chain(counted.keys()).copied().collect();
        for key in keys {
            let (b, c) =
                (booked.get(&key).copied().unwrap_or_default(), counted.get(&key).copied().unwrap_or_default());
            let Some(day) = date(key.0) else { continue };
            for (what, books, rows) in [("stored", b.stored, c.stored), ("quarantined", b.quarantined, c.quarantined)] {
                if books != rows {
                    report.tell(Mismatch::Count { day, device: key.1, what, books, rows });
                }
            }
            if Some(key.0) == asked {
                let left = released.get(&key).copied().unwrap_or_default();
                report.devices.push(Counts { quarantined: b.quarantined.saturating_sub(left), ..b }.row(key.1));
            }
        }
        Ok(())
    }

    /// The books as they stand: the table, and what the journal's rows will add to it.
    fn each_booked(&self, f: &mut dyn FnMut((i32, DeviceKey), Counts)) -> Result<(), StoreError> {
        let c = &self.connection;
        let mut statement =
            c.prepare("SELECT day, device, stored, duplicate, quarantined FROM books").map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            let n = |i: usize| r.get::<_, i64>(i).map(i64::cast_unsigned).map_err(fault);
            let counts = Counts { stored: n(2)?, duplicate: n(3)?, quarantined: n(4)? };
            f((r.get(0).map_err(fault)?, DeviceKey::from_i64(r.get(1).map_err(fault)?)), counts);
        }
        let frozen = tables::meta(c, "frozen")?;
        for (half, n) in [(Half::Zero, 0), (Half::One, 1)] {
            let mut books = Books::new();
            lines::each(c, half, &mut |row| {
                let counts = books.entry((row.day, row.device())).or_default();
                match &row.entry {
                    Entry::Reading(_) => counts.stored += 1,
                    Entry::Held(_) => counts.quarantined += 1,
                }
                Ok(())
            })?;
            tables::each_duplicate(c, half, &mut |day, device, duplicate| {
                *books.entry((day, device)).or_default() += Counts { duplicate, ..Counts::default() };
            })?;
            if frozen == Some(n) {
                let day = tables::meta(c, "books_day")?.and_then(|d| i32::try_from(d).ok());
                after(&mut books, day.zip(tables::meta(c, "books_device")?.map(DeviceKey::from_i64)));
            }
            books.iter().for_each(|(key, counts)| f(*key, *counts));
        }
        Ok(())
    }

    /// Held entries that were replayed: they stay in the table, and are shown as what they have become.
    fn released(&self) -> Result<BTreeMap<(i32, DeviceKey), u64>, StoreError> {
        if !keeping::has_table(&self.connection, "released")? {
            return Ok(BTreeMap::new());
        }
        let sql = "SELECT day, device, count(*) FROM released GROUP BY day, device";
        let mut statement = self.connection.prepare(sql).map_err(fault)?;
        let rows = statement
            .query_map([], |r| Ok(((r.get(0)?, DeviceKey::from_i64(r.get(1)?)), r.get::<_, i64>(2)?.cast_unsigned())))
            .map_err(fault)?;
        rows.collect::<Result<_, _>>().map_err(fault)
    }

    /// Every row that is there, or was taken out and counted (`true`).
    fn each_row(&self, zone: &Zone, f: &mut Counted<'_>) -> Result<(), StoreError> {
        let mut days = Days { zone, last: None };
        let (one, held) = (Counts { stored: 1, ..Counts::default() }, Counts { quarantined: 1, ..Counts::default() });
        self.readings(&mut |r| {
            f(days.of(r.received_at), r.device, one, false);
            Ok(())
        })?;
        self.everything_held(&mut |h| {
            f(days.of(h.received_at), h.device, held, false);
            Ok(())
        })?;
        if !keeping::has_table(&self.connection, "removed")? {
            return Ok(());
        }
        let mut statement =
            self.connection.prepare("SELECT day, device, stored, quarantined FROM removed").map_err(fault)?;
        let mut rows = statement.query([]).map_err(fault)?;
        while let Some(r) = rows.next().map_err(fault)? {
            let n = |i: usize| r.get::<_, i64>(i).map(i64::cast_unsigned).map_err(fault);
            let counts = Counts { stored: n(2)?, duplicate: 0, quarantined: n(3)? };
            f(r.get(0).map_err(fault)?, DeviceKey::from_i64(r.get(1).map_err(fault)?), counts, true);
        }
        Ok(())
    }

    /// Every (device, epoch, number) is there once, and leads to its reading: the sums of both tables are the same.
    /// Those of readings that were taken out lead nowhere and are left out.
    fn recount_numbers(&self, report: &mut Recount) -> Result<(), StoreError> {
        let first = self.first;
        let (mut stored, mut known) = (0_u64, 0_u64);
        self.each_merged(&mut |r| {
            let mark = number_mark(r.device.as_i64(), r.epoch, r.seq, r.id.as_i64());
            stored = stored.wrapping_add(mark);
            Ok(())
        })?;
        let mut add = |device: DeviceKey, Number { seq, known: k }: &Number| {
            if k.id.as_i64() < first && k.fingerprint != keeping::ERASED {
                known = known.wrapping_add(number_mark(device.as_i64(), k.epoch, *seq, k.id.as_i64()));
            }
        };
        let each = if self.older_numbers { numbers_before::each } else { numbers::each };
        each(&self.connection, &mut add)?;
        let told = report.wrong();
        if stored != known {
            self.each_merged(&mut |r| {
                let lead = self.leads_to(r.device, r.epoch, r.seq)?;
                if lead != Some(r.id) {
                    let (device, epoch, seq, reading) = (r.device, r.epoch, r.seq, r.id);
                    report.tell(Mismatch::Number { device, epoch, seq, reading, known: lead });
                }
                Ok(())
            })?;
            if report.wrong() == told {
                report.tell(Mismatch::Sum { what: "numbers are known of readings that are not stored" });
            }
        }
        self.recount_fresh(report)
    }

    /// The same for what is not merged yet.
    fn recount_fresh(&self, report: &mut Recount) -> Result<(), StoreError> {
        let mut seen: BTreeMap<(DeviceKey, u32, i64), ReadingId> = BTreeMap::new();
        for half in [Half::Zero, Half::One] {
            lines::each(&self.connection, half, &mut |row: Row| {
                let Entry::Reading(r) = &row.entry else { return Ok(()) };
                let (device, epoch, seq, reading) = (r.device, r.epoch, r.seq, r.id);
                let twin = seen.insert((device, epoch, seq), reading);
                let merged = self.leads_to(device, epoch, seq)?.filter(|known| *known != reading);
                if let Some(known) = twin.or(merged) {
                    report.tell(Mismatch::Number { device, epoch, seq, reading, known: Some(known) });
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn leads_to(&self, device: DeviceKey, epoch: u32, seq: i64) -> Result<Option<ReadingId>, StoreError> {
        let known = if self.older_numbers { numbers_before::known } else { numbers::known };
        Ok(known(&self.connection, device, seq)?.into_iter().find(|k| k.epoch == epoch).map(|k| k.id))
    }

    fn each_merged(&self, f: &mut dyn FnMut(&vitals::Reading) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.merged_readings(f)
    }
}

impl Readings {
    /// [`Snapshot::recount`] of this moment: about three seconds a million rows, on this thread.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn recount(&self, zone: &Zone) -> Result<Recount, StoreError> {
        self.snapshot()?.recount(zone, None)
    }
}

fn date(number: i32) -> Option<Date> {
    let part = |n: i32| i8::try_from(n).ok();
    Date::new(i16::try_from(number / 10_000).ok()?, part(number / 100 % 100)?, part(number % 100)?).ok()
}
