//! Chromium, driven as a person drives it: pages are loaded, clicked, typed into and looked at.
//!
//! Speaks Chrome's remote protocol over two pipes: no port, and no crate for it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};

use crate::workdir::Workdir;

/// One window. It is closed when this is dropped.
pub struct Browser {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    sent: u64,
    /// What the page complained of: errors, warnings, and anything that it logs.
    pub complaints: Vec<String>,
}

impl Browser {
    /// `None` where Chromium is not installed.
    pub fn start(work: &Workdir) -> Option<Self> {
        let installed = Command::new("chromium").arg("--version").output().is_ok();
        if !installed {
            return None;
        }
        // It reads from 3 and writes to 4. A browser that hangs is no reason for tests to hang.
        let script = "exec timeout 120 chromium \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut process = Command::new("sh")
            .args(["-c", script, "sh", "--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", work.path("browser").display()))
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = process.stdin.take().unwrap();
        let from = BufReader::new(process.stdout.take().unwrap());
        let (session, sent, complaints) = (None, 0, Vec::new());
        let mut browser = Self { process, to, from, session, sent, complaints };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &target);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), &json!({}));
        }
        Some(browser)
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.sent += 1;
        let mut message = json!({"id": self.sent, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let mut answer = self.next_message();
            if answer["id"] == self.sent {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    fn next_message(&mut self) -> Value {
        let mut bytes = Vec::new();
        self.from.read_until(0, &mut bytes).unwrap();
        assert_eq!(bytes.pop(), Some(0), "Chromium is gone");
        let message: Value = serde_json::from_slice(&bytes).unwrap();
        let method = message["method"].as_str().unwrap_or_default();
        let params = &message["params"];
        let asks = params["request"]["url"].as_str().unwrap_or_default();
        let complains = match method {
            "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded" => true,
            // A page of ours asks nobody for anything.
            "Network.requestWillBeSent" => params["documentURL"] != asks,
            _ => false,
        };
        if complains {
            self.complaints.push(message.to_string());
        }
        message
    }

    /// Loads a page, in a window of so many pixels, and waits until it is there.
    pub fn load(&mut self, work: &Workdir, page: &str, width: u32) {
        let window =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", &window);
        // From another page, since a new fragment alone loads nothing.
        for address in ["about:blank", &format!("file://{}", work.path(page).display())] {
            self.call("Page.navigate", &json!({"url": address}));
            while self.next_message()["method"] != "Page.loadEventFired" {}
        }
    }

    /// What an expression of JavaScript is in the page.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", &asked);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// Clicks into the middle of an element, with the mouse.
    pub fn click(&mut self, selector: &str) {
        let place = self.evaluate(&format!(
            "(() => {{ const e = document.querySelector('{selector}'); e.scrollIntoView({{block: 'center'}});
               const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        ));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({
                "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1,
            });
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// Types into what has the focus.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", &json!({"text": text}));
    }

    /// Turns to `light` or `dark`, on `screen` or in `print`.
    pub fn show_as(&mut self, medium: &str, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", &json!({"media": medium, "features": features}));
    }

    /// The whole page as a PNG.
    pub fn picture(&mut self) -> Vec<u8> {
        let size = self.call("Page.getLayoutMetrics", &json!({}))["cssContentSize"].take();
        let clip =
            json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let shot = json!({"captureBeyondViewport": true, "clip": clip});
        decoded(&self.call("Page.captureScreenshot", &shot))
    }

    /// The page on A4, without backgrounds: a PDF.
    pub fn print(&mut self) -> Vec<u8> {
        let paper = json!({"printBackground": false, "paperWidth": 8.27, "paperHeight": 11.69});
        decoded(&self.call("Page.printToPDF", &paper))
    }
}

fn decoded(answer: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(answer["data"].as_str().unwrap()).unwrap()
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
