//! A folder for one test, and the built program run in it: with a clean environment, held to a
//! deadline, its exit code and texts as values.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use bkassoc::target::Entrance;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::server::Server;

/// Longer than anything here takes: a program that runs longer hangs.
const DEADLINE: Duration = Duration::from_mins(1);

/// The header of results (docs/reference.md, "Results").
pub const HEADER: &str = "line,obj_asst_id,inst_id,asst_inst_id,biz_id,status,association_id,reason,retryable,code,\
                          message,attempts,request_id,finished_at";

/// A line of results, or any other table, by column.
pub type Row = BTreeMap<String, String>;

/// A folder that goes when the test ends.
pub struct Workdir(tempfile::TempDir);

impl Workdir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> &Self {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The names in the folder, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The lines of a CSV file by column.
    pub fn rows(&self, name: &str) -> Vec<Row> {
        self.table(name, b',')
    }

    pub fn table(&self, name: &str, delimiter: u8) -> Vec<Row> {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).from_path(self.path(name)).unwrap();
        reader.deserialize().map(Result::unwrap).collect()
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.read(name)).unwrap()
    }

    /// The program, with these words on its command line and nothing in its environment.
    pub fn bkassoc(&self, words: &str) -> Cli {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bkassoc"));
        command.args(words.split_whitespace());
        self.clean(command)
    }

    /// The program under a shell script that ends in `"$@"`, as `ulimit -f 8; exec "$@"`.
    pub fn under(&self, script: &str, words: &str) -> Cli {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_bkassoc")]);
        command.args(words.split_whitespace());
        self.clean(command)
    }

    fn clean(&self, mut command: Command) -> Cli {
        command.env_clear().current_dir(self.0.path());
        Cli { command, stdin: None, stays_open: false }
    }
}

/// A command line under construction.
pub struct Cli {
    command: Command,
    stdin: Option<Vec<u8>>,
    stays_open: bool,
}

impl Cli {
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub fn args(mut self, words: &str) -> Self {
        self.command.args(words.split_whitespace());
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// A stdin that stays open after these bytes.
    pub fn open_stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stays_open = true;
        self.stdin(bytes)
    }

    /// Aims at a server with the sandbox's credentials, at full speed, with a short doubt.
    pub fn to(self, server: &Server) -> Self {
        self.aim(server.entrance, &server.url())
    }

    /// The same for an address.
    pub fn aim(self, entrance: Entrance, url: &str) -> Self {
        self.args(&format!("--endpoint {url} --entrance {}", entrance.as_str()))
            .args("--app-code sandbox --username admin")
            .env("BKASSOC_RATE", "unlimited")
            .env("BKASSOC_SETTLE_AFTER", "300ms")
            .env("BK_APP_SECRET", "sandbox-secret")
    }

    pub fn start(mut self) -> Running {
        let stdin = if self.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let pipes = self.command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        let (open, opened) = mpsc::channel::<()>();
        if let (Some(bytes), Some(mut pipe)) = (self.stdin, child.stdin.take()) {
            let stays_open = self.stays_open;
            thread::spawn(move || {
                // A program that ends early does not read everything.
                let _ = pipe.write_all(&bytes);
                if stays_open {
                    let _ = opened.recv();
                }
            });
        }
        let said = Arc::new(Feedback::default());
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = [
            said.clone().follow(stdout, |texts| &mut texts.stdout),
            said.clone().follow(stderr, |texts| &mut texts.stderr),
        ];
        let pid = Pid::from_child(&child);
        let (ended, exit) = mpsc::channel();
        thread::spawn(move || {
            let status = child.wait().unwrap();
            for reader in readers {
                reader.join().unwrap();
            }
            let signal = status.signal().unwrap_or_default();
            let _ = ended.send(status.code().unwrap_or(-signal));
        });
        Running { pid, said, exit, gone: false, _stdin: open }
    }

    /// Runs to the end.
    #[track_caller]
    pub fn run(self) -> Done {
        self.start().wait()
    }

    /// Runs to the end, which has to be this exit code.
    #[track_caller]
    pub fn ends(self, code: i32) -> Done {
        self.run().with(code)
    }
}

/// What a program has said so far.
#[derive(Default)]
struct Feedback {
    texts: Mutex<Texts>,
    news: Condvar,
}

#[derive(Default)]
struct Texts {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    closed: usize,
}

impl Feedback {
    fn follow(
        self: Arc<Self>,
        mut pipe: impl Read + Send + 'static,
        which: fn(&mut Texts) -> &mut Vec<u8>,
    ) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                let read = pipe.read(&mut chunk).unwrap_or(0);
                let mut texts = self.texts.lock().unwrap();
                which(&mut texts).extend_from_slice(&chunk[..read]);
                texts.closed += usize::from(read == 0);
                self.news.notify_all();
                if read == 0 {
                    return;
                }
            }
        })
    }
}

/// A running program. It is killed when this is dropped.
pub struct Running {
    pid: Pid,
    said: Arc<Feedback>,
    exit: Receiver<i32>,
    gone: bool,
    /// Keeps a stdin open as long as it lives.
    _stdin: mpsc::Sender<()>,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits until stdout or stderr holds this; the line that does.
    #[track_caller]
    pub fn until(&self, needle: &str) -> String {
        let holds = |texts: &Texts| {
            let whole = [&texts.stdout[..], b"\n", &texts.stderr[..]].concat();
            let text = String::from_utf8_lossy(&whole).into_owned();
            text.lines().find(|line| line.contains(needle)).map(str::to_owned)
        };
        let texts = self.said.texts.lock().unwrap();
        let waiting = |texts: &mut Texts| holds(texts).is_none() && texts.closed < 2;
        let (texts, _) = self.said.news.wait_timeout_while(texts, DEADLINE, waiting).unwrap();
        holds(&texts).unwrap_or_else(|| {
            let (stdout, stderr) = (lossy(&texts.stdout), lossy(&texts.stderr));
            panic!("never said {needle:?}\nstdout: {stdout}\nstderr: {stderr}")
        })
    }

    /// Waits for the end.
    #[track_caller]
    pub fn wait(mut self) -> Done {
        match self.exit.recv_timeout(DEADLINE) {
            Ok(code) => self.done(code),
            Err(error) => {
                let texts = self.said.texts.lock().unwrap();
                let (stdout, stderr) = (lossy(&texts.stdout), lossy(&texts.stderr));
                panic!("did not end: {error}\nstdout: {stdout}\nstderr: {stderr}")
            }
        }
    }

    /// Waits until this is so; a program that ends before is a failure.
    #[track_caller]
    pub fn until_true(&self, mut so: impl FnMut() -> bool) {
        while !so() {
            match self.exit.recv_timeout(Duration::from_millis(2)) {
                Err(RecvTimeoutError::Timeout) => {}
                ended => {
                    let texts = self.said.texts.lock().unwrap();
                    panic!("ended early: {ended:?}\nstderr: {}", lossy(&texts.stderr))
                }
            }
        }
    }

    /// `kill -9` once this much time has passed; `None` where the program ended before.
    pub fn kill_after(mut self, time: Duration) -> Option<Done> {
        match self.exit.recv_timeout(time) {
            Ok(code) => Some(self.done(code)),
            Err(RecvTimeoutError::Timeout) => {
                self.signal(Signal::KILL);
                let code = self.exit.recv_timeout(DEADLINE).unwrap();
                let done = self.done(code);
                (done.code != -9).then_some(done)
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn done(&mut self, code: i32) -> Done {
        self.gone = true;
        let texts = self.said.texts.lock().unwrap();
        Done { code, stdout: lossy(&texts.stdout), stderr: lossy(&texts.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.gone && self.exit.try_recv().is_err() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program that has ended.
#[derive(Debug)]
pub struct Done {
    /// The exit code; for a signal its number, negative.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// Holds both texts to containing these.
    #[track_caller]
    pub fn saying(self, needles: &[&str]) -> Self {
        for needle in needles {
            let said = self.stdout.contains(needle) || self.stderr.contains(needle);
            assert!(said, "{needle:?} is not in\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        }
        self
    }

    /// stdout as the one JSON object that it has to be.
    #[track_caller]
    pub fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.stdout);
        parsed.unwrap_or_else(|error| {
            panic!("{error}\nstdout: {}\nstderr: {}", self.stdout, self.stderr)
        })
    }
}

/// How many rows have each value in a column.
pub fn counts(rows: &[Row], column: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for row in rows {
        *counts.entry(row[column].clone()).or_default() += 1;
    }
    counts
}

/// The same, as it would be written: `created 3, failed 1`.
pub fn stats(rows: &[Row], column: &str) -> String {
    let counts = counts(rows, column).into_iter();
    counts.map(|(value, count)| format!("{value} {count}")).collect::<Vec<_>>().join(", ")
}

/// Holds results to be the rows of an input: each once, in order, with its line and its own text.
#[track_caller]
pub fn assert_conserved(results: &[Row], input: &[Row]) {
    let columns = ["obj_asst_id", "inst_id", "asst_inst_id", "biz_id"];
    assert_eq!(results.len(), input.len(), "rows out are not rows in");
    for (at, (out, row)) in results.iter().zip(input).enumerate() {
        assert_eq!(out["line"], (at + 2).to_string());
        for column in columns {
            assert_eq!(out[column], row[column], "line {}", at + 2);
        }
    }
}

/// A file with a header and these lines.
pub fn csv_of(lines: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let mut text = "obj_asst_id,inst_id,asst_inst_id,biz_id\n".to_owned();
    for line in lines {
        text.push_str(line.as_ref());
        text.push('\n');
    }
    text
}

/// Rows of the n:n association: no two collide, and each can be created.
pub fn links(count: usize) -> String {
    csv_of((0..count).map(|n| format!("{NN},{},{},1", 1 + n % 9000, 100 + n)))
}

/// The sample's associations, by their mapping.
pub const NN: &str = "bk_load_balance_connect_bk_host";
pub const ONE_N: &str = "bk_switch_belong_bk_host";
pub const ONE_ONE: &str = "bk_switch_connect_bk_switch";

/// The samples of the repository.
pub fn samples() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/samples"))
}
