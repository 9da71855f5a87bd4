//! `bkassoc sandbox`, as a process of its own.

use rustix::process::Signal;

use crate::workdir::{NN, Running, Workdir, csv_of, links, stats};

/// A sandbox on a free port, and its URL.
fn sandbox(work: &Workdir, flags: &str) -> (Running, String) {
    let running = work.bkassoc("sandbox --listen 127.0.0.1:0").args(flags).start();
    let line = running.until("listening on ");
    let url = line.rsplit(' ').next().unwrap().to_owned();
    (running, url)
}

#[test]
fn the_command_it_proposes_works_as_it_stands() {
    for entrance in ["esb", "gateway", "native"] {
        let work = Workdir::new();
        let (running, _) = sandbox(&work, &format!("--entrance {entrance}"));
        work.write("in.csv", links(20));
        let proposed = running.until("try: ");
        let words = proposed.trim_start_matches("try: ").replace("FILE", "in.csv");
        let (secret, words) = match words.split_once(" bkassoc ") {
            Some((secret, words)) => (secret.strip_prefix("BK_APP_SECRET=").unwrap(), words),
            None => ("", words.strip_prefix("bkassoc ").unwrap()),
        };
        work.bkassoc(words).env("BK_APP_SECRET", secret).ends(0);
        assert_eq!(stats(&work.rows("in.results.csv"), "status"), "created 20");
        running.signal(Signal::TERM);
        running.wait().with(0);
    }
}

#[test]
fn its_data_outlives_kill_9() {
    let work = Workdir::new();
    work.write("in.csv", links(50));
    let import = |url: &str, out: &str, code| {
        let command = work.bkassoc("import in.csv -o").arg(out);
        command.aim(bkassoc::target::Entrance::Esb, url).ends(code);
        stats(&work.rows(out), "status")
    };
    let (running, url) = sandbox(&work, "--data store");
    assert_eq!(import(&url, "first.csv", 0), "created 50");
    running.signal(Signal::KILL);
    running.wait().with(-9);
    let (_running, url) = sandbox(&work, "--data store");
    assert_eq!(import(&url, "second.csv", 0), "existed 50");
}

#[test]
fn its_faults_and_models_are_checked_before_it_listens() {
    let work = Workdir::new();
    work.write("bad.toml", "[[association]]\n");
    for (flags, says) in [
        ("--fault nonsense=1", "for '--fault <KIND=RATE>': there is no fault \"nonsense\""),
        ("--fault lost_answer=2", "for '--fault <KIND=RATE>': fault lost-answer: rate \"2\""),
        ("--models bad.toml", "bad.toml"),
        ("--models nowhere.toml", "nowhere.toml"),
    ] {
        let command = work.bkassoc("sandbox --listen 127.0.0.1:0").args(flags);
        let _ = command.ends(2).saying(&[says]);
    }
    let command = work.bkassoc("sandbox --listen 127.0.0.1:0").env("BKASSOC_QUOTA", "much");
    let _ = command.ends(2).saying(&["BKASSOC_QUOTA"]);
}

#[test]
fn in_process_it_answers_in_the_language_that_is_asked_for() {
    let work = Workdir::new();
    work.write("in.csv", csv_of([format!("{NN},99999,21,1")]));
    work.bkassoc("import in.csv --sandbox --cmdb-language zh").ends(3);
    let rows = work.rows("in.sandbox.results.csv");
    assert!(!rows[0]["message"].is_ascii(), "{}", rows[0]["message"]);
}

#[test]
fn its_latency_quota_and_faults_are_felt() {
    let work = Workdir::new();
    work.write("in.csv", links(40));
    let (_running, url) = sandbox(
        &work,
        "--latency 2ms --quota 100/s --fault lost_answer=0.1 --fault data-null=0.1 --fault-seed 5",
    );
    let command = work.bkassoc("import in.csv --json").aim(bkassoc::target::Entrance::Esb, &url);
    let said = command.ends(0).json();
    assert_eq!(said["created"].as_u64().unwrap() + said["recovered"].as_u64().unwrap(), 40);
    assert!(said["retries"].as_u64().unwrap() > 0, "{said}");
}
