//! A headless Chromium, told what to do by its DevTools protocol.

use serde_json::{Value, json};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tungstenite::{Message, WebSocket};

pub struct Page {
    child: Child,
    socket: WebSocket<TcpStream>,
    calls: u64,
}

impl Page {
    /// `None` where there is no browser.
    pub fn start(folder: &Path) -> Option<Page> {
        let works = |b: &&str| {
            Command::new(b)
                .arg("--version")
                .output()
                .is_ok_and(|o| o.status.success())
        };
        let browser = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find(works)?;
        let profile = folder.join("profile");
        let child = Command::new(browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--window-size=1000,800",
            ])
            .args(["--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let begun = Instant::now();
        let port = loop {
            let told = std::fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
            if let Some(port) = told.lines().next().and_then(|l| l.parse::<u16>().ok()) {
                break port;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "Chromium does not start");
            std::thread::sleep(Duration::from_millis(50));
        };
        let target = first_page(port);
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let (socket, _) = tungstenite::client(target, stream).expect("it speaks the protocol");
        let mut page = Page {
            child,
            socket,
            calls: 0,
        };
        page.call("Page.enable", json!({}));
        Some(page)
    }

    /// What a method gives.
    fn call(&mut self, method: &str, params: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let message = json!({ "id": id, "method": method, "params": params });
        self.socket
            .send(Message::text(message.to_string()))
            .expect("it takes calls");
        loop {
            let Message::Text(text) = self.socket.read().expect("it answers") else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).expect("JSON");
            if answer["id"] == id {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        let begun = Instant::now();
        while self.text("document.readyState + location.protocol") != "completehttp:" {
            assert!(begun.elapsed() < Duration::from_secs(60), "the page does not load");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A value of the page as text.
    pub fn text(&mut self, expression: &str) -> String {
        let found = self.call(
            "Runtime.evaluate",
            json!({ "expression": format!("String({expression})") }),
        );
        found["result"]["value"].as_str().unwrap_or_default().to_string()
    }

    pub fn choose_file(&mut self, selector: &str, path: &Path) {
        let document = self.call("DOM.getDocument", json!({}));
        let root = &document["root"]["nodeId"];
        let found = self.call("DOM.querySelector", json!({ "nodeId": root, "selector": selector }));
        self.call(
            "DOM.setFileInputFiles",
            json!({ "nodeId": found["nodeId"], "files": [path] }),
        );
    }

    /// A PNG in base64.
    pub fn screenshot(&mut self) -> String {
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        shot["data"].as_str().unwrap_or_default().to_string()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the first tab listens.
fn first_page(port: u16) -> String {
    use std::io::{Read, Write};
    let begun = Instant::now();
    loop {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a sound time");
        let request = format!("GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it takes requests");
        let mut all = vec![];
        // It may keep the connection open.
        let _ = stream.read_to_end(&mut all);
        let all = String::from_utf8_lossy(&all).into_owned();
        let body = all.split_once("\r\n\r\n").map_or("", |(_, b)| b);
        let pages: Vec<Value> = serde_json::from_str(body).unwrap_or_default();
        let page = pages.iter().find(|p| p["type"] == "page");
        if let Some(url) = page.and_then(|p| p["webSocketDebuggerUrl"].as_str()) {
            return url.to_string();
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "Chromium has no page: {all}");
    }
}
