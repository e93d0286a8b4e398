//! `serve` under load, as clients of all kinds see it.

mod browser;

use crate::tuned::Case;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tungstenite::Message;

/// A server that is ended when the test ends.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(case: &Case, arguments: &[&str]) -> Server {
        let mut child = case
            .command("serve")
            .args(["--port", "0"])
            .args(arguments)
            .spawn()
            .expect("the executable starts");
        let mut said = BufReader::new(child.stderr.take().expect("it is a pipe"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(
                said.read_line(&mut line).expect("it is text") > 0,
                "it ended before it listened"
            );
            if let Some((_, address)) = line.trim().split_once("listening on http://") {
                break address.to_string();
            }
        };
        // What it says later is read, so that it never waits for it.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Server { child, address }
    }

    /// Status and body of an answer.
    fn ask(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.open();
        stream.write_all(request).expect("it takes requests");
        let mut all = String::new();
        stream.read_to_string(&mut all).expect("it answers");
        let status = all.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let body = all.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, body.to_string())
    }

    fn open(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(120)))
            .expect("a sound time");
        stream
    }

    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse().ok());
        number.expect("the system tells")
    }

    fn signal(&self) {
        // SAFETY: the process is this test's own child.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A form with a file and a format.
fn form(file: &Path, format: &str) -> Vec<u8> {
    let name = file.file_name().expect("a file").to_string_lossy().into_owned();
    let mut body = format!(
        "--b\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\n{format}\r\n--b\r\nContent-Disposition: \
         form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n"
    )
    .into_bytes();
    body.extend(std::fs::read(file).expect("it is there"));
    body.extend(b"\r\n--b--\r\n");
    let mut request = format!(
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: multipart/form-data; \
         boundary=b\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    request
}

/// Clients that ask at once, some of whom never end their request or go before they are answered.
#[test]
fn many_clients_at_once_get_what_the_command_gives_and_memory_stays() {
    let case = Case::shared();
    let texts = case.texts();
    let mut server = Server::start(case, &["--queue", "100", "--timeout", "600"]);
    let requests: Vec<Vec<u8>> = (0..12)
        .map(|i| form(&case.dir.join(format!("data/{i}.wav")), "text"))
        .collect();
    let slow: Vec<TcpStream> = (0..8)
        .map(|i| {
            let mut stream = server.open();
            stream
                .write_all(&requests[i][..200 + 1000 * i])
                .expect("it takes requests");
            stream
        })
        .collect();
    let round = || {
        std::thread::scope(|scope| {
            for client in 0..64 {
                let (server, requests, texts) = (&server, &requests, &texts);
                scope.spawn(move || {
                    if client % 8 == 7 {
                        // It goes before it is answered.
                        let mut stream = server.open();
                        stream.write_all(&requests[client % 12]).expect("it takes requests");
                        return;
                    }
                    for turn in 0..2 {
                        let which = (client + 5 * turn) % 12;
                        let (status, body) = server.ask(&requests[which]);
                        assert_eq!((status, body.trim_end()), (200, texts[which].as_str()));
                    }
                });
            }
        });
    };
    // The first rounds bring batches and the allocator's arenas to their largest, and after that memory goes up and down. What
    // requests leave behind would grow all the time: 4 kB of each are 8 % of this server in 15 rounds.
    let resident: Vec<u64> = (0..45)
        .map(|_| {
            round();
            server.resident()
        })
        .collect();
    let least = |rounds: std::ops::Range<usize>| *resident[rounds].iter().min().expect("there are rounds");
    let (before, after) = (least(15..30), least(30..45));
    assert!(after < before + before / 100 * 8, "kB after each round: {resident:?}");
    // Those that went are noticed; those that never end are still waited for.
    let begun = Instant::now();
    loop {
        let (_, metrics) = server.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let line = |l: &str| {
            l.strip_prefix("w2vc_requests_in_progress ")?
                .trim()
                .parse::<usize>()
                .ok()
        };
        let taken = metrics.lines().find_map(line).unwrap_or_else(|| panic!("{metrics}"));
        if taken == 8 {
            break;
        }
        assert!(taken > 8 && begun.elapsed() < Duration::from_secs(60), "{metrics}");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(slow);
    server.signal();
    assert!(server.child.wait().expect("it ends").success());
}

#[test]
fn curl_gets_subtitles_and_events() {
    let case = Case::shared();
    let curl = Command::new("curl").arg("--version").output();
    assert!(curl.is_ok(), "curl is not installed: scripts/setup.sh installs it");
    let server = Server::start(case, &[]);
    let url = format!("http://{}/v1/audio/transcriptions", server.address);
    let curl = |fields: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60"]).current_dir(&case.dir);
        fields.iter().for_each(|f| {
            command.args(["-F", f]);
        });
        let out = command.arg(&url).stdin(Stdio::null()).output().expect("curl starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let file = "file=@data/5.wav";
    let text = &case.texts()[5];
    let srt = curl(&[file, "response_format=srt"]);
    let own = crate::commands::assert_ok(case.run(&["--format", "srt", "data/5.wav"]));
    assert_eq!(srt, own);
    let verbose: Value = serde_json::from_str(&curl(&[
        file,
        "response_format=verbose_json",
        "timestamp_granularities[]=word",
        "timestamp_granularities[]=segment",
    ]))
    .expect("JSON");
    assert_eq!(verbose["text"], text.as_str());
    let words: Vec<&str> = verbose["words"]
        .as_array()
        .expect("words")
        .iter()
        .filter_map(|w| w["word"].as_str())
        .collect();
    assert_eq!(words.join(" "), *text);
    for field in [
        "id",
        "seek",
        "start",
        "end",
        "text",
        "tokens",
        "temperature",
        "avg_logprob",
        "compression_ratio",
        "no_speech_prob",
    ] {
        assert!(verbose["segments"][0].get(field).is_some(), "{field}: {verbose}");
    }
    // A recording of several windows comes in pieces.
    let wav = std::fs::read(case.dir.join("data/5.wav")).expect("it is there");
    let mut long = wav[..44].to_vec();
    for _ in 0..20 {
        long.extend(&wav[44..]);
    }
    let bytes = (long.len() - 44) as u32;
    long[4..8].copy_from_slice(&(bytes + 36).to_le_bytes());
    long[40..44].copy_from_slice(&bytes.to_le_bytes());
    std::fs::write(case.dir.join("long-served.wav"), long).expect("the folder is writable");
    let stream = curl(&["file=@long-served.wav", "stream=true"]);
    let events: Vec<Value> = stream
        .lines()
        .filter_map(|l| serde_json::from_str(l.strip_prefix("data: ")?).ok())
        .collect();
    let deltas: String = events.iter().filter_map(|e| e["delta"].as_str()).collect();
    let done = events.last().expect("there are events");
    assert_eq!(
        (&done["type"], &done["text"]),
        (&"transcript.text.done".into(), &deltas.into())
    );
    let whole = case.lines(&["long-served.wav"]);
    assert_eq!(done["text"], whole[0].1);
}

#[test]
fn a_websocket_hears_what_listen_hears() {
    let case = Case::shared();
    // How long it may take to stop is no limit for what is said while it does not.
    let server = Server::start(case, &["--grace", "0"]);
    let wav = std::fs::read(case.dir.join("data/5.wav")).expect("it is there");
    let stream = server.open();
    let url = format!("ws://{}/v1/audio/stream?rate=8000", server.address);
    let (mut socket, _) = tungstenite::client(url, stream).expect("it is a WebSocket");
    for piece in wav[44..].chunks(3001) {
        socket.send(Message::binary(piece.to_vec())).expect("it takes samples");
    }
    socket
        .send(Message::text(r#"{"type": "finish"}"#))
        .expect("it takes the end");
    let mut events: Vec<Value> = vec![];
    while let Ok(Message::Text(text)) = socket.read() {
        events.push(serde_json::from_str(&text).expect("JSON"));
    }
    assert_eq!(events.pop().expect("an end")["type"], "done");
    let mut listen = case.command("listen");
    listen.args(["--rate", "8000", "--json"]).stdin(Stdio::piped());
    let mut child = listen.spawn().expect("the executable starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(&wav[44..])
        .expect("it listens");
    let own = crate::commands::assert_ok(child.wait_with_output().expect("it ends"));
    let own: Vec<Value> = own.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(events, own);
    // A page of another site.
    let url = format!("ws://{}/v1/audio/stream", server.address);
    let mut request = tungstenite::client::IntoClientRequest::into_client_request(url).expect("a sound address");
    request
        .headers_mut()
        .insert("origin", "http://elsewhere".parse().expect("a sound name"));
    assert!(tungstenite::client(request, server.open()).is_err());
}

/// The page in a browser: a file goes up, words come with colours, subtitles can be saved.
#[test]
fn a_person_gets_words_and_subtitles_in_a_browser() {
    let case = Case::shared();
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let Some(mut page) = browser::Page::start(folder.path()) else {
        // Past what the test harness keeps to itself.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the page of serve was tried in no browser (install chromium)"
        );
        return;
    };
    let server = Server::start(case, &[]);
    page.open(&format!("http://{}/", server.address));
    page.choose_file("#file", &case.dir.join("data/5.wav"));
    let begun = Instant::now();
    while page.text("document.querySelectorAll('.word').length") == "0" {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{}",
            page.text("document.body.innerText")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let words = page.text("[...document.querySelectorAll('.word')].map(w => w.textContent).join(' ')");
    assert_eq!(words, case.texts()[5]);
    assert_eq!(
        page.text("[...document.querySelectorAll('.word')].every(w => w.style.background.includes('rgba'))"),
        "true"
    );
    let srt = page.text("subtitles()");
    assert!(srt.starts_with("1\n00:00:0") && srt.contains(" --> 00:00:0"), "{srt}");
    assert_eq!(page.text("document.getElementById('srt').disabled"), "false");
    assert_eq!(page.text("document.documentElement.scrollWidth > innerWidth"), "false");
    assert!(page.screenshot().len() > 10_000, "the screenshot is nearly empty");
    // What is wrong is told in words.
    std::fs::write(folder.path().join("no.wav"), "RIFF").expect("the temporary folder is writable");
    page.choose_file("#file", &folder.path().join("no.wav"));
    while !page
        .text("document.getElementById('state').className")
        .contains("error")
    {
        assert!(
            begun.elapsed() < Duration::from_secs(90),
            "{}",
            page.text("document.body.innerText")
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(
        page.text("document.getElementById('state').textContent")
            .contains("no.wav")
    );
}
