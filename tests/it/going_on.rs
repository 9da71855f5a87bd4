//! Whatever ends a process, the same command goes on: nothing twice, nothing lost, and only with the
//! same target, options and rows.

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bkassoc::sandbox::Endpoint;
use bkassoc::sandbox::faults::{Fault, Faults};
use bkassoc::target::Entrance;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;

use crate::raw::{Raw, ok};
use crate::server::Server;
use crate::workdir::{
    Cli, NN, ONE_N, ONE_ONE, Row, Running, Workdir, assert_conserved, csv_of, links, stats,
};

/// 240 rows of all three mappings, every eighth a repeat of the one four lines before.
fn repeating() -> String {
    let line = |n: usize| {
        let (a, b) = (1000 + n, 2000 + n);
        match n % 4 {
            0 | 1 => format!("{NN},{a},{b},1"),
            2 => format!("{ONE_N},{a},{b},1"),
            _ => format!("{ONE_ONE},{},{},1", 2 * a, 2 * a + 1),
        }
    };
    csv_of((0..240).map(|n| line(if n % 8 == 7 { n - 4 } else { n })))
}

/// Kills the command over and over at random moments, then lets it end; returns the results.
fn killed_until_done(server: &Server, work: &Workdir, seed: u64, kills: usize) -> Vec<Row> {
    let mut rng = StdRng::seed_from_u64(seed);
    let command = || work.bkassoc("import in.csv --timeout 2s --concurrency 4").to(server);
    for _ in 0..kills {
        let time = Duration::from_millis(rng.random_range(5..120));
        if let Some(done) = command().start().kill_after(time) {
            done.with(0);
            break;
        }
        assert!(!work.has("in.results.csv") || work.has("in.results.csv.journal") || is_done(work));
    }
    command().ends(0);
    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    server.assert_none_twice();
    server.assert_stored(&results);
    assert_eq!(work.names(), ["in.csv", "in.results.csv", "in.results.csv.run.json"]);
    results
}

fn is_done(work: &Workdir) -> bool {
    work.has("in.results.csv.run.json")
}

/// On a server that was empty only repeats can have existed: each association is `created` or
/// `recovered` on its first line, and on no other.
fn assert_only_repeats_existed(results: &[Row]) {
    let mut seen = std::collections::BTreeSet::new();
    for row in results {
        let first = seen.insert(row["association_id"].clone());
        let made = ["created", "recovered"].contains(&row["status"].as_str());
        assert_eq!(first, made, "{row:?}");
    }
}

fn empty_server(latency: Duration, faults: Faults) -> Server {
    Server::with(Entrance::Esb, |setup| {
        setup.latency = latency;
        setup.faults = faults;
        setup.fault_seed = 7;
    })
}

#[test]
fn killed_at_random_moments_a_run_loses_and_doubles_nothing() {
    for seed in 1..=2 {
        let server = empty_server(Duration::from_millis(8), Faults::none());
        let work = Workdir::new();
        work.write("in.csv", repeating());
        let results = killed_until_done(&server, &work, seed, 15);
        assert_only_repeats_existed(&results);
        assert_eq!(server.sandbox.len(), 4 + 210, "seed {seed}");
    }
}

#[test]
fn killed_while_answers_are_lost_and_commits_come_late_a_run_loses_and_doubles_nothing() {
    let mut faults = Faults::none().with(Fault::LostAnswer, 0.05).with(Fault::LateCommit, 0.05);
    faults.late_by = Duration::from_millis(100);
    let server = empty_server(Duration::from_millis(5), faults);
    let work = Workdir::new();
    work.write("in.csv", repeating());
    let results = killed_until_done(&server, &work, 4, 12);
    assert_only_repeats_existed(&results);
}

/// A run of many rows that is under way: it has sent some of them and no more than that.
fn under_way(server: &Server, work: &Workdir, rows: usize) -> Running {
    work.write("in.csv", links(rows));
    let running = importing(work, server).start();
    running.until_true(|| server.calls(Endpoint::Create) >= 20);
    running
}

/// Slow enough to be stopped in the middle.
fn importing(work: &Workdir, server: &Server) -> Cli {
    work.bkassoc("import in.csv").to(server).args("--rate 200/s")
}

/// A run that was stopped in the middle: 20 rows are settled or more, and not all.
fn unfinished(server: &Server) -> Workdir {
    unfinished_of(server, 500)
}

fn unfinished_of(server: &Server, rows: usize) -> Workdir {
    let work = Workdir::new();
    let running = under_way(server, &work, rows);
    running.signal(Signal::INT);
    running.wait().with(130);
    assert!(work.has("in.results.csv.journal") && !work.has("in.results.csv"));
    work
}

fn goes_on(server: &Server, work: &Workdir) {
    work.bkassoc("import in.csv").to(server).ends(0);
    let results = work.rows("in.results.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    server.assert_stored(&results);
    server.assert_none_twice();
}

#[test]
fn int_term_and_hup_end_a_run_with_their_codes_and_the_same_command_goes_on() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let server = Server::esb();
        let work = Workdir::new();
        let running = under_way(&server, &work, 500);
        running.signal(signal);
        running.wait().with(code).saying(&["outstanding", "bkassoc import in.csv"]);
        let before = server.calls(Endpoint::Create);
        assert!(before < 500, "it was stopped in the middle");
        goes_on(&server, &work);
        let results = work.rows("in.results.csv");
        assert_eq!(stats(&results, "status"), "created 500", "drained: nothing was in doubt");
        assert_eq!(server.calls(Endpoint::Create), 500, "no row was sent again");
    }
}

#[test]
fn a_second_signal_leaves_what_is_known_so_far() {
    // The first ten creates are answered, the others never.
    let answered = AtomicUsize::new(0);
    let silent = Raw::serve(move |asked, stream| {
        let answer = match asked.is_create() {
            true if answered.fetch_add(1, Ordering::Relaxed) < 10 => ok(r#"{"id":7}"#),
            true => loop {
                std::thread::park();
            },
            false => asked.honest(),
        };
        stream.write_all(&answer).is_ok()
    });
    let work = Workdir::new();
    work.write("in.csv", links(60));
    let url = format!("http://{}", silent.address);
    let running = work.bkassoc("import in.csv --json").aim(Entrance::Esb, &url).start();
    let journal = work.path("in.results.csv.journal");
    let outcomes = || {
        let text = std::fs::read_to_string(&journal).unwrap_or_default();
        text.matches(r#"{"outcome":"#).count()
    };
    running.until_true(|| outcomes() >= 3);
    running.signal(Signal::INT);
    running.until("a second signal leaves at once");
    running.signal(Signal::TERM);
    let told = running.wait().with(143).json();
    let number = |key: &str| told[key].as_u64().unwrap() as usize;
    assert_eq!((number("exit"), number("created")), (143, outcomes()), "{told}");
    assert_eq!(number("rows"), number("created") + number("outstanding"), "{told}");
    assert_eq!(told["next"][1], "import", "{told}");
}

#[test]
fn a_run_goes_on_with_its_input_alone() {
    let server = Server::esb();
    let work = Workdir::new();
    let command = || work.bkassoc("import - -o r.csv").to(&server);
    command().stdin(links(300)).args("--max-duration 100ms --rate 100/s").ends(9);
    let before = work.read("r.csv.journal");
    for other in [String::new(), "\n".to_owned(), "a,b\n1,2\n".to_owned()] {
        command().stdin(other).ends(7).saying(&["not the input that it read"]);
    }
    command().stdin(links(3)).ends(7);
    assert!(work.read("r.csv.journal").starts_with(&before));
    // Another command is another run, whatever its input is.
    command().stdin("").args("--delimiter ;").ends(2);
    command().stdin(links(300)).ends(0);
    // A run that has not begun is told what is wrong with it.
    work.bkassoc("import - -o other.csv").to(&server).stdin("").ends(2);
}

#[test]
fn a_second_signal_ends_a_run_that_waits_for_answers_at_once() {
    let silent = Raw::silent();
    let work = Workdir::new();
    work.write("in.csv", links(10));
    let running = work.bkassoc("import in.csv").aim(Entrance::Esb, &silent.url()).start();
    silent.until_asked(1);
    running.signal(Signal::INT);
    running.until("interrupted");
    running.signal(Signal::TERM);
    let done = running.wait();
    assert!([130, 143].contains(&done.code), "{done:?}");
}

#[test]
fn a_second_process_is_told_who_is_at_work() {
    let server = Server::esb();
    let work = Workdir::new();
    let running = under_way(&server, &work, 500);
    let pid = format!("process {}", running.pid());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    importing(&work, &server).ends(10).saying(&[&pid, &host]);
    importing(&work, &server).args("--fresh --yes").ends(10);
    running.signal(Signal::INT);
    running.wait().with(130);
    goes_on(&server, &work);
}

#[test]
fn a_marked_row_that_has_changed_ends_it_with_7_and_its_line() {
    let server = Server::esb();
    let work = unfinished(&server);
    let calls = server.calls(Endpoint::Create);
    let input = work.read("in.csv");
    let third = format!("\n{}\n", input.lines().nth(3).unwrap());
    work.write("in.csv", input.replace(&third, &format!("\n{NN},8888,8888,1\n")));
    importing(&work, &server).ends(7).saying(&["in.csv", "line 4"]);
    let sent = server.calls(Endpoint::Create) - calls;
    assert!(sent <= 2, "rows before the change may be settled, none after it: {sent}");
    assert!(!server.sandbox.rows().iter().any(|row| row.source == 8888));
    work.write("in.csv", input);
    goes_on(&server, &work);
}

#[test]
fn a_row_that_was_not_marked_may_change() {
    let server = Server::esb();
    let work = unfinished_of(&server, 3000);
    let mut input = work.read("in.csv");
    let last = input.trim_end().rfind('\n').unwrap();
    input.truncate(last + 1);
    work.write("in.csv", format!("{input}{NN},8888,8888,1\n{NN},8889,8889,1\n"));
    goes_on(&server, &work);
    assert_eq!(work.rows("in.results.csv").len(), 3001);
}

#[test]
fn an_input_that_has_become_shorter_than_its_marks_ends_it_with_7() {
    let server = Server::esb();
    let work = unfinished(&server);
    let input = work.read("in.csv");
    work.write("in.csv", links(5));
    importing(&work, &server).ends(7);
    work.write("in.csv", input);
    goes_on(&server, &work);
}

#[test]
fn another_target_or_meaning_is_refused_while_a_run_is_unfinished() {
    let server = Server::esb();
    let work = unfinished(&server);
    let calls = server.all_calls();
    for (flags, named) in [
        ("--biz-id 7", "biz-id"),
        ("--map inst_id=inst_id", "map"),
        ("--encoding gb18030", "encoding"),
        ("--supplier-account 1", "account"),
        ("--tenant-id a", "tenant a"),
        ("--send-biz-id never", "send-biz-id"),
    ] {
        importing(&work, &server).args(flags).ends(2).saying(&[named, "in.results.csv"]);
    }
    let other = Server::esb();
    importing(&work, &other).ends(2).saying(&[&server.url(), &other.url()]);
    let gateway = work.bkassoc("import in.csv").aim(Entrance::Gateway, &server.url());
    gateway.ends(2).saying(&["esb", "gateway"]);
    assert_eq!((server.all_calls(), other.all_calls()), (calls, 0));
    goes_on(&server, &work);
}

#[test]
fn pace_and_secrets_may_change_while_a_run_is_unfinished() {
    let server = Server::esb();
    let work = unfinished(&server);
    work.write("secret", "sandbox-secret\n");
    work.bkassoc("import in.csv --concurrency 3 --settle-after 1s --app-secret-file secret")
        .to(&server)
        .env("BK_APP_SECRET", "wrong")
        .ends(0);
}

#[test]
fn stdin_is_replayed_from_its_start() {
    let server = Server::esb();
    let work = Workdir::new();
    let input = links(500);
    let command = || work.bkassoc("import - -o out.csv").to(&server).stdin(input.clone());
    let running = command().args("--rate 200/s").start();
    running.until_true(|| server.calls(Endpoint::Create) >= 20);
    running.signal(Signal::TERM);
    running.wait().with(143);
    work.bkassoc("import - -o out.csv").to(&server).stdin(links(3)).ends(7);
    command().ends(0);
    work.write("in.csv", input.clone());
    assert_conserved(&work.rows("out.csv"), &work.rows("in.csv"));
    assert_eq!(server.calls(Endpoint::Create), 500);
    command().ends(0);
    assert_eq!(server.calls(Endpoint::Create), 500, "a finished run is left alone");
}

#[test]
fn a_crash_between_the_steps_at_the_end_is_mended_by_the_same_command() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(50));
    let command = || work.bkassoc("import in.csv -o out.csv").to(&server);

    // Every row is settled, and the results can't be written.
    fs::create_dir(work.path("out.csv.draft")).unwrap();
    command().ends(11).saying(&["out.csv.draft"]);
    assert!(!work.has("out.csv"));
    let journal = fs::read(work.path("out.csv.journal")).unwrap();
    fs::remove_dir(work.path("out.csv.draft")).unwrap();
    let calls = server.all_calls();
    command().ends(0);
    let results = work.read("out.csv");

    // Results and record are there, and so is still the journal.
    work.write("out.csv.journal", &journal);
    command().ends(0);
    // Results are there, their record is not.
    work.write("out.csv.journal", &journal);
    fs::remove_file(work.path("out.csv.run.json")).unwrap();
    command().ends(0);
    // Drafts are left over.
    work.write("out.csv.journal", &journal).write("out.csv.draft", "half a li");
    fs::remove_file(work.path("out.csv")).unwrap();
    command().ends(0);

    assert_eq!(work.read("out.csv"), results);
    assert_eq!(work.names(), ["in.csv", "out.csv", "out.csv.run.json"]);
    assert_eq!(server.all_calls(), calls, "all of it without a call");
}

#[test]
fn a_journal_cut_anywhere_goes_on_to_the_same_end() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(40));
    let command = || work.bkassoc("import in.csv -o out.csv").to(&server);
    fs::create_dir(work.path("out.csv.draft")).unwrap();
    command().ends(11);
    let journal = fs::read(work.path("out.csv.journal")).unwrap();
    fs::remove_dir(work.path("out.csv.draft")).unwrap();
    let mut rng = StdRng::seed_from_u64(5);
    for _ in 0..12 {
        let cut = rng.random_range(0..journal.len());
        work.write("out.csv.journal", &journal[..cut]);
        let done = command().run();
        assert_eq!(done.code, 0, "cut at {cut}: {done:?}");
        if done.code == 0 {
            let results = work.rows("out.csv");
            assert_conserved(&results, &work.rows("in.csv"));
            server.assert_stored(&results);
            fs::remove_file(work.path("out.csv")).unwrap();
            fs::remove_file(work.path("out.csv.run.json")).unwrap();
        }
        server.assert_none_twice();
        let _ = fs::remove_file(work.path("out.csv.journal"));
    }
    assert_eq!(server.sandbox.len(), 44);
}

#[test]
fn a_journal_damaged_in_the_middle_is_refused_with_its_line() {
    let server = Server::esb();
    let work = unfinished(&server);
    let mut journal = fs::read(work.path("in.results.csv.journal")).unwrap();
    let third = journal.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(2).unwrap().0;
    journal[third + 20] ^= 1;
    work.write("in.results.csv.journal", &journal);
    let calls = server.all_calls();
    importing(&work, &server).ends(11).saying(&["in.results.csv.journal", "line 4"]);
    assert_eq!(server.all_calls(), calls);
    assert_eq!(fs::read(work.path("in.results.csv.journal")).unwrap(), journal, "left as it was");
}

#[test]
fn the_command_that_a_stopped_run_proposes_goes_on() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(300)).write("in.results.csv", "a stranger's");
    let command = work.bkassoc("import in.csv --fresh --yes --rate 200/s --json").to(&server);
    let running = command.start();
    running.until_true(|| server.calls(Endpoint::Create) >= 20);
    running.signal(Signal::INT);
    let said = running.wait().with(130).json();
    let words: Vec<_> =
        said["next"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(words[0], "bkassoc");
    work.bkassoc(&words[1..].join(" "))
        .env("BK_APP_SECRET", "sandbox-secret")
        .env("BKASSOC_SETTLE_AFTER", "300ms")
        .ends(0);
    assert_eq!(stats(&work.rows("in.results.csv"), "status"), "created 300");
    assert_eq!(server.calls(Endpoint::Create), 300, "it went on, and did not start anew");
}

#[test]
fn under_nohup_a_run_outlives_its_terminal() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(100));
    let command = work.under("trap '' HUP; exec \"$@\"", "import in.csv --rate 200/s").to(&server);
    let running = command.start();
    running.until_true(|| server.calls(Endpoint::Create) >= 10);
    running.signal(Signal::HUP);
    running.wait().with(0);
}

#[test]
fn rows_of_a_pipe_that_stays_open_are_settled_meanwhile() {
    let server = Server::esb();
    let work = Workdir::new();
    let command = work.bkassoc("import - -o out.csv --max-outage 200ms").to(&server);
    let running = command.open_stdin(links(100)).start();
    running.until_true(|| server.sandbox.len() >= 104);
    running.signal(Signal::TERM);
    running.wait().with(143).saying(&["100  created"]);
    work.bkassoc("import - -o out.csv").to(&server).stdin(links(101)).ends(0);
    assert_eq!(stats(&work.rows("out.csv"), "status"), "created 101");
    assert_eq!(server.calls(Endpoint::Create), 101);
}

#[test]
fn a_journal_that_has_lost_a_row_makes_no_results() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(20));
    let command = || work.bkassoc("import in.csv -o out.csv").to(&server);
    fs::create_dir(work.path("out.csv.draft")).unwrap();
    command().ends(11);
    fs::remove_dir(work.path("out.csv.draft")).unwrap();
    let journal = work.read("out.csv.journal");
    let lost = journal.lines().position(|line| line.contains("\"outcome\"")).unwrap();
    for twice in [0, 2] {
        let lines = journal.lines().enumerate();
        let times = |at| if at == lost { twice } else { 1 };
        let lines = lines.flat_map(|(at, line)| std::iter::repeat_n(line, times(at)));
        let damaged: String = lines.flat_map(|line| [line, "\n"]).collect();
        work.write("out.csv.journal", &damaged);
        let done = command().run();
        if twice == 2 && done.code == 0 {
            assert_conserved(&work.rows("out.csv"), &work.rows("in.csv"));
            continue;
        }
        assert!([1, 11].contains(&done.code), "{done:?}");
        assert!(!work.has("out.csv"));
        assert!(work.read("out.csv.journal").starts_with(&damaged), "it is kept");
    }
}

#[test]
fn a_run_is_the_same_under_a_link_s_name_and_leaves_the_link_a_link() {
    let server = Server::esb();
    let work = Workdir::new();
    fs::create_dir(work.path("disk")).unwrap();
    std::os::unix::fs::symlink("disk/real.csv", work.path("link.csv")).unwrap();
    work.write("in.csv", links(300));
    let import =
        |output: &str| work.bkassoc("import in.csv --rate 200/s -o").arg(output).to(&server);
    let running = import("link.csv").start();
    running.until_true(|| server.calls(Endpoint::Create) >= 20);
    import("disk/real.csv").ends(10);
    running.signal(Signal::INT);
    running.wait().with(130);
    assert_eq!(work.names(), ["disk", "in.csv", "link.csv"]);
    import("disk/real.csv").ends(0);
    import("link.csv").ends(0).saying(&["nothing is sent"]);
    assert!(work.path("link.csv").is_symlink());
    let rows = work.rows("disk/real.csv");
    assert_conserved(&rows, &work.rows("in.csv"));
    assert_eq!(server.calls(Endpoint::Create), 300, "no row was sent twice");
    work.bkassoc("verify link.csv --against in.csv").ends(0);
    work.bkassoc("undo link.csv --yes").to(&server).ends(0);
    import("disk/real.csv").ends(2).saying(&["undone"]);
    import("link.csv").args("--fresh --yes").ends(0);
    assert!(work.path("link.csv").is_symlink() && work.has("disk/real.csv.old"));
    assert_eq!(
        work.names(),
        ["disk", "in.csv", "link.csv", "link.undo.csv", "link.undo.csv.run.json"]
    );
}
