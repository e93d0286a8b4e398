//! A server over the fake model, spoken to in plain HTTP.

use super::*;
use crate::engine::engine;
use crate::fake::FakeSession;
use crate::live::{Right, ShapeFlags};
use crate::texts::{OutputFlags, SearchFlags};
use crate::trainer::{Transcriber, test_weights};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::Ordering;

struct Server {
    port: u16,
    service: Arc<Service>,
    failed: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<(), Error>>,
    engine: std::thread::JoinHandle<()>,
    /// Whether the engine computes; it does not as long as this is there.
    stalled: Option<std::sync::mpsc::Sender<()>>,
}

fn start(limits: Limits) -> Server {
    let mut server = stalled(limits);
    server.stalled = None;
    server
}

/// A server whose engine computes nothing yet.
fn stalled(limits: Limits) -> Server {
    let (engine, ear) = engine();
    let (stalled, go) = std::sync::mpsc::channel::<()>();
    let (give, get) = std::sync::mpsc::channel();
    let engine = std::thread::spawn(move || {
        let tmp = tempfile::tempdir().unwrap();
        let weights = test_weights(tmp.path());
        let mut session = FakeSession::default();
        let artifact = session.artifact.clone();
        let mut transcriber = Transcriber::new(&mut session, &weights, &[]).unwrap();
        let finder = transcriber
            .finder(&SearchFlags::default(), &OutputFlags::default())
            .unwrap();
        give.send((artifact, transcriber.hearing(), finder)).unwrap();
        let _ = go.recv();
        engine.run(&mut transcriber, &mut |_| {}).unwrap();
    });
    let (artifact, hearing, finder) = get.recv().unwrap();
    let flags = ShapeFlags {
        right: Right::Seconds(0.1),
        ..ShapeFlags::default()
    };
    let shape = Shape::new(&flags, &artifact, hearing.geometry());
    let parts = (hearing, Arc::new(finder), shape);
    let service = Arc::new(Service::new("fake".into(), parts, limits, ear, Arc::default()).unwrap());
    let listener = listen("127.0.0.1", 0).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (failed, own) = (service.failed(), service.clone());
    let thread = std::thread::spawn(move || run(own, listener, &Signals::default()));
    Server {
        port,
        service,
        failed,
        thread,
        engine,
        stalled: Some(stalled),
    }
}

/// Waits until it is so, for as long as a slow machine needs.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn limits() -> Limits {
    Limits {
        upload: 100_000,
        places: 2,
        idle: Duration::from_millis(400),
        grace: Duration::from_secs(5),
    }
}

impl Server {
    fn open(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn ask(&self, request: &[u8]) -> (u16, String) {
        let mut stream = self.open();
        // A server that refuses may close before all is sent.
        let _ = stream.write_all(request);
        answer(stream)
    }

    fn stop(self) {
        self.failed.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap();
        drop(self.stalled);
        // The service is still there.
        self.engine.join().unwrap();
    }
}

/// Status and body.
fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut all = vec![];
    let _ = stream.read_to_end(&mut all);
    let all = String::from_utf8_lossy(&all).into_owned();
    let status = all.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = all.split_once("\r\n\r\n").map_or("", |(_, b)| b).to_string();
    (status, body)
}

fn wav(samples: usize) -> Vec<u8> {
    let bytes = 2 * samples as u32;
    let mut out = b"RIFF".to_vec();
    out.extend((36 + bytes).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
    out.extend(bytes.to_le_bytes());
    out.extend((0..samples).flat_map(|i| ((i * 37 % 2000) as i16).to_le_bytes()));
    out
}

fn form(fields: &[(&str, &str)], file: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![];
    for (name, value) in fields {
        body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    if let Some(file) = file {
        body.extend(b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"mine.wav\"\r\n\r\n");
        body.extend(file);
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    body
}

fn head(length: usize) -> Vec<u8> {
    format!(
        "POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: multipart/form-data; \
         boundary=b\r\nContent-Length: {length}\r\n\r\n"
    )
    .into_bytes()
}

fn post(fields: &[(&str, &str)], file: Option<&[u8]>) -> Vec<u8> {
    let body = form(fields, file);
    [head(body.len()), body].concat()
}

fn get_of(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

#[test]
fn what_is_wrong_is_said_in_openais_form() {
    let server = start(limits());
    let wave = wav(3000);
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        (get_of("/nowhere"), 404, "transcriptions"),
        (get_of(TRANSCRIPTIONS), 405, "method"),
        (get_of("/v1/models/other"), 404, "`fake`"),
        (post(&[], None), 400, "no `file`"),
        (post(&[], Some(b"")), 400, "empty"),
        (post(&[], Some(b"this is no recording")), 400, "mine.wav"),
        (post(&[], Some(&wave[..40])), 400, "mine.wav"),
        (post(&[("response_format", "docx")], Some(&wave)), 400, "verbose_json"),
        (post(&[], Some(&vec![0; 150_000])), 413, "--max-upload"),
        (post(&[], Some(&vec![0; 300_000])), 413, "--max-upload"),
        ([head(100), b"no form".to_vec()].concat(), 408, "in time"),
    ];
    for (request, status, part) in cases {
        let (got, body) = server.ask(&request);
        assert_eq!(got, status, "{part}: {body}");
        let error: Value = serde_json::from_str(&body).unwrap_or_else(|e| panic!("{e}: {body}"));
        let error = &error["error"];
        assert!(error["message"].as_str().unwrap().contains(part), "{part}: {error}");
        assert!(error["type"].is_string() && error.get("param").is_some() && error.get("code").is_some());
        assert!(!error["message"].as_str().unwrap().contains("w2vc-serve-"), "{error}");
    }
    // A form that breaks off.
    let mut stream = server.open();
    stream.write_all(&post(&[], Some(&wave))[..500]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (status, _) = answer(stream);
    assert!([0, 400].contains(&status), "{status}");
    // And all is well after that.
    let (status, body) = server.ask(&post(&[], Some(&wave)));
    assert_eq!(status, 200, "{body}");
    assert_eq!(std::fs::read_dir(server.service.folder.path()).unwrap().count(), 0);
    server.stop();
}

#[test]
fn answers_have_the_forms_that_were_asked_for() {
    let server = start(limits());
    let wave = wav(3000);
    let ask = |fields: &[(&str, &str)]| {
        let (status, body) = server.ask(&post(fields, Some(&wave)));
        assert_eq!(status, 200, "{body}");
        body
    };
    let plain: Value = serde_json::from_str(&ask(&[("model", "x")])).unwrap();
    let text = plain["text"].as_str().unwrap();
    assert_eq!(ask(&[("response_format", "text")]), format!("{text}\n"));
    assert!(ask(&[("response_format", "vtt")]).starts_with("WEBVTT"));
    let verbose: Value = serde_json::from_str(&ask(&[
        ("response_format", "verbose_json"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
    ]))
    .unwrap();
    assert_eq!(verbose["text"], plain["text"]);
    assert_eq!(verbose["duration"], 0.1875);
    assert!(verbose["words"].is_array() && verbose["segments"].is_array());
    let stream = ask(&[("stream", "true")]);
    assert!(stream.contains("\"type\":\"transcript.text.done\""), "{stream}");
    let (status, body) = server.ask(&get_of("/v1/models"));
    assert!(status == 200 && body.contains("\"id\":\"fake\""), "{body}");
    assert!(server.ask(&get_of("/health")).1.contains("ok"));
    assert!(
        server
            .ask(&get_of("/metrics"))
            .1
            .contains("w2vc_requests_total{status=\"200\"}")
    );
    assert!(server.ask(&get_of("/")).1.contains("<title>"));
    server.stop();
}

#[test]
fn when_all_places_are_taken_one_is_told_to_come_later_and_slow_ones_lose_theirs() {
    let server = start(limits());
    let wave = wav(3000);
    let whole = post(&[], Some(&wave));
    // Two that begin and do not go on.
    let mut slow: Vec<TcpStream> = (0..2).map(|_| server.open()).collect();
    slow.iter_mut().for_each(|s| s.write_all(&whole[..300]).unwrap());
    while server.service.places.available_permits() > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (status, body) = server.ask(&whole);
    assert_eq!(status, 429, "{body}");
    assert!(body.contains("rate_limit_exceeded"), "{body}");
    for stream in slow {
        assert_eq!(answer(stream).0, 408);
    }
    assert_eq!(server.ask(&whole).0, 200);
    // One that says nothing at all is not waited for either.
    let silent = server.open();
    assert_eq!(answer(silent).1, "");
    server.stop();
}

#[test]
fn who_is_being_answered_when_it_stops_is_answered() {
    let server = start(Limits {
        idle: Duration::from_secs(5),
        ..limits()
    });
    let whole = post(&[], Some(&wav(3000)));
    let mut stream = server.open();
    stream.write_all(&whole[..300]).unwrap();
    while server.service.places.available_permits() == 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    server.failed.store(true, Ordering::Relaxed);
    while !server.service.stopping.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(TcpStream::connect(("127.0.0.1", server.port)).is_err());
    stream.write_all(&whole[300..]).unwrap();
    assert_eq!(answer(stream).0, 200);
    server.stop();
}

#[test]
fn a_place_is_taken_until_the_work_ends_though_the_client_has_gone() {
    let mut server = stalled(limits());
    let mut stream = server.open();
    stream.write_all(&post(&[], Some(&wav(3000)))).unwrap();
    until("it is received", || {
        std::fs::read_dir(server.service.folder.path()).unwrap().count() == 1
    });
    // It may go before its recording is whole, which ends it at once.
    std::thread::sleep(Duration::from_millis(300));
    drop(stream);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(server.service.places.available_permits(), 1);
    server.stalled = None;
    until("the work ends", || server.service.places.available_permits() == 2);
    server.stop();
}

#[test]
fn it_stops_in_time_whatever_is_still_computed() {
    let grace = Duration::from_millis(50);
    let server = stalled(Limits { grace, ..limits() });
    let folder = server.service.folder.path().to_path_buf();
    let mut stream = server.open();
    stream.write_all(&post(&[], Some(&wav(3000)))).unwrap();
    until("it is received", || server.service.places.available_permits() == 1);
    let begun = std::time::Instant::now();
    server.failed.store(true, Ordering::Relaxed);
    until("it ends", || server.thread.is_finished());
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(!folder.exists());
    server.stop();
}

#[test]
fn a_stream_that_nobody_listens_to_is_not_computed() {
    let server = stalled(limits());
    let wanted = job::Wanted::default();
    let given_up = wanted.given_up(&server.service);
    drop(wanted);
    // The engine computes nothing, so that whoever asks it waits for ever.
    let outcome = socket::heard(&server.service, vec![0; 3_200_000], &given_up);
    assert!(outcome.unwrap_err().to_string().contains("nobody"));
    server.stop();
}

#[test]
fn nothing_is_read_or_computed_for_nobody() {
    let server = start(limits());
    let path = server.service.folder.path().join("a.wav");
    std::fs::write(&path, wav(300_000)).unwrap();
    let wanted = job::Wanted::default();
    let given_up = wanted.given_up(&server.service);
    let hear = || job::transcribe(&server.service, (&path, "a.wav"), false, &given_up, &mut |_| {});
    assert!(hear().is_ok());
    drop(wanted);
    let error = hear().unwrap_err().body().to_string();
    assert!(error.contains("nobody waits"), "{error}");
    server.stop();
}

#[test]
fn who_drips_loses_the_place_too() {
    let server = start(limits());
    let whole = post(&[], Some(&wav(3000)));
    let mut stream = server.open();
    stream.write_all(&whole[..300]).unwrap();
    let mut sent = 300;
    // Never silent for as long as `idle`, and never done.
    until("it is refused", || {
        std::thread::sleep(Duration::from_millis(40));
        let _ = stream.write_all(&whole[sent..sent + 1]);
        sent += 1;
        server.service.places.available_permits() == 2
    });
    // What it sent last may have cut off the answer.
    let status = answer(stream).0;
    assert!([0, 408].contains(&status), "{status}");
    server.stop();
}

#[test]
fn what_memory_is_missing_for_is_refused_before_it_is_computed() {
    let server = start(limits());
    let path = server.service.folder.path().join("a.wav");
    std::fs::write(&path, wav(40_000)).unwrap();
    let wanted = job::Wanted::default();
    let given_up = wanted.given_up(&server.service);
    let hear = |times| job::transcribe(&server.service, (&path, "a.wav"), times, &given_up, &mut |_| {});
    assert!(hear(true).is_ok());
    let _all = server.service.room.fill();
    assert!(hear(false).is_ok());
    let error = hear(true).unwrap_err().body().to_string();
    assert!(error.contains("try again later"), "{error}");
    server.stop();
}
