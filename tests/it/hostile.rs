//! A hostile server: whatever it sends, the run stays small and ends, each row is one clean line of the
//! results, and nobody else is called.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use bkassoc::target::Entrance;

use crate::raw::{Raw, http, ok, refusal};
use crate::server::Server;
use crate::workdir::{Done, NN, Row, Workdir, csv_of};

/// Far more memory than a run needs, and far less than the server sends.
const SMALL: &str = "ulimit -v 600000; exec \"$@\"";

const ONCE: &str =
    "import in.csv --max-attempts 1 --settle-after 10ms --timeout 2s --max-outage 3s";

/// Imports rows from a server under a limit of memory.
fn import(raw: &Raw, rows: usize) -> (Done, Workdir) {
    let work = Workdir::new();
    work.write("in.csv", csv_of((0..rows).map(|n| format!("{NN},{},{},1", 1 + n, 100 + n))));
    let done = work.under(SMALL, ONCE).aim(Entrance::Esb, &raw.url()).run();
    assert!(!done.stderr.contains("this is a bug"), "{done:?}");
    (done, work)
}

/// The one line of results of a row whose create is answered with these bytes.
fn line_for(answer: impl Into<Vec<u8>>) -> Row {
    let raw = Raw::answering_creates_with(answer);
    let (done, work) = import(&raw, 1);
    assert!([3, 4].contains(&done.code), "{done:?}");
    let mut rows = work.rows("in.results.csv");
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

#[test]
fn a_body_of_a_gibibyte_is_not_taken_in() {
    for announced in ["Content-Length: 1073741824", "Transfer-Encoding: chunked"] {
        let raw = Raw::serve(move |asked, stream| {
            if !asked.is_create() {
                return stream.write_all(&asked.honest()).is_ok();
            }
            let head = format!("HTTP/1.1 200 OK\r\n{announced}\r\n\r\n");
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
            let mut alive = stream.write_all(head.as_bytes()).is_ok();
            let mut left = 1 << 14;
            while alive && left > 0 {
                alive = stream.write_all(chunk.as_bytes()).is_ok();
                left -= 1;
            }
            false
        });
        let (done, work) = import(&raw, 1);
        assert_eq!(done.code, 4, "{done:?}");
        assert_eq!(work.rows("in.results.csv")[0]["reason"], "outcome-unknown");
    }
}

#[test]
fn headers_without_end_are_not_taken_in() {
    let raw = Raw::serve(|asked, stream| {
        if !asked.is_create() {
            return stream.write_all(&asked.honest()).is_ok();
        }
        let mut alive = stream.write_all(b"HTTP/1.1 200 OK\r\n").is_ok();
        let header = format!("X-More: {}\r\n", "y".repeat(8000));
        let mut left = 1 << 17;
        while alive && left > 0 {
            alive = stream.write_all(header.as_bytes()).is_ok();
            left -= 1;
        }
        false
    });
    let (done, work) = import(&raw, 1);
    assert_eq!(done.code, 4, "{done:?}");
    assert_eq!(work.rows("in.results.csv")[0]["reason"], "outcome-unknown");
}

#[test]
fn an_answer_that_only_drips_ends_with_the_time_of_a_call() {
    let (_forever, pause) = std::sync::mpsc::channel::<()>();
    let pause = std::sync::Mutex::new(pause);
    let raw = Raw::serve(move |asked, stream| {
        if !asked.is_create() {
            return stream.write_all(&asked.honest()).is_ok();
        }
        let mut alive =
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").is_ok();
        // A byte now and then, until the client has gone.
        while alive {
            let _ = pause.lock().unwrap().recv_timeout(Duration::from_millis(50));
            alive = stream.write_all(b" ").is_ok();
        }
        false
    });
    let (done, work) = import(&raw, 1);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(work.rows("in.results.csv")[0]["message"].contains("2s"));
}

#[test]
fn a_redirect_is_not_followed() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let location = format!("Location: http://{}/\r\n", other.local_addr().unwrap());
    for status in [301, 302, 303, 307, 308] {
        let answer = http(status, &location, "");
        let raw = Raw::serve(move |_, stream| stream.write_all(&answer).is_ok());
        let (done, _) = import(&raw, 1);
        assert_eq!(done.code, 8, "{done:?}");
        let row = line_for(http(status, &location, ""));
        assert_eq!(row["status"], "failed");
    }
    assert!(other.accept().is_err(), "nobody else is contacted");
}

#[test]
fn ids_that_can_be_none_are_no_success() {
    for id in
        ["-1", "0", "null", "\"7\"", "\"x\"", "1.5", "1e3", "9223372036854775808", "[1]", "true"]
    {
        let row = line_for(ok(&format!(r#"{{"id":{id}}}"#)));
        let said = format!("{id}: {row:?}");
        if row["status"] == "created" {
            assert!(id == "\"7\"" && row["association_id"] == "7", "{said}");
        } else {
            assert_eq!(row["reason"], "outcome-unknown", "{said}");
            assert_eq!(row["association_id"], "", "{said}");
        }
    }
}

#[test]
fn answers_that_are_no_answers_are_no_success() {
    let deep = "[".repeat(100_000);
    let contradictory = r#"{"result":false,"code":0,"data":{"id":5}}"#;
    let twice = r#"{"result":true,"code":0,"data":{"id":5},"code":1199006}"#;
    for body in ["", "null", "[]", "{}", "\u{0}", "{\"result\":true", contradictory, &deep, twice] {
        let row = line_for(http(200, "", body));
        assert_ne!(row["status"], "created", "{body:.100}");
    }
    let deep_data = format!("{}{}", "{\"a\":".repeat(50_000), "1".to_owned() + &"}".repeat(50_000));
    let row = line_for(ok(&deep_data));
    assert_ne!(row["status"], "created");
    for bytes in [
        &b"garbage\r\n\r\n"[..],
        b"HTTP/9.9 777 \xff\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    ] {
        let row = line_for(bytes);
        assert_ne!(row["status"], "created");
    }
}

#[test]
fn what_a_server_says_is_one_clean_line() {
    let row =
        line_for(refusal(1_101_073, r"=1+1\u001b[31m\r\nfake,line,\u0000\u202etxt.exe\u0007"));
    assert_eq!(row["status"], "failed");
    let message = &row["message"];
    assert!(message.starts_with("'=1+1"), "{message:?}");
    assert!(!message.contains(char::is_control) && !message.contains('\u{202e}'), "{message:?}");
    let row = line_for(refusal(1_101_073, &"long ".repeat(100_000)));
    assert!(row["message"].len() < 2000);
    let body =
        r#"{"result":false,"code":1101073,"message":"x","data":null,"request_id":"a\nb,=c"}"#;
    let row = line_for(http(200, "X-Bkapi-Request-Id: =cmd\r\n", body));
    assert!(!row["request_id"].starts_with('=') && !row["request_id"].contains('\n'), "{row:?}");
}

#[test]
fn what_a_server_says_moves_no_terminal() {
    for format in ["-vv", "--json", "-vv --log-format json"] {
        let raw = Raw::answering_creates_with(refusal(1_101_073, r"a\u001b[2J\u009b2J\u0007b"));
        let work = Workdir::new();
        work.write("in.csv", csv_of([format!("{NN},1,100,1")]));
        let done = work.bkassoc(ONCE).args(format).aim(Entrance::Esb, &raw.url()).ends(3);
        let both = done.stdout + &done.stderr;
        assert!(!both.contains(|c: char| c.is_control() && c != '\n'), "{both:?}");
        assert!(!both.contains("\\u001b") && !both.contains("\\u{1b}"), "{both:?}");
    }
}

#[test]
fn a_look_up_that_names_strangers_settles_nothing() {
    let stranger = format!(
        r#"[{{"id":5,"bk_obj_asst_id":"{NN}","bk_inst_id":77,"bk_asst_inst_id":78}},{{"id":-3,"bk_obj_asst_id":"{NN}","bk_inst_id":1,"bk_asst_inst_id":100}},{{"id":6,"bk_obj_asst_id":"other","bk_inst_id":1,"bk_asst_inst_id":100}}]"#
    );
    let raw = Raw::serve(move |asked, stream| {
        let answer = match asked.path.as_str() {
            path if path.contains("find_instance_association") => ok(&stranger),
            _ if asked.is_create() => http(200, "", r#"{"result":true,"code":0,"data":null}"#),
            _ => asked.honest(),
        };
        stream.write_all(&answer).is_ok()
    });
    let (done, work) = import(&raw, 1);
    assert_eq!(done.code, 4, "{done:?}");
    assert_eq!(work.rows("in.results.csv")[0]["reason"], "outcome-unknown");
}

#[test]
fn a_model_association_of_nonsense_ends_well() {
    for data in [
        "{}",
        "7",
        r#"[{"bk_obj_asst_id":7}]"#,
        r#"[{"bk_obj_asst_id":"bk_load_balance_connect_bk_host"}]"#,
        r#"[{"bk_obj_asst_id":"bk_load_balance_connect_bk_host","bk_obj_id":"a","bk_asst_obj_id":"b","mapping":"7:8"}]"#,
    ] {
        let answer = ok(data);
        let raw = Raw::serve(move |asked, stream| {
            let models = asked.path.contains("find_object_association");
            let answer = if models { answer.clone() } else { ok("null") };
            stream.write_all(&answer).is_ok()
        });
        let work = Workdir::new();
        work.write("in.csv", csv_of([format!("{NN},1,100,1")]));
        let words = ONCE.replace("--max-outage 3s", "--max-outage 1s");
        let done = work
            .under(SMALL, &words)
            .args("--connect-timeout 500ms")
            .aim(Entrance::Esb, &raw.url())
            .run();
        assert!([3, 4, 6, 8].contains(&done.code), "{data}: {done:?}");
        assert!(!done.stderr.contains("this is a bug"), "{data}: {done:?}");
    }
}

#[test]
fn a_wait_of_a_century_is_not_believed() {
    let raw = Raw::serve(|asked, stream| {
        let century = "Retry-After: 3155760000\r\nX-Bkapi-RateLimit-Limit: 1\r\nX-Bkapi-RateLimit-Remaining: 0\r\n\
                       X-Bkapi-RateLimit-Reset: 18446744073709551615\r\n";
        let answer =
            if asked.is_create() { http(429, century, "slow down") } else { asked.honest() };
        stream.write_all(&answer).is_ok()
    });
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},1,100,1")]));
    work.bkassoc("import in.csv --max-outage 1s").aim(Entrance::Esb, &raw.url()).ends(6);
}

#[test]
fn a_long_wait_that_is_asked_for_is_told_once() {
    let raw = Raw::serve(|asked, stream| {
        let wait = "Retry-After: 60\r\n";
        let answer = if asked.is_create() { http(429, wait, "slow down") } else { asked.honest() };
        stream.write_all(&answer).is_ok()
    });
    let work = Workdir::new();
    work.write("in.csv", csv_of((1..4).map(|n| format!("{NN},{n},100,1"))));
    let command = work.bkassoc("import in.csv --max-outage 1s").aim(Entrance::Esb, &raw.url());
    let done = command.ends(6);
    let said = "the server's limit is reached (HTTP 429 slow down): no call goes for 1m";
    assert_eq!(done.stderr.matches(said).count(), 1, "{}", done.stderr);
}

#[test]
fn connections_that_close_after_each_answer_double_nothing() {
    let created = std::sync::atomic::AtomicUsize::new(0);
    let raw = Raw::serve(move |asked, stream| {
        let answer = if asked.is_create() {
            let id = 1 + created.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            ok(&format!(r#"{{"id":{id}}}"#))
        } else {
            asked.honest()
        };
        let _ = stream.write_all(&answer);
        let _ = stream.shutdown(std::net::Shutdown::Both);
        false
    });
    let work = Workdir::new();
    work.write("in.csv", csv_of((0..100).map(|n| format!("{NN},{},{},1", 1 + n, 100 + n))));
    work.bkassoc("import in.csv").aim(Entrance::Esb, &raw.url()).ends(0);
    assert_eq!(raw.creates(), 100);
}

/// A title, a colour, a cursor, a C1 code, and a text that turns its direction.
const EVIL: &str = "f\x1b]0;T\x07\x1b[31mr\x1b[2J\u{9b}2J\u{202e}vsc\u{2066}";
/// The same as it is told.
const TOLD: &str = r"f\u001b]0;T\u0007\u001b[31mr\u001b[2J\u009b2J\u202evsc\u2066";

/// All that was told holds nothing that a terminal obeys but our colours, where they are wanted.
fn told(done: &Done, colors: bool) -> String {
    let both = format!("{}{}", done.stdout, done.stderr);
    assert!(!both.contains("\x1b[31mr"), "a colour that is not ours: {both:?}");
    let codes = [0, 1, 2, 3, 4, 31, 32, 33, 34].map(|code| format!("\x1b[{code}m"));
    let remove = |text: String, code: &String| text.replace(code, "");
    let plain = if colors { codes.iter().fold(both, remove) } else { both };
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!plain.contains(|c: char| turns(c) || (c.is_control() && c != '\n')), "{plain:?}");
    plain
}

#[test]
fn what_files_are_named_moves_no_terminal() {
    let server = Server::esb();
    for (name, value) in [("NO_COLOR", "1"), ("BKASSOC_LANG", "zh"), ("CLICOLOR_FORCE", "1")] {
        let work = Workdir::new();
        let bad = csv_of([format!("{NN},99999,100,1"), format!("{NN},x,100,1")]);
        work.write(&format!("{EVIL}.csv"), &bad).write("in.csv", &bad);
        for shard in ["1/2", "2/2"] {
            let words = format!("import {EVIL}.csv -o s{{shard}}.csv --shard {shard}");
            told(&work.bkassoc(&words).to(&server).run(), false);
        }
        for (words, calls, code) in [
            ("import EVIL.csv", true, 3),
            ("import EVIL.csv in.csv -o two.csv", true, 3),
            ("import EVIL.csv in.csv -o EVIL.two.csv -q", true, 3),
            ("import noEVIL.csv", true, 7),
            ("import --EVIL", false, 2),
            ("rerun EVIL.results.csv --all-failed -o EVIL.again.csv", true, 3),
            ("verify EVIL.results.csv --against EVIL.csv", false, 0),
            ("verify noEVIL.csv -q", false, 7),
            ("check EVIL.csv --offline -o EVIL.checked.csv", false, 3),
            ("report EVIL.results.csv", false, 0),
            ("results noEVIL.csv -o x.csv", false, 7),
            ("merge s1-of-2.csv s2-of-2.csv -o EVIL.merged.csv", false, 3),
        ] {
            let command = work.bkassoc(&words.replace("EVIL", EVIL)).env(name, value);
            let command = if calls { command.to(&server) } else { command };
            let text = told(&command.ends(code), name == "CLICOLOR_FORCE");
            // A command to be pasted is quoted in bash's way.
            let text = text.replace(r"\x", r"\u00");
            // clap leaves codes out where there are no colours.
            let part = if words == "import --EVIL" { r"\u009b2J\u202evsc\u2066" } else { TOLD };
            assert!(text.contains(part), "{words}: {text}");
        }
    }
}

#[test]
fn a_forged_run_json_moves_no_terminal() {
    let server = Server::esb();
    let work = Workdir::new();
    let input = csv_of([format!("{NN},99999,100,1"), format!("{NN},x,100,1")]);
    work.write("in.csv", &input);
    work.bkassoc("import in.csv -o true.csv").to(&server).ends(3);
    let (rows, honest) = (work.read("true.csv"), work.json("true.csv.run.json"));
    let undone = serde_json::json!({"by": EVIL, "at": "2026-11-29T15:33:00+00:00"});
    let supplier =
        serde_json::json!({"entrance": "esb", "endpoint": server.url(), "supplier_account": EVIL});
    for (key, value, words, code) in [
        ("undone", undone.clone(), "verify r.csv", 3),
        ("undone", undone, "rerun r.csv --all-failed", 2),
        ("target", supplier.clone(), "rerun r.csv --all-failed", 3),
        ("target", supplier, "import in.csv -o r.csv", 2),
        ("settings", serde_json::json!({"ca-cert": [EVIL]}), "rerun r.csv --all-failed", 8),
        ("work", EVIL.into(), "verify r.csv", 3),
        ("work", EVIL.into(), "rerun r.csv --all-failed", 2),
        ("work", EVIL.into(), "merge r.csv -o m.csv", 2),
        ("options", serde_json::json!({EVIL: "1"}), "import in.csv -o r.csv", 2),
    ] {
        let (work, mut forged) = (Workdir::new(), honest.clone());
        forged[key] = value;
        work.write("in.csv", &input)
            .write("r.csv", &rows)
            .write("r.csv.run.json", forged.to_string());
        let command = work.bkassoc(words);
        let calls = words.starts_with("import") || words.starts_with("rerun");
        let command = if calls { command.to(&server) } else { command };
        let text = told(&command.ends(code), false);
        assert!(text.contains(TOLD), "{key}, {words}: {text}");
    }
}

#[test]
fn the_next_command_finds_a_file_whatever_its_name_is() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write(&format!("{EVIL}.csv"), csv_of([format!("{NN},x,100,1")]));
    let done = work.bkassoc("import").arg(format!("{EVIL}.csv")).to(&server).ends(3);
    let next = done.stdout.lines().last().unwrap().trim();
    assert!(next.starts_with(r"bkassoc rerun $'f\x1b]0;"), "{next}");
    let script = "exec bash -c 'bkassoc() { \"$0\" \"$@\"; }; eval \"$NEXT\"' \"$1\"";
    let pasted = work.under(script, "").env("NEXT", next).env("LC_ALL", "C.UTF-8");
    let pasted = pasted.env("PATH", "/usr/bin:/bin").to(&server).ends(3);
    assert!(told(&pasted, false).contains("bkassoc rerun, "), "{pasted:?}");
}
