//! The write side: rows into one transaction over ILP/HTTP, and the search for the ones that are refused.

use super::{Config, Fault, Row, config::address, row::Refusal};
use questdb::{
    ErrorCode,
    ingress::{Buffer, Protocol, Sender, SenderBuilder},
};
use std::time::Duration;

/// Below so many rows a majority of refusals proves nothing.
const TOO_FEW: usize = 8;

/// One kept-alive connection and its buffer. After DROP + CREATE of the table a new one is needed: the old one's next
/// request is acknowledged and its rows are gone.
pub struct Lane {
    sender: Sender,
    buffer: Buffer,
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lane")
    }
}

/// A row that can never be in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Which one, counted within what was sent.
    pub index: usize,
    /// Why, in fixed words.
    pub why: &'static str,
}

impl Lane {
    /// Opens a connection.
    ///
    /// # Errors
    /// When the address or the credentials cannot be used, or nobody answers.
    pub fn open(config: &Config) -> Result<Self, Fault> {
        let (host, port) = address("http", &config.http)?;
        let login = config.http_login()?;
        let build = || -> questdb::Result<Sender> {
            // Its own retrying is off: it does not retry what it should (a dropped connection), and we do both.
            let mut builder = SenderBuilder::new(Protocol::Http, host, port)
                .retry_timeout(Duration::ZERO)?
                .request_timeout(config.request_time())?;
            if let Some(login) = &login {
                builder = builder.username(&login.username)?.password(&login.password)?;
            }
            builder.build()
        };
        let sender = build().map_err(|e| fault(&e))?;
        let buffer = sender.new_buffer();
        Ok(Self { sender, buffer })
    }

    /// Sends `rows` in one transaction and returns those that cannot be encoded. Every error but
    /// [`Fault::Malformed`] means "perhaps stored": the same rows are sent again, deduplication makes them one.
    ///
    /// # Errors
    /// As above.
    pub fn send(&mut self, rows: &[Row]) -> Result<Vec<Refused>, Fault> {
        let mut refused = Vec::new();
        self.buffer.clear();
        for (index, row) in rows.iter().enumerate() {
            if let Err(why) = row.encode(&mut self.buffer) {
                refused.push(Refused { index, why });
            }
        }
        if !self.buffer.is_empty() {
            self.sender.flush_and_keep_with_flags(&self.buffer, true).map_err(|e| fault(&e))?;
        }
        Ok(refused)
    }

    /// After [`Fault::Malformed`]: sends all rows that can be stored and finds those that cannot, by halving.
    ///
    /// # Errors
    /// [`Fault::MostRefused`] when that is most of them; as [`Lane::send`] otherwise.
    pub fn sift(&mut self, rows: &[Row]) -> Result<Vec<Refused>, Fault> {
        let mut unencodable = Vec::new();
        let mut refused = Vec::new();
        halve(rows, 0, &mut refused, &mut |part, first| {
            let found = self.send(part)?;
            unencodable.extend(found.into_iter().map(|r| Refused { index: r.index + first, ..r }));
            Ok(())
        })?;
        refused.append(&mut unencodable);
        refused.sort_by_key(|r| r.index);
        Ok(refused)
    }
}

/// Calls `send` with ever smaller parts until what is refused stands alone. Stops once most are refused.
fn halve<T>(
    rows: &[T],
    first: usize,
    refused: &mut Vec<Refused>,
    send: &mut impl FnMut(&[T], usize) -> Result<(), Fault>,
) -> Result<(), Fault> {
    const SERVER: Refusal = "refused by QuestDB as malformed";
    let sent = rows.len();
    let mut parts = vec![(first, rows)];
    while let Some((at, part)) = parts.pop() {
        match send(part, at) {
            Ok(()) => {}
            Err(Fault::Malformed) if part.len() > 1 => {
                let (left, right) = part.split_at(part.len() / 2);
                parts.push((at + left.len(), right));
                parts.push((at, left));
            }
            Err(Fault::Malformed) => refused.push(Refused { index: at, why: SERVER }),
            Err(other) => return Err(other),
        }
        if refused.len() > TOO_FEW && refused.len() > sent / 2 {
            return Err(Fault::MostRefused { refused: refused.len(), sent });
        }
    }
    Ok(())
}

/// Only a clear "no" to the rows themselves is [`Fault::Malformed`]. The client's `in_doubt` says nothing over HTTP.
/// The server's words may quote a row, so they go nowhere.
fn fault(e: &questdb::Error) -> Fault {
    match e.code() {
        ErrorCode::AuthError => Fault::Credentials,
        ErrorCode::ConfigError => Fault::Config(e.msg().to_owned()),
        ErrorCode::ServerFlushError
            if e.msg().contains("\"code\":\"invalid\"") || e.msg().contains("code: invalid") =>
        {
            Fault::Malformed
        }
        ErrorCode::ServerFlushError if e.msg().contains("o space left") => {
            Fault::Unreachable("its disk is full".into())
        }
        ErrorCode::ServerFlushError => Fault::Unreachable("it failed to store a batch".into()),
        ErrorCode::SocketError => Fault::Unreachable("the connection failed".into()),
        other => Fault::Unreachable(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sift(rows: &[u32], bad: impl Fn(u32) -> bool) -> (Result<Vec<usize>, Fault>, usize) {
        let (mut refused, mut requests) = (Vec::new(), 0);
        let done = halve(rows, 0, &mut refused, &mut |part, _| {
            requests += 1;
            if part.iter().any(|r| bad(*r)) { Err(Fault::Malformed) } else { Ok(()) }
        });
        (done.map(|()| refused.iter().map(|r| r.index).collect()), requests)
    }

    #[test]
    fn the_bad_rows_are_found_and_the_good_ones_sent() {
        let rows: Vec<u32> = (0..1_000).collect();
        let (found, requests) = sift(&rows, |r| r == 0 || r == 617 || r == 999);
        assert_eq!(found.unwrap(), [0, 617, 999]);
        assert!(requests < 3 * 2 * 11, "{requests} requests");
        assert_eq!(sift(&[7], |_| true).0.unwrap(), [0]);
        assert_eq!(sift(&[], |_| true).0.unwrap(), Vec::<usize>::new());
    }

    #[test]
    fn a_table_that_refuses_everything_is_no_bad_row() {
        let rows: Vec<u32> = (0..100).collect();
        assert!(matches!(sift(&rows, |_| true).0, Err(Fault::MostRefused { .. })));
    }
}
