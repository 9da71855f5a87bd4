//! Many processes, one job: no row twice, none lost, and none that collides under way at another process; and
//! their results are made one, or nothing is.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bkassoc::sandbox::Endpoint;
use bkassoc::target::Entrance;
use rustix::process::Signal;
use serde_json::Value;

use crate::raw::{Asked, Raw};
use crate::server::Server;
use crate::workdir::{
    Cli, NN, ONE_N, ONE_ONE, Row, Running, Workdir, assert_conserved, counts, csv_of, links,
};

/// Creates in front of a CMDB: which are under way, and how often two of them were that collide.
#[derive(Default)]
struct InFlight {
    keys: HashSet<String>,
    creates: usize,
    most: usize,
    collisions: Vec<String>,
}

/// An address in front of a server, which counts collisions.
struct Front {
    raw: Raw,
    in_flight: Arc<Mutex<InFlight>>,
}

/// What a create collides on, as docs/design.md has it.
fn keys_of(asked: &Asked) -> Vec<String> {
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    let data = body.get("metadata").map_or(&body, |_| &body);
    let text = |names: [&str; 2]| {
        let value =
            names.iter().find_map(|name| data.get(*name)).unwrap_or_else(|| panic!("{data}"));
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };
    let name = text(["obj_asst_id", "bk_obj_asst_id"]);
    let source = text(["inst_id", "bk_inst_id"]);
    let target = text(["asst_inst_id", "bk_asst_inst_id"]);
    match &*name {
        NN => vec![format!("{name} {source} {target}")],
        ONE_N => vec![format!("{name} to {target}")],
        ONE_ONE => vec![format!("{name} from {source}"), format!("{name} to {target}")],
        _ => panic!("{name}"),
    }
}

impl Front {
    fn of(server: &Server) -> Self {
        let in_flight = Arc::new(Mutex::new(InFlight::default()));
        let (counted, address) = (in_flight.clone(), server.address);
        let raw = Raw::serve(move |asked, stream| {
            let keys = if asked.is_create() { keys_of(asked) } else { Vec::new() };
            {
                let mut now = counted.lock().unwrap();
                for key in &keys {
                    if !now.keys.insert(key.clone()) {
                        now.collisions.push(key.clone());
                    }
                }
                now.creates += usize::from(asked.is_create());
                now.most = now.most.max(now.creates);
            }
            let mut behind = TcpStream::connect(address).unwrap();
            let Asked { path, body } = asked;
            let length = body.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: \
                 {length}\r\nConnection: close\r\n\r\n"
            );
            behind.write_all(head.as_bytes()).unwrap();
            behind.write_all(body.as_bytes()).unwrap();
            let mut answer = Vec::new();
            behind.read_to_end(&mut answer).unwrap();
            let mut now = counted.lock().unwrap();
            for key in &keys {
                now.keys.remove(key);
            }
            now.creates -= usize::from(asked.is_create());
            drop(now);
            let _ = stream.write_all(&answer);
            false
        });
        Self { raw, in_flight }
    }
}

/// Rows of all three mappings, most of which collide with others.
fn colliding() -> String {
    let line = |n: usize| match n % 3 {
        0 => format!("{NN},{},{},1", 1 + n % 7, 100 + n % 11),
        1 => format!("{ONE_N},{},{},1", 14 + n % 5, 200 + n % 23),
        _ => format!("{ONE_ONE},{},{},1", 1000 + n % 13, 2000 + n % 17),
    };
    csv_of((0..360).map(line))
}

fn slow() -> Server {
    Server::with(Entrance::Esb, |setup| setup.latency = Duration::from_millis(4))
}

fn shard(work: &Workdir, server: &Server, words: &str, index: usize, count: usize) -> Cli {
    work.bkassoc(words).to(server).args(&format!("--shard {index}/{count}"))
}

/// Imports `in.csv` in so many shards, one after the other, and gives their results' names.
fn imported(work: &Workdir, server: &Server, count: usize) -> String {
    for index in 1..=count {
        let done = shard(work, server, "import in.csv", index, count).ends(0);
        done.saying(&[&format!("bkassoc import, shard {index}/{count}, http")]);
    }
    let names: Vec<_> =
        (1..=count).map(|index| format!("in.{index}-of-{count}.results.csv")).collect();
    names.join(" ")
}

#[test]
fn shards_never_have_colliding_rows_under_way_and_a_killed_one_loses_nothing() {
    let (server, work) = (slow(), Workdir::new());
    work.write("in.csv", colliding());
    let front = Front::of(&server);
    let command = |index: usize| {
        let words = format!("import in.csv -o out.{{shard}}.csv --shard {index}/3 --timeout 5s");
        work.bkassoc(&words).aim(Entrance::Esb, &front.raw.url())
    };
    let mut running: Vec<Running> = (1..=3).map(|index| command(index).start()).collect();
    running[1]
        .until_true(|| work.has("out.2-of-3.csv.journal") && server.calls(Endpoint::Create) >= 40);
    running[1].signal(Signal::KILL);
    let killed = std::mem::replace(&mut running[1], command(2).start());
    assert_ne!(killed.wait().code, 0);
    // A replacement may come before the lock of the killed one is gone.
    let mut exits: Vec<_> = running.into_iter().map(|running| running.wait().code).collect();
    while exits[1] == 10 {
        exits[1] = command(2).run().code;
    }
    assert!(exits.iter().all(|exit| [0, 3].contains(exit)), "{exits:?}");
    {
        let seen = front.in_flight.lock().unwrap();
        assert_eq!(seen.collisions, Vec::<String>::new());
        assert!(seen.most > 1, "nothing could have collided");
    }
    let merged =
        work.bkassoc("merge out.2-of-3.csv out.1-of-3.csv out.3-of-3.csv -o out.csv").run();
    assert_eq!(merged.code, *exits.iter().max().unwrap(), "{}", merged.stderr);
    let results = work.rows("out.csv");
    assert_conserved(&results, &work.rows("in.csv"));
    server.assert_stored(&results);
    server.assert_none_twice();
    for mapping in [NN, ONE_N] {
        let shards = (1..=3).filter(|index| {
            let rows = work.rows(&format!("out.{index}-of-3.csv"));
            rows.iter().any(|row| row["obj_asst_id"] == mapping)
        });
        assert!(shards.count() > 1, "{mapping} is one shard's alone");
    }
    let made = |row: &&Row| ["created", "recovered"].contains(&&*row["status"]);
    assert_eq!(results.iter().filter(made).count() + 4, server.stored(), "4 were there before");
    let verify = work.bkassoc("verify out.csv --against in.csv --live");
    verify.aim(Entrance::Esb, &front.raw.url()).ends(0);
}

#[test]
fn merged_results_are_those_of_one_run() {
    let (server, work) = (Server::esb(), Workdir::new());
    let mut input = links(700);
    input.push_str("nonsense,1,2,1\n,,3,1\nbk_switch_belong_bk_host,x,21,1\n");
    work.write("in.csv", input);
    for index in 1..=3 {
        let exit = shard(&work, &server, "import in.csv", index, 3).run().code;
        assert!([0, 3].contains(&exit), "{exit}");
    }
    let shards = "in.1-of-3.results.csv in.2-of-3.results.csv in.3-of-3.results.csv";
    work.bkassoc(&format!("merge {shards} -o all.csv")).ends(3).saying(&["700", "rerun all.csv"]);
    // One run of the same rows ends alike.
    let (other, alone) = (Server::esb(), Workdir::new());
    alone.write("in.csv", work.read("in.csv"));
    alone.bkassoc("import in.csv -o all.csv").to(&other).ends(3);
    let [merged, single] = [&work, &alone].map(|work| work.json("all.csv.run.json"));
    for key in ["work", "inputs", "counts", "reasons", "exit", "options"] {
        assert_eq!(merged[key], single[key], "{key}");
    }
    assert_eq!(merged["seals"].as_array().unwrap().len(), 3);
    assert_eq!(merged["shards"].as_array().unwrap().len(), 3);
    assert_eq!(merged["shard"], Value::Null);
    assert_conserved(&work.rows("all.csv"), &work.rows("in.csv"));
    let strip = |work: &Workdir| -> Vec<[String; 4]> {
        let columns = ["line", "status", "reason", "message"];
        work.rows("all.csv").iter().map(|row| columns.map(|column| row[column].clone())).collect()
    };
    assert_eq!(strip(&work), strip(&alone));
    work.bkassoc("verify all.csv --against in.csv --live").to(&server).ends(0);

    // Again: nothing is written, and the end is the same.
    let before = fs::metadata(work.path("all.csv")).unwrap().modified().unwrap();
    work.bkassoc(&format!("merge {shards} -o all.csv")).ends(3);
    assert_eq!(fs::metadata(work.path("all.csv")).unwrap().modified().unwrap(), before);
    // A merge that was killed before its last step.
    fs::remove_file(work.path("all.csv")).unwrap();
    work.bkassoc(&format!("merge {shards} -o all.csv")).ends(3);
    assert_eq!(work.json("all.csv.run.json"), merged);

    // What is built on them.
    work.bkassoc("rerun all.csv --all-failed").to(&server).ends(3);
    work.bkassoc("verify all.rerun-1.csv --against in.csv").ends(0);
    let created = server.stored() - 4;
    work.bkassoc("undo all.csv --yes").to(&server).ends(0);
    assert_eq!((created, server.stored()), (700, 4));
    for name in ["all.csv", "in.1-of-3.results.csv", "in.3-of-3.results.csv"] {
        assert!(work.json(&format!("{name}.run.json"))["undone"]["by"].is_string(), "{name}");
        work.bkassoc(&format!("rerun {name} --all-failed"))
            .to(&server)
            .ends(2)
            .saying(&["undone by"]);
    }
    work.bkassoc(&format!("merge {shards} -o all.csv")).ends(2).saying(&["undone by"]);
}

#[test]
fn what_is_undone_of_one_shard_is_known_of_what_was_merged() {
    let (server, work) = (Server::esb(), Workdir::new());
    work.write("in.csv", links(30));
    let shards = imported(&work, &server, 2);
    work.bkassoc(&format!("merge {shards} -o all.csv")).ends(0);
    work.bkassoc("undo in.2-of-2.results.csv --yes").to(&server).ends(0);
    work.bkassoc("rerun all.csv").to(&server).ends(2).saying(&["in.2-of-2.results.csv was undone"]);
    work.bkassoc("verify all.csv").ends(3).saying(&["undone"]);
    // The others' rows can be undone all the same; what is gone is not there.
    work.bkassoc("undo all.csv --yes").to(&server).run();
    assert_eq!(server.stored(), 4);
}

#[test]
fn shards_that_are_not_all_of_one_job_are_not_merged() {
    let (server, work) = (Server::esb(), Workdir::new());
    work.write("in.csv", links(60));
    let shards = imported(&work, &server, 3);
    let refused = |words: &str, exit: i32, said: &[&str]| {
        work.bkassoc(&format!("merge {words} -o all.csv")).ends(exit).saying(said);
        assert!(!work.has("all.csv") && !work.has("all.csv.run.json"), "{words}");
    };
    let (first, others) = shards.split_once(' ').unwrap();
    refused(others, 7, &["1 of 3 shards are missing (1)"]);
    refused(&format!("{shards} {first}"), 2, &["both are shard 1/3"]);
    refused(&format!("{others} none.csv"), 7, &["none.csv", "missing"]);
    refused(&format!("{others} in.csv"), 7, &["in.csv", "no run.json"]);

    // Not finished.
    let journal = "in.1-of-3.results.csv.journal";
    work.write(journal, "00000000 {}\n");
    refused(&shards, 7, &["in.1-of-3.results.csv", "not finished"]);
    fs::remove_file(work.path(journal)).unwrap();

    // Changed.
    let written = work.read(first);
    work.write(first, written.replacen("created", "existed", 1));
    refused(&shards, 7, &["in.1-of-3.results.csv was changed"]);
    work.write(first, &written);

    // Of another number of shards, another input, or no shard.
    shard(&work, &server, "import in.csv", 1, 2).ends(0);
    refused(&format!("{others} in.1-of-2.results.csv"), 2, &["of 2 shards", "of 3"]);
    work.bkassoc("import in.csv").to(&server).ends(0);
    refused(&format!("{others} in.results.csv"), 2, &["not the results of a shard"]);
    work.write("in.csv", links(61));
    shard(&work, &server, "import in.csv -o other.{shard}.csv", 1, 3).ends(0);
    refused(&format!("{others} other.1-of-3.csv"), 2, &["other inputs"]);

    // A file that is in the way stays.
    work.write("all.csv", "mine");
    work.bkassoc(&format!("merge {shards} -o all.csv")).ends(2);
    assert_eq!(work.read("all.csv"), "mine");
}

#[test]
fn a_shard_is_taken_from_the_environment_of_an_indexed_job() {
    let (server, work) = (Server::esb(), Workdir::new());
    work.write("in.csv", links(40));
    let pod = |index: &str| {
        let command = work.bkassoc("import in.csv -o o.{shard}.csv").to(&server);
        command.env("JOB_COMPLETION_INDEX", index).env("BKASSOC_SHARDS", "10")
    };
    pod("0").ends(0).saying(&["shard 1/10"]);
    pod("9").ends(0);
    assert!(work.has("o.01-of-10.csv") && work.has("o.10-of-10.csv"), "{:?}", work.names());
    pod("10").ends(2).saying(&["which of them is this one?"]);
    pod("").ends(2).saying(&["which of them is this one?"]);
    let own = work.bkassoc("import in.csv -o o.{shard}.csv --shard 2/10").to(&server);
    own.env("JOB_COMPLETION_INDEX", "7").env("BKASSOC_SHARDS", "10").ends(0);
    assert!(work.has("o.02-of-10.csv"));
    let alone = work.bkassoc("import in.csv").to(&server).env("JOB_COMPLETION_INDEX", "7");
    alone.ends(0).saying(&["this process takes all rows"]);
}

#[test]
fn what_can_t_be_divided_is_refused_before_anything_is_sent() {
    let (server, work) = (Server::esb(), Workdir::new());
    work.write("in.csv", links(10));
    work.write(
        "names.csv",
        format!("obj_asst_id,source,target,biz_id\n{ONE_N},sw-14,10.0.0.99,1\n"),
    );
    for (words, said) in [
        ("import in.csv -o o.csv", "{shard}"),
        ("import in.csv -o -", "{shard}"),
        ("import names.csv", "bkassoc plan"),
        ("import - -o o.{shard}.csv", "give a file"),
        ("import in.csv in.csv -o o.{shard}.csv", "given twice"),
        ("import in.csv -n", "check takes no --shard"),
        ("plan in.csv", "plan takes no --shard"),
        ("sync in.csv", "sync takes no --shard"),
    ] {
        shard(&work, &server, words, 1, 2).stdin("").ends(2).saying(&[said]);
    }
    work.bkassoc("import in.csv --shard 3/2").to(&server).ends(2).saying(&["as 3/8"]);
    work.bkassoc("import in.csv -o o.{shard}.csv").to(&server).ends(2).saying(&["there is none"]);
    let pod = work.bkassoc("sync in.csv").to(&server).env("BKASSOC_SHARD", "1/2");
    pod.ends(2).saying(&["sync takes no --shard"]);
    assert_eq!(server.all_calls(), 0);
    assert_eq!(work.names(), ["in.csv", "names.csv"]);
}

#[test]
fn another_shard_at_the_same_path_is_another_run() {
    let (server, work) = (Server::esb(), Workdir::new());
    work.write("in.csv", links(30));
    imported(&work, &server, 2);
    let calls = server.all_calls();
    shard(&work, &server, "import in.csv", 1, 2).ends(0);
    assert_eq!(server.all_calls(), calls, "it is finished");
    for ending in ["", ".run.json"] {
        let from = work.path(&format!("in.1-of-2.results.csv{ending}"));
        fs::copy(from, work.path(&format!("in.2-of-2.results.csv{ending}"))).unwrap();
    }
    let done = shard(&work, &server, "import in.csv", 2, 2).ends(2);
    done.saying(&["--shard was 1/2, and is 2/2"]);
    work.bkassoc("import in.csv -o in.1-of-2.results.csv").to(&server).ends(2).saying(&["--shard"]);
}

#[test]
fn a_shard_is_audited_shown_and_settled_again_by_its_own_rows() {
    let (server, work) = (slow(), Workdir::new());
    work.write("in.csv", links(300));
    let command = || shard(&work, &server, "import in.csv -o o.{shard}.csv --concurrency 2", 2, 3);
    let running = command().start();
    running.until_true(|| server.calls(Endpoint::Create) >= 20);
    running.signal(Signal::KILL);
    assert_ne!(running.wait().code, 0);
    work.bkassoc("results o.2-of-3.csv -o so-far.csv").ends(0);
    let so_far = work.rows("so-far.csv");
    assert!(so_far.len() < 150 && counts(&so_far, "status").len() > 1, "{}", so_far.len());
    command().ends(0);
    let results = work.rows("o.2-of-3.csv");
    let lines = |rows: &[Row]| rows.iter().map(|row| row["line"].clone()).collect::<Vec<_>>();
    assert_eq!(lines(&so_far), lines(&results));
    work.bkassoc("verify o.2-of-3.csv --against in.csv").ends(0);

    // A line that is lost is told, and rows of other shards are not.
    let text = work.read("o.2-of-3.csv");
    let (head, last) = text.trim_end().rsplit_once('\n').unwrap();
    work.write("o.2-of-3.csv", format!("{head}\n"));
    let line = last.split(',').next().unwrap();
    let done = work.bkassoc("verify o.2-of-3.csv --against in.csv --json").ends(3).json();
    let findings = done["findings"].as_array().unwrap();
    let missing = findings.iter().find(|finding| finding["kind"] == "row-missing").unwrap();
    assert_eq!(
        (&missing["count"], missing["first"][0]["line"].to_string()),
        (&1.into(), line.to_owned())
    );
    work.write("o.2-of-3.csv", text);

    // A rerun of a shard has its rows, and is divided no further.
    work.bkassoc("rerun o.2-of-3.csv").to(&server).ends(0);
    work.bkassoc("verify o.2-of-3.rerun-1.csv --against in.csv").ends(0);
    let again = shard(&work, &server, "rerun o.2-of-3.csv", 1, 2);
    again.ends(2).saying(&["the results of shard 2/3 already"]);
}

#[test]
fn an_input_that_has_other_rows_by_the_time_a_killed_shard_is_replaced_is_refused() {
    let (server, work) = (slow(), Workdir::new());
    work.write("in.csv", links(300));
    let command = || shard(&work, &server, "import in.csv --concurrency 2", 1, 2);
    let running = command().start();
    running.until_true(|| server.calls(Endpoint::Create) >= 10);
    running.signal(Signal::KILL);
    assert_ne!(running.wait().code, 0);
    work.write("in.csv", links(301));
    command().ends(7).saying(&["more rows, and had 300"]);
    work.write("in.csv", links(300));
    command().ends(0);
}

#[test]
fn a_plan_with_names_and_deletes_is_applied_in_shards_and_its_results_are_merged() {
    let (server, work) = (Server::esb(), Workdir::new());
    // Hosts that lose their switch and get another, and one row that no instance fits.
    let rows = |switch: usize| {
        let line = |n: usize| format!("{ONE_N},sw-{},10.0.0.{},1\n", switch + n % 3, 100 + n);
        let lines: String = (0..40).map(line).collect();
        format!("obj_asst_id,source,target,biz_id\n{lines}")
    };
    work.write("before.csv", rows(20));
    work.bkassoc("import before.csv").to(&server).ends(0);
    work.write("in.csv", rows(30) + ONE_N + ",sw-none,10.0.0.7,1\n");
    work.bkassoc("plan in.csv -o in.plan.csv --prune all --max-delete 100%").to(&server).run();
    let plan = work.json("in.plan.csv.run.json");
    for index in 1..=2 {
        let apply = shard(&work, &server, "apply in.plan.csv --max-delete 100%", index, 2);
        let done = apply.run();
        assert!([0, 3].contains(&done.code), "{} {}", done.code, done.stderr);
    }
    work.bkassoc("merge in.1-of-2.results.csv in.2-of-2.results.csv -o all.csv").ends(3);
    let merged = work.json("all.csv.run.json");
    let written: u64 =
        merged["counts"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(written, plan["rows"].as_u64().unwrap_or(written), "{plan}");
    work.bkassoc("verify all.csv --against in.csv").ends(0);
    for index in 1..=2 {
        work.bkassoc(&format!("verify in.{index}-of-2.results.csv --against in.csv")).ends(0);
    }
    // One apply of the same plan has the same lines.
    work.bkassoc("apply in.plan.csv -o whole.csv --max-delete 100%").to(&server).run();
    let places = |name: &str| -> Vec<[String; 5]> {
        let columns = ["line", "obj_asst_id", "inst_id", "asst_inst_id", "source"];
        work.rows(name).iter().map(|row| columns.map(|column| row[column].clone())).collect()
    };
    assert_eq!(places("all.csv"), places("whole.csv"));
}

#[test]
fn a_rerun_of_many_rows_goes_in_shards_too() {
    let (server, work) = (Server::esb(), Workdir::new());
    let faulty = Server::with(Entrance::Esb, |setup| {
        setup.faults = bkassoc::sandbox::faults::Faults::none()
            .with(bkassoc::sandbox::faults::Fault::Locked, 1.0);
    });
    work.write("in.csv", links(60));
    let first = work.bkassoc("import in.csv --max-attempts 1 --max-outage 2s").to(&faulty).start();
    first.until_true(|| faulty.calls(Endpoint::Create) >= 5);
    drop(first);
    work.bkassoc("results in.results.csv -o part.csv").ends(0);
    for index in 1..=2 {
        let rerun = "rerun part.csv --status not_attempted,in_doubt";
        let rerun = shard(&work, &server, rerun, index, 2).args("--allow-other-target");
        rerun.ends(0);
    }
    work.bkassoc("merge part.1-of-2.rerun-1.csv part.2-of-2.rerun-1.csv -o all.csv").ends(0);
    assert_conserved(&work.rows("all.csv"), &work.rows("in.csv"));
    assert_eq!(server.stored(), 4 + 60);
}
