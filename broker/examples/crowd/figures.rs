//! Messages at a planned pace, and how long their acknowledgements took.

use crate::client::Doors;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// Measured times.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// One line of JSON: every time in microseconds, so that phases can be put together.
    pub(crate) fn print(self, what: &str) {
        let all: Vec<String> = self.0.iter().map(|t| t.as_micros().to_string()).collect();
        println!("{{\"{what}\": [{}]}}", all.join(","));
    }
}

/// RFC 3339 in UTC, by the civil calendar.
pub(crate) fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let (days, of_day) = (i64::try_from(seconds / 86_400).unwrap(), seconds % 86_400);
    // Days since 0000-03-01 in eras of 400 years; a year begins in March, so that leap days come last.
    let z = days + 719_468;
    let (era, day_of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * march + 2) / 5 + 1, if march < 10 { march + 3 } else { march - 9 });
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3_600, of_day / 60 % 60, of_day % 60)
}

/// `count` devices send `rate` messages a second in all, evenly, for `seconds`; each time runs from the planned moment.
pub(crate) async fn send(doors: Doors, count: usize, rate: usize, seconds: usize) {
    let first_seq = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap();
    let mut clients = Vec::with_capacity(count);
    for index in 0..count {
        clients.push(doors.login(index).await);
    }
    let start = Instant::now() + Duration::from_millis(200);
    let every = Duration::from_secs_f64(count as f64 / rate as f64);
    let messages = u32::try_from(rate * seconds / count).unwrap();
    let mut all = JoinSet::new();
    for (index, mut client) in clients.into_iter().enumerate() {
        let first = start + every.mul_f64(index as f64 / count as f64);
        all.spawn(async move {
            let mut times = Vec::with_capacity(messages as usize);
            for n in 0..messages {
                let planned = first + every * n;
                tokio::time::sleep_until(planned.into()).await;
                let pid = u16::try_from(n % 60_000).unwrap() + 1;
                client.publish(pid, first_seq + u64::from(n)).await;
                client.acknowledged(pid).await;
                times.push(planned.elapsed());
            }
            times
        });
    }
    let mut times = Times::default();
    while let Some(of_one) = all.join_next().await {
        of_one.unwrap().into_iter().for_each(|t| times.add(t));
    }
    times.print("puback");
}
