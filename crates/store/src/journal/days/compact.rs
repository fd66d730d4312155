//! Sums of a patient's week in few bytes: whole numbers of variable length, in the coarsest unit that loses nothing.
//!
//! `decode(encode(x)) == x` for everything that readings can come to; what was damaged is an error, never a number.

use crate::StoreError;
use jiff::civil::Date;
use std::collections::BTreeMap;
use vitals::summary::{Glucoses, MealSlot, Pressures, Stats, Steps, Summary};

/// First byte; raised when what follows changes.
const LAYOUT: u8 = 1;
const PARTS: usize = 3;
const SLOTS: usize = MealSlot::ALL.len();
/// Bits of a day's mask: parts of the day, slots, then these.
const PRESSURE_REST: usize = PARTS + SLOTS;
const GLUCOSE_REST: usize = PRESSURE_REST + 1;
/// One class of the sensor's values, and the rest of theirs.
const SENSOR: usize = GLUCOSE_REST + 1;
const SENSOR_REST: usize = SENSOR + 1;
/// Units of numbers, coarsest first: a whole mmHg, a tenth of a mmol/L, …, a millionth.
const UNITS: [i64; 7] = [1_000_000, 100_000, 10_000, 1_000, 100, 10, 1];

pub(super) fn encode(wk: i32, days: &BTreeMap<Date, Summary>) -> Vec<u8> {
    let mut out = Out(vec![LAYOUT]);
    for (day, sums) in days {
        out.number(offset(wk, *day));
        let Summary { pressure, glucose, sensor } = sums;
        let mut mask = 0_u64;
        let mut mark = |bit: usize, there: bool| mask |= u64::from(there) << bit;
        pressure.parts.iter().enumerate().for_each(|(i, s)| mark(i, s[0].n > 0));
        glucose.slots.iter().enumerate().for_each(|(i, s)| mark(PARTS + i, s.n > 0));
        mark(PRESSURE_REST, pressure.in_target + pressure.flagged + pressure.excluded > 0);
        mark(GLUCOSE_REST, rest(glucose).iter().any(|n| *n > 0));
        mark(SENSOR, sensor.slot(MealSlot::Unsaid).n > 0);
        mark(SENSOR_REST, rest(sensor).iter().any(|n| *n > 0));
        out.number(mask);
        out.pressure(pressure, has(mask, PRESSURE_REST));
        out.glucose(glucose, has(mask, GLUCOSE_REST));
        out.glucose(sensor, has(mask, SENSOR_REST));
    }
    out.0
}

pub(super) fn decode(wk: i32, bytes: &[u8]) -> Result<Vec<(Date, Summary)>, StoreError> {
    let mut all = Vec::new();
    let mut source = match bytes.split_first() {
        Some((&LAYOUT, rest)) => In(rest),
        _ => return Err(damaged()),
    };
    while !source.0.is_empty() {
        let day = date(wk, source.number()?).ok_or_else(damaged)?;
        let mask = source.number()?;
        let pressure = source.pressure(mask)?;
        let slots = (0..SLOTS).filter(|i| has(mask, PARTS + i));
        let glucose = source.glucose(slots, has(mask, GLUCOSE_REST))?;
        let slots = has(mask, SENSOR).then_some(MealSlot::Unsaid as usize);
        let sensor = source.glucose(slots.into_iter(), has(mask, SENSOR_REST))?;
        all.push((day, Summary { pressure, glucose, sensor }));
    }
    Ok(all)
}

const fn has(mask: u64, bit: usize) -> bool {
    mask & (1 << bit) != 0
}

fn damaged() -> StoreError {
    StoreError::Database { what: "journal.db", reason: "sums of a week cannot be read".into() }
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// Days since two days before the week began: a zone is at most 14 hours from UTC.
fn offset(wk: i32, day: Date) -> u64 {
    let days = day.since(EPOCH).map_or(0, |span| i64::from(span.get_days()));
    (days - i64::from(wk) * 7 + 2).max(0).cast_unsigned()
}

fn date(wk: i32, offset: u64) -> Option<Date> {
    let days = i64::from(wk) * 7 + i64::try_from(offset).ok()? - 2;
    EPOCH.checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

/// The coarsest unit in which all of these are whole numbers, their sums of squares too.
fn unit<'a>(all: impl Iterator<Item = &'a Stats> + Clone, steps: &Steps) -> usize {
    let ends = steps.ends.unwrap_or_default();
    let fits = |unit: i64| {
        let square = i128::from(unit) * i128::from(unit);
        let whole = |n: &i64| n % unit == 0;
        all.clone().all(|s| [s.sum, s.least, s.greatest].iter().all(whole) && s.squares % square == 0)
            && [steps.sum, ends.0, ends.1].iter().all(whole)
    };
    UNITS.iter().position(|u| fits(*u)).unwrap_or(UNITS.len() - 1)
}

fn rest(g: &Glucoses) -> [u64; 10] {
    [g.above_range, g.below_range, g.very_low, g.low, g.high, g.very_high, g.risk.0, g.risk.1, g.flagged, g.excluded]
}

struct Out(Vec<u8>);

impl Out {
    /// Seven bits a byte, least first.
    fn wide(&mut self, mut n: u128) {
        loop {
            let [low, ..] = n.to_le_bytes();
            n >>= 7;
            if n == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    fn number(&mut self, n: u64) {
        self.wide(n.into());
    }

    fn signed(&mut self, n: i64) {
        self.number(((n << 1) ^ (n >> 63)).cast_unsigned());
    }

    fn stats(&mut self, s: &Stats, unit: i64) {
        let least = s.least / unit;
        self.number(s.n);
        self.signed(least);
        if s.n > 1 {
            self.number((s.greatest / unit).abs_diff(least));
        }
        if s.n > 2 {
            let (n, least) = (i128::from(s.n), i128::from(least));
            let sum = i128::from(s.sum / unit);
            let squares = s.squares / (i128::from(unit) * i128::from(unit));
            // Above the least: small numbers.
            self.wide((sum - n * least).unsigned_abs());
            self.wide((squares - 2 * least * sum + n * least * least).unsigned_abs());
        }
    }

    fn pressure(&mut self, p: &Pressures, with_rest: bool) {
        if p.count() > 0 {
            let place = unit(p.parts.iter().flatten().filter(|s| s.n > 0), &p.steps);
            self.number(place as u64);
            for s in p.parts.iter().flatten().filter(|s| s.n > 0) {
                self.stats(s, UNITS[place]);
            }
            if p.count() > 1 {
                let (first, last) = p.steps.ends.unwrap_or_default();
                [first, last, p.steps.sum].iter().for_each(|n| self.signed(n / UNITS[place]));
            }
        }
        if with_rest {
            [p.in_target, p.flagged, p.excluded].iter().for_each(|n| self.number(*n));
        }
    }

    fn glucose(&mut self, g: &Glucoses, with_rest: bool) {
        let used = || g.slots.iter().filter(|s| s.n > 0);
        if used().next().is_some() {
            let place = unit(used(), &Steps::default());
            self.number(place as u64);
            used().for_each(|s| self.stats(s, UNITS[place]));
        }
        if with_rest {
            rest(g).iter().for_each(|n| self.number(*n));
        }
    }
}

struct In<'a>(&'a [u8]);

impl In<'_> {
    fn wide(&mut self) -> Result<u128, StoreError> {
        let mut n = 0_u128;
        for shift in (0..126).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or_else(damaged)?;
            self.0 = rest;
            n |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(damaged())
    }

    fn number(&mut self) -> Result<u64, StoreError> {
        u64::try_from(self.wide()?).map_err(|_| damaged())
    }

    fn signed(&mut self) -> Result<i64, StoreError> {
        let n = self.number()?;
        Ok((n >> 1).cast_signed() ^ -((n & 1).cast_signed()))
    }

    fn in_unit(&mut self, unit: i64) -> Result<i64, StoreError> {
        self.signed()?.checked_mul(unit).ok_or_else(damaged)
    }

    fn unit(&mut self) -> Result<i64, StoreError> {
        let place = usize::try_from(self.number()?).map_err(|_| damaged())?;
        UNITS.get(place).copied().ok_or_else(damaged)
    }

    fn stats(&mut self, unit: i64) -> Result<Stats, StoreError> {
        let n = self.number()?;
        let least = self.in_unit(unit)?;
        let above = if n > 1 { i64::try_from(self.number()?).map_err(|_| damaged())? } else { 0 };
        let greatest = above.checked_mul(unit).and_then(|above| least.checked_add(above)).ok_or_else(damaged)?;
        let wide = i128::from;
        let (sum, squares) = match n {
            0 => return Err(damaged()),
            1 => (wide(least), wide(least) * wide(least)),
            2 => (wide(least) + wide(greatest), wide(least) * wide(least) + wide(greatest) * wide(greatest)),
            n => {
                let base = wide(least / unit);
                let mut next = || self.wide().and_then(|n| i128::try_from(n).map_err(|_| damaged()));
                let (sum, squares) = (next()?, next()?);
                let n = i128::from(n);
                let whole = sum.checked_add(n * base).ok_or_else(damaged)?;
                let squares = squares.checked_add(2 * base * whole - n * base * base).ok_or_else(damaged)?;
                let square = wide(unit) * wide(unit);
                (whole.checked_mul(wide(unit)).ok_or_else(damaged)?, squares.checked_mul(square).ok_or_else(damaged)?)
            }
        };
        Ok(Stats { n, sum: i64::try_from(sum).map_err(|_| damaged())?, squares, least, greatest })
    }

    fn pressure(&mut self, mask: u64) -> Result<Pressures, StoreError> {
        let mut p = Pressures::default();
        if (0..PARTS).any(|i| has(mask, i)) {
            let unit = self.unit()?;
            for part in (0..PARTS).filter(|i| has(mask, *i)) {
                p.parts[part] = [self.stats(unit)?, self.stats(unit)?];
            }
            p.steps = if p.count() > 1 {
                let ends = Some((self.in_unit(unit)?, self.in_unit(unit)?));
                Steps { ends, sum: self.in_unit(unit)? }
            } else {
                let only = p.all()[0].least;
                Steps { ends: Some((only, only)), sum: 0 }
            };
        }
        if has(mask, PRESSURE_REST) {
            (p.in_target, p.flagged, p.excluded) = (self.number()?, self.number()?, self.number()?);
        }
        Ok(p)
    }

    fn glucose(&mut self, slots: impl Iterator<Item = usize>, with_rest: bool) -> Result<Glucoses, StoreError> {
        let mut g = Glucoses::default();
        let mut slots = slots.peekable();
        if slots.peek().is_some() {
            let unit = self.unit()?;
            for slot in slots {
                g.slots[slot] = self.stats(unit)?;
            }
        }
        if with_rest {
            let mut next = || self.number();
            (g.above_range, g.below_range) = (next()?, next()?);
            (g.very_low, g.low, g.high, g.very_high) = (next()?, next()?, next()?, next()?);
            g.risk = (next()?, next()?);
            (g.flagged, g.excluded) = (next()?, next()?);
        }
        Ok(g)
    }
}
