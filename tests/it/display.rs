//! What a person and a script see: stdout for the summary, stderr for the rest, and neither where it
//! is not wanted.

use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::raw::Raw;
use crate::server::Server;
use crate::workdir::{NN, Workdir, csv_of, links};

fn folder(bad: bool) -> Workdir {
    let work = Workdir::new();
    let input = links(5);
    work.write("in.csv", if bad { format!("{input}{NN},x,1,1\n") } else { input });
    work
}

#[test]
fn the_first_line_says_where_it_goes_and_as_whom() {
    let server = Server::esb();
    let done = folder(false).bkassoc("import in.csv").to(&server).ends(0);
    let first = done.stderr.lines().next().unwrap();
    for said in
        [server.url().as_str(), "esb", "--endpoint", "sandbox", "admin", "proxy", "CA", "rate"]
    {
        assert!(first.contains(said), "{said:?} is not in {first:?}");
    }
}

#[test]
fn quiet_says_nothing_on_success_and_else_one_line() {
    let server = Server::esb();
    let done = folder(false).bkassoc("import in.csv -q").to(&server).ends(0);
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    let done = folder(true).bkassoc("import in.csv -q").to(&server).ends(3);
    let both = done.stdout + &done.stderr;
    assert_eq!(both.lines().count(), 1, "{both}");
    assert!(both.contains("1 invalid") && both.contains("bkassoc rerun"), "{both}");
    for (command, code) in
        [("import nowhere.csv -q", 7), ("import in.csv -q -o no/such/folder.csv", 11)]
    {
        let done = folder(false).bkassoc(command).to(&server).ends(code);
        let both = done.stdout + &done.stderr;
        assert_eq!(both.lines().count(), 1, "{both}");
    }
}

#[test]
fn quiet_and_a_server_that_is_not_there_is_one_line_too() {
    let silent = Raw::silent();
    let work = folder(false);
    let done = work
        .bkassoc("import in.csv -q --connect-timeout 200ms")
        .aim(Entrance::Esb, &silent.url())
        .ends(6);
    let both = done.stdout + &done.stderr;
    assert_eq!(both.lines().count(), 1, "{both}");
}

#[test]
fn json_is_one_object_with_the_documented_keys() {
    let server = Server::esb();
    let work = folder(true);
    let done = work.bkassoc("import in.csv --json").to(&server).ends(3);
    assert_eq!(done.stdout.lines().count(), 1);
    let said = done.json();
    for key in [
        "schema",
        "target",
        "rows",
        "created",
        "existed",
        "recovered",
        "failed",
        "invalid",
        "outstanding",
        "reasons",
        "calls",
        "retries",
        "throttled",
        "latency_ms",
        "elapsed_ms",
        "rows_per_s",
        "exit",
        "results",
        "next",
        "error",
    ] {
        assert!(said.get(key).is_some(), "{key} is not in {said}");
    }
    assert_eq!(
        (&said["rows"], &said["created"], &said["invalid"]),
        (&6.into(), &5.into(), &1.into())
    );
    assert_eq!((&said["exit"], &said["results"]), (&3.into(), &"in.results.csv".into()));
    assert_eq!(said["target"]["endpoint"], server.url());
    assert_eq!(said["reasons"]["invalid-row"], 1);
    assert_eq!(said["next"][1], "rerun");
}

#[test]
fn json_tells_of_errors_too() {
    let server = Server::esb();
    let work = folder(false);
    work.write("stranger.csv", "x");
    for (command, code) in [
        ("import nowhere.csv --json", 7),
        ("import in.csv --json -o no/such/folder.csv", 11),
        ("import in.csv --json -o stranger.csv", 2),
        ("import in.csv --json --encoding klingon", 2),
    ] {
        let said = work.bkassoc(command).to(&server).ends(code).json();
        assert_eq!(said["exit"], code, "{command}");
        assert!(!said["error"].as_str().unwrap().is_empty(), "{command}");
    }
    assert_eq!(server.all_calls(), 0);
}

#[test]
fn json_tells_of_a_configuration_that_is_not_enough() {
    let said = folder(false).bkassoc("import in.csv --json").ends(2).json();
    assert_eq!(said["exit"], 2);
    assert!(said["error"].as_str().unwrap().contains("--endpoint"), "{said}");
}

#[test]
fn without_a_terminal_there_is_no_control_character() {
    let server = Server::esb();
    for flags in ["", "--progress bar", "-vv", "--json", "--log-format json"] {
        let work = folder(true);
        let done =
            work.bkassoc("import in.csv").args(flags).to(&server).env("TERM", "xterm").ends(3);
        let both = done.stdout + &done.stderr;
        let odd = |c: char| c.is_control() && c != '\n';
        assert!(!both.contains(odd), "{flags}: {both:?}");
    }
}

#[test]
fn logs_are_one_json_object_a_line_where_asked_for() {
    let server = Server::esb();
    let work = folder(true);
    let done = work.bkassoc("import in.csv -vv --log-format json").to(&server).ends(3);
    let lines: Vec<_> = done.stderr.lines().skip(1).collect();
    assert!(lines.len() > 3, "{lines:?}");
    for line in lines {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}

#[test]
fn closed_outputs_harm_nothing() {
    let server = Server::esb();
    for (script, exit) in [
        ("exec \"$@\" 2>&-", 3),
        ("exec \"$@\" >&-", 3),
        ("exec \"$@\" >&- 2>&- <&-", 3),
        ("exec \"$@\" 2>/dev/full", 3),
        // The work is done, and its summary is lost.
        ("exec \"$@\" >/dev/full 2>/dev/full", 11),
        ("\"$@\" 2>&1 | head -c 1 >/dev/null; test -f in.results.csv || exit 9; exit 3", 3),
    ] {
        let work = folder(true);
        let command = work.under(script, "import in.csv -vv").env("PATH", "/usr/bin:/bin");
        command.to(&server).ends(exit);
        let rows = work.rows("in.results.csv");
        assert_eq!(rows.len(), 6, "{script}");
        assert!(work.has("in.results.csv.run.json"), "{script}");
        server.assert_stored(&rows);
    }
}

#[test]
fn the_next_command_can_be_typed_as_it_is() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("my rows; $HOME.csv", csv_of([format!("{NN},99999,100,1")]));
    let done = work.bkassoc("import").arg("my rows; $HOME.csv").to(&server).ends(3);
    let next = done.stdout.lines().last().unwrap().trim();
    assert!(next.starts_with("bkassoc rerun 'my rows; $HOME.results.csv'"), "{next}");
}

#[test]
fn results_on_stdout_leave_no_file_and_put_the_summary_on_stderr() {
    let server = Server::esb();
    let work = folder(true);
    let done = work.bkassoc("import in.csv -o -").to(&server).ends(3);
    assert!(done.stdout.starts_with(crate::workdir::HEADER), "{}", done.stdout);
    assert_eq!(done.stdout.lines().count(), 1 + 6);
    assert!(done.stderr.contains("5  created"), "{}", done.stderr);
    assert_eq!(work.names(), ["in.csv"]);
}

#[test]
fn loopback_never_goes_through_a_proxy() {
    let server = Server::esb();
    let work = folder(false);
    let nowhere = "http://127.0.0.1:9";
    let command = work.bkassoc("import in.csv --connect-timeout 2s").to(&server);
    let command = command.env("http_proxy", nowhere).env("HTTP_PROXY", nowhere);
    command.env("all_proxy", nowhere).ends(0).saying(&["proxy none"]);
}

#[test]
fn the_environments_proxy_is_the_one_that_is_told_and_no_call_goes_around_it() {
    let proxy = Server::esb();
    let url = proxy.url();
    for (small, capital, passes) in [
        (Some(url.as_str()), Some("http://127.0.0.1:9"), true),
        (Some(url.trim_start_matches("http://")), None, true),
        (None, Some(url.as_str()), true),
        (Some("socks5://127.0.0.1:9"), None, false),
        (Some("http://127.0.0.1:99999"), Some(url.as_str()), false),
        (Some("http://user:pa/55word@127.0.0.1:9"), None, false),
    ] {
        let work = folder(false);
        let mut command = work.bkassoc("check in.csv --connect-timeout 2s");
        command = command.aim(Entrance::Esb, "http://cmdb.example.invalid");
        for (name, value) in [("http_proxy", small), ("HTTP_PROXY", capital)] {
            if let Some(value) = value {
                command = command.env(name, value);
            }
        }
        let calls = proxy.all_calls();
        let done = command.run();
        let said = if small.is_some() { "(http_proxy)" } else { "(HTTP_PROXY)" };
        let _ = if passes {
            done.with(0).saying(&[said])
        } else {
            done.with(8).saying(&[said, "http_proxy is no URL of an HTTP proxy"])
        };
        assert_eq!(proxy.all_calls() > calls, passes);
    }
}

#[test]
fn a_script_gets_its_json_whatever_is_wrong() {
    let work = Workdir::new();
    for (words, exit) in [
        ("import nosuch.csv --sandbox --json", 7),
        ("import nosuch.csv --json", 2),
        ("import --json --rate 0 a.csv", 2),
        ("verify nosuch.csv --json", 7),
    ] {
        let done = work.bkassoc(words).ends(exit);
        let json = done.json();
        assert_eq!(json["exit"], exit, "{words}");
        assert!(json["error"].as_str().is_some_and(|error| !error.is_empty()), "{words}");
    }
    for yes in ["true", "1"] {
        let done = work.bkassoc("import nosuch.csv --sandbox").env("BKASSOC_JSON", yes).ends(7);
        assert_eq!(done.json()["exit"], 7);
    }
    assert_eq!(work.bkassoc("import --help --json").ends(0).stdout.matches("\"exit\"").count(), 0);
}

#[test]
fn among_json_logs_every_line_is_json() {
    let work = folder(true);
    let done = work.bkassoc("import in.csv --sandbox --log-format json").ends(3);
    let broken = work.bkassoc("import in.csv --sandbox --log-format json -o nodir/x.csv").ends(11);
    for line in done.stderr.lines().chain(broken.stderr.lines()) {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
    assert!(done.stderr.contains("to sandbox"), "{}", done.stderr);
}

#[test]
fn a_variable_for_what_must_be_typed_is_told_to_have_no_effect() {
    let server = Server::esb();
    let work = folder(true);
    let done = work.bkassoc("import in.csv").env("BKASSOC_SANDBOX", "true").to(&server).ends(3);
    assert!(done.stderr.contains("BKASSOC_SANDBOX has no effect"), "{}", done.stderr);
    assert!(server.all_calls() > 0);
}

#[test]
fn a_mistyped_variable_is_told_with_the_one_that_is_meant_and_never_with_its_value() {
    let server = Server::esb();
    for (name, said) in [
        ("BKASSOC_SETTLE_AFTR", "has no effect: is BKASSOC_SETTLE_AFTER meant?"),
        ("BKASSOC_RATES", "has no effect: is BKASSOC_RATE meant?"),
        ("BKASSOC_APP_SECRET", "has no effect: is BKASSOC_APP_SECRET_FILE meant?"),
        ("BKASSOC_endpoint", "has no effect: is BKASSOC_ENDPOINT meant?"),
        ("BKASSOC_XYZZY", "has no effect: there is no such flag"),
    ] {
        let work = folder(false);
        let import = work.bkassoc("import in.csv").env(name, "hunter2").to(&server);
        let done = import.ends(0).saying(&[&format!("{name} {said}")]);
        assert!(!(done.stdout + &done.stderr).contains("hunter2"), "{name}");
    }
    let work = folder(false);
    let known = work.bkassoc("import in.csv").env("BKASSOC_LISTEN", "127.0.0.1:0");
    let done = known.env("BKASSOCIATE", "1").to(&server).ends(0);
    assert!(!done.stderr.contains("no effect"), "{}", done.stderr);
    // Commands without a target tell it, too; this one ends before it serves.
    let said = "BKASSOC_OUTPT has no effect: is BKASSOC_OUTPUT meant?";
    for (command, code) in
        [("results in.results.csv -o so-far.csv", 0), ("sandbox --models none.toml", 2)]
    {
        work.bkassoc(command).env("BKASSOC_OUTPT", "x").ends(code).saying(&[said]);
    }
}

/// A terminal of that many columns, its name, and what comes to be drawn on it until it is closed.
fn terminal(columns: u16) -> (OwnedFd, String, JoinHandle<Vec<u8>>) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
    let size = Winsize { ws_row: 20, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&ours, size).unwrap();
    let drawing = thread::spawn(move || {
        let (mut drawn, mut chunk) = (Vec::new(), [0; 4096]);
        // Once nobody has the terminal open any more, reading is an error.
        while let Ok(read @ 1..) = rustix::io::read(&ours, &mut chunk) {
            drawn.extend_from_slice(&chunk[..read]);
        }
        drawn
    });
    (theirs, name, drawing)
}

/// What was drawn, as lines without codes.
fn lines_of(drawn: &str) -> Vec<String> {
    // An escape sequence ends with its first letter.
    let mut plain = String::new();
    for (at, part) in drawn.split("\x1b[").enumerate() {
        let code = part.find(|c: char| c.is_ascii_alphabetic()).map_or(0, |end| end + 1);
        plain += if at == 0 { part } else { &part[code..] };
    }
    plain.split(['\r', '\n']).map(str::to_owned).collect()
}

/// The columns that a text takes whose Chinese characters take two.
fn columns_of(text: &str) -> usize {
    text.chars().map(|c| if c.is_ascii() { 1 } else { 2 }).sum()
}

#[test]
fn the_bar_keeps_to_its_two_lines_however_narrow_the_terminal_is() {
    let server = Server::esb();
    for (columns, locale, words) in [
        (40, "C", [" %, ", "held"]),
        (60, "en_US.UTF-8", [" of 12,000 rows (", "held"]),
        (120, "", [" of 12,000 rows (", "held"]),
        (60, "zh_CN.UTF-8", [" / 12,000（", "受 --rate"]),
        (120, "zh_CN.UTF-8", ["已处理 ", "受 --rate"]),
    ] {
        let work = Workdir::new();
        work.write("in.csv", links(12_000));
        let (open, name, drawing) = terminal(columns);
        let command = work.under("exec \"$@\" 2>\"$TTY\"", "import in.csv --rate 80/s");
        let command = command.to(&server).env("TERM", "xterm").env("TTY", name);
        let running = command.env("LC_MESSAGES", locale).start();
        let before = server.calls(Endpoint::Create);
        running.until_true(|| server.calls(Endpoint::Create) >= before + 60);
        running.signal(Signal::INT);
        running.wait().with(130);
        drop(open);
        let drawn = String::from_utf8(drawing.join().unwrap()).unwrap();
        let lines = lines_of(&drawn);
        for word in words {
            let both: Vec<_> = lines.iter().filter(|line| line.contains(word)).collect();
            assert!(both.len() > 1, "{columns}: {word}: {drawn:?}");
            for line in both {
                assert!(columns_of(line) < columns.into(), "{columns}: {line:?}");
            }
        }
        // Each view is drawn over the one before, and the last one is taken away.
        assert!(drawn.contains("\r\x1b[1A["), "{drawn:?}");
        assert!(drawn.contains("\r\x1b[1A\x1b[J"), "{drawn:?}");
    }
}

#[test]
fn while_a_plan_is_made_names_and_lists_are_told() {
    let server = Server::new(Entrance::Native);
    let work = Workdir::new();
    let rows = (0..3_000).map(|n| format!("bk_switch_belong_bk_host,none-{n},bk_host_id=31,,"));
    let rows = rows.collect::<Vec<_>>().join("\n");
    let header = "obj_asst_id,source,target,biz_id,action\n";
    work.write("in.csv", format!("{header}{rows}\n"));
    let (open, name, drawing) = terminal(100);
    let command = work.under("exec \"$@\" 2>\"$TTY\"", "plan in.csv -o p.csv --rate 4/s");
    command.to(&server).env("TERM", "xterm").env("TTY", name).ends(0);
    drop(open);
    let drawn = String::from_utf8(drawing.join().unwrap()).unwrap();
    for told in
        ["planning: 3,000", " names looked up", "planning: listing bk_switch_belong_bk_host"]
    {
        assert!(lines_of(&drawn).iter().any(|line| line.contains(told)), "{told}: {drawn:?}");
    }
}

/// What is the same whenever it is said.
fn timeless<'t>(lines: impl IntoIterator<Item = &'t str>) -> Vec<&'t str> {
    let is_timed =
        |line: &str| ["Calls", "Latency", "Took"].iter().any(|word| line.starts_with(word));
    lines.into_iter().filter(|line| !line.is_empty() && !is_timed(line)).collect()
}

#[test]
fn colours_follow_the_conventions_and_a_typed_flag_stands_above_them() {
    let server = Server::esb();
    let has_codes = |text: &str| text.contains("\x1b[");
    for (flags, variables, colors) in [
        ("", &[][..], false),
        ("", &[("CLICOLOR_FORCE", "1")], true),
        ("", &[("CLICOLOR_FORCE", "0")], false),
        ("", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ("", &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "")], true),
        ("", &[("BKASSOC_COLOR", "always"), ("NO_COLOR", "1")], true),
        ("--color never", &[("BKASSOC_COLOR", "always")], false),
        ("--color always", &[("NO_COLOR", "1")], true),
        ("--color=never", &[("CLICOLOR_FORCE", "1")], false),
    ] {
        let run = |words: &str, exit| {
            let work = folder(true);
            let mut command = work.bkassoc(words).args(flags).to(&server);
            for (name, value) in variables {
                command = command.env(name, value);
            }
            command.ends(exit)
        };
        let done = run("import in.csv", 3);
        assert_eq!(has_codes(&done.stdout), colors, "{flags} {variables:?}: {}", done.stdout);
        assert_eq!(has_codes(&run("import none.csv", 7).stderr), colors, "{flags} {variables:?}");
        assert_eq!(has_codes(&run("import --frob", 2).stderr), colors, "{flags} {variables:?}");
        assert_eq!(has_codes(&run("import --help", 0).stdout), colors, "{flags} {variables:?}");
        for machine in ["import in.csv --json", "import in.csv -q", "import in.csv -o -"] {
            assert!(!has_codes(&run(machine, 3).stdout), "{machine}");
        }
    }
}

#[test]
fn on_a_terminal_there_are_colours_unless_a_variable_says_no() {
    let plain = folder(true).bkassoc("import in.csv --sandbox").ends(3).stdout;
    for (variables, colors) in [
        (&[("TERM", "xterm-256color")][..], true),
        (&[("TERM", "dumb")], false),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
        (&[("TERM", "xterm"), ("CLICOLOR", "0")], false),
        (&[("TERM", "dumb"), ("BKASSOC_COLOR", "always")], true),
    ] {
        let work = folder(true);
        let (open, name, drawing) = terminal(100);
        let mut command = work.under("exec \"$@\" >\"$TTY\"", "import in.csv --sandbox -vv");
        for (variable, value) in variables {
            command = command.env(variable, value);
        }
        let done = command.env("TTY", name).ends(3);
        // Each stream for itself: stderr is no terminal here.
        let always = variables.iter().any(|(_, value)| *value == "always");
        assert_eq!(done.stderr.contains("\x1b["), always, "{variables:?}: {}", done.stderr);
        drop(open);
        let drawn = String::from_utf8(drawing.join().unwrap()).unwrap();
        assert_eq!(drawn.contains("\x1b[32m            5  created\x1b[0m"), colors, "{drawn}");
        assert_eq!(drawn.contains("\x1b["), colors, "{drawn}");
        let lines = lines_of(&drawn);
        let drawn = timeless(lines.iter().map(String::as_str));
        assert_eq!(drawn[..drawn.len() - 1], timeless(plain.lines())[..drawn.len() - 1]);
    }
}

#[test]
fn a_person_is_told_in_the_language_of_the_locale_and_a_script_in_english() {
    let server = Server::esb();
    for (flags, variables, chinese) in [
        ("", &[][..], false),
        ("", &[("LANG", "zh_CN.UTF-8")], true),
        ("", &[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C.UTF-8")], false),
        ("", &[("LANG", "en_US.UTF-8"), ("LC_MESSAGES", "zh_CN")], true),
        ("", &[("LC_ALL", ""), ("LC_MESSAGES", "C"), ("LANG", "zh_CN")], false),
        ("", &[("BKASSOC_LANG", "zh"), ("LC_ALL", "C")], true),
        ("--lang en", &[("BKASSOC_LANG", "zh"), ("LANG", "zh_CN")], false),
        ("--lang zh", &[], true),
    ] {
        let run = |words: &str, exit| {
            let work = folder(true);
            let mut command = work.bkassoc(words).args(flags).to(&server);
            for (name, value) in variables {
                command = command.env(name, value);
            }
            (command.ends(exit), work)
        };
        let (done, work) = run("import in.csv", 3);
        let said =
            ["部分行失败", "invalid（无效行）", "invalid-row（行内容有误）：第 7 行", "结果文件："];
        for said in said {
            assert_eq!(done.stdout.contains(said), chinese, "{variables:?}: {}", done.stdout);
        }
        assert_eq!(done.stdout.contains("some rows failed"), !chinese);
        assert!(done.stderr.is_ascii(), "{}", done.stderr);
        assert!(work.read("in.results.csv").is_ascii());
        let (done, _) = run("import in.csv --json", 3);
        assert!(done.stdout.is_ascii(), "{}", done.stdout);
        let (done, _) = run("import in.csv -q", 3);
        assert_eq!((done.stdout.is_ascii(), done.stdout.lines().count()), (!chinese, 1));
        for (words, exit, said) in [
            ("check in.csv", 3, "未检查：写权限、实例是否存在"),
            ("check", 0, "  批量创建                  支持\n"),
            ("plan in.csv -o p.csv", 0, "计划已写入 p.csv"),
        ] {
            let server = Server::new(Entrance::Native);
            let work = folder(true);
            let mut command = work.bkassoc(words).args(flags).to(&server);
            for (name, value) in variables {
                command = command.env(name, value);
            }
            let done = command.ends(exit);
            assert_eq!(done.stdout.contains(said), chinese, "{words}: {}", done.stdout);
        }
    }
}

#[test]
fn verify_and_the_report_speak_chinese_where_it_is_typed() {
    let server = Server::esb();
    let work = folder(true);
    work.bkassoc("import in.csv --report r.html").to(&server).ends(3);
    let opens = |page: &str| page.contains("<html lang=\"zh\" data-opens");
    assert!(!opens(&work.read("r.html")));
    let done = work.bkassoc("verify in.results.csv --lang zh").ends(0);
    assert!(
        done.stdout.contains("没有发现问题") && done.stdout.contains("核对内容"),
        "{}",
        done.stdout
    );
    let done = work.bkassoc("verify in.results.csv").env("LANG", "en_US.UTF-8").ends(0);
    assert!(done.stdout.is_ascii(), "{}", done.stdout);
    // The page is read elsewhere: a locale says nothing of its reader.
    let report = |words: &str| work.bkassoc(words).env("LANG", "zh_CN.UTF-8").ends(0);
    report("report in.results.csv -o a.html");
    report("report in.results.csv -o b.html --lang zh");
    assert!(!opens(&work.read("a.html")) && opens(&work.read("b.html")));
}
