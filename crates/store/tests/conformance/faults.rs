//! A front before QuestDB's HTTP port that fails when it is told to, in the ways that servers, proxies and cables do.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

/// What becomes of one batch of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This answer, and nothing stored.
    Status(u16),
    /// Read whole, then the connection ends without an answer: nothing stored.
    DropUnstored,
    /// Stored, then the connection ends without an answer.
    DropStored,
    /// Read whole, then silence.
    Hang,
    /// "Taken": and nothing stored, as after a power cut.
    LoseAcked,
    /// "Malformed", naming line 1, as for a request that holds one bad row.
    Refuse,
}

type Plan = dyn Fn(&Request<'_>) -> Option<Fault> + Send + Sync;

/// One batch of rows on its way.
pub struct Request<'a> {
    /// Counted from 0.
    pub number: usize,
    pub body: &'a [u8],
}

pub struct Failing {
    pub address: String,
    faults: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

struct Front {
    upstream: String,
    plan: Box<Plan>,
    requests: AtomicUsize,
    faults: Arc<AtomicUsize>,
}

/// The head as it came, and the body.
struct Message {
    head: String,
    body: Vec<u8>,
}

impl Failing {
    pub fn before(upstream: &str, plan: impl Fn(&Request<'_>) -> Option<Fault> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (faults, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let front = Arc::new(Front {
            upstream: upstream.to_owned(),
            plan: Box::new(plan),
            requests: AtomicUsize::new(0),
            faults: faults.clone(),
        });
        let over = ended.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(SeqCst) {
                    return;
                }
                let front = front.clone();
                std::thread::spawn(move || front.serve(client));
            }
        });
        Self { address, faults, ended }
    }

    /// How many were met.
    pub fn faults(&self) -> usize {
        self.faults.load(SeqCst)
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        self.ended.store(true, SeqCst);
        let _ = TcpStream::connect(&self.address);
    }
}

impl Front {
    /// One connection of the client, until either end has enough of it. Every fault of it is the client's to bear.
    fn serve(&self, mut client: TcpStream) -> Option<()> {
        let mut server = TcpStream::connect(&self.upstream).ok()?;
        let mut from_client = BufReader::new(client.try_clone().ok()?);
        let mut from_server = BufReader::new(server.try_clone().ok()?);
        loop {
            let request = read(&mut from_client)?;
            let write = request.head.starts_with("POST /write") || request.head.starts_with("POST /api/v2/write");
            let fault = if write {
                let number = self.requests.fetch_add(1, SeqCst);
                (self.plan)(&Request { number, body: &request.body })
            } else {
                None
            };
            self.faults.fetch_add(usize::from(fault.is_some()), SeqCst);
            let mut forward = || {
                server.write_all(request.head.as_bytes()).ok()?;
                server.write_all(&request.body).ok()?;
                read(&mut from_server)
            };
            let answer = match fault {
                None => {
                    let answer = forward()?;
                    [answer.head.into_bytes(), answer.body].concat()
                }
                Some(Fault::DropStored) => {
                    forward()?;
                    return None;
                }
                Some(Fault::DropUnstored) => return None,
                Some(Fault::Hang) => {
                    // Until the client gives up.
                    client.set_read_timeout(Some(Duration::from_secs(120))).ok()?;
                    let _ = client.read(&mut [0]);
                    return None;
                }
                Some(Fault::LoseAcked) => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
                Some(Fault::Status(code)) => said(code, "text/plain", "no"),
                Some(Fault::Refuse) => said(
                    400,
                    "application/json",
                    r#"{"code":"invalid","message":"failed to parse line protocol","line":1,"errorId":"1"}"#,
                ),
            };
            client.write_all(&answer).ok()?;
        }
    }
}

fn said(code: u16, kind: &str, text: &str) -> Vec<u8> {
    format!("HTTP/1.1 {code} Such\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

/// A request or an answer: what `content-length` says, or chunks to their end.
fn read(from: &mut BufReader<TcpStream>) -> Option<Message> {
    let (mut head, mut length, mut chunked) = (String::new(), 0, false);
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(n) = lower.strip_prefix("content-length:") {
            length = n.trim().parse().ok()?;
        }
        chunked |= lower.starts_with("transfer-encoding:") && lower.contains("chunked");
        head.push_str(&line);
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    while chunked && !body.ends_with(b"0\r\n\r\n") {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line).ok()?;
        body.extend(line);
    }
    Some(Message { head, body })
}
