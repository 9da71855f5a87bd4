//! The report of a run is one page that needs nothing, says what happened, and is a page whatever the rows and
//! the server say. Looked at in Chromium, where it is installed (`.ci/run` says where it is not).

use std::fs;
use std::io::Write;
use std::path::Path;

use bkassoc::target::Entrance;

use crate::browser::Browser;
use crate::raw::{Raw, http};
use crate::server::Server;
use crate::workdir::{NN, Workdir, links};

const EVIL: &str =
    "</script><script>document.title='evil'</script><img src=x onerror=\"alert(1)\">' \u{202e}drow";

/// A run with good rows, bad rows, and texts that try to be more than texts.
fn a_mixed_run(work: &Workdir) {
    let server = Server::esb();
    let evil = format!("\"{}\"", EVIL.replace('"', "\"\""));
    let rows = format!("{NN},999999999,1,1\n{evil},1,2,1\n{NN},{evil},3,1\n");
    work.write("in.csv", links(300) + &rows);
    work.bkassoc("import in.csv --report r.html").to(&server).ends(3);
}

#[test]
fn a_report_says_what_happened_and_loads_nothing() {
    let work = Workdir::new();
    a_mixed_run(&work);
    let page = work.read("r.html");
    assert!(page.starts_with("<!doctype html>\n<!-- bkassoc report -->\n"));
    for said in [
        "303 rows",
        "共 303 行",
        "missing-source",
        "create the instance, or mend <code>inst_id</code> or the name",
        "新建实例",
        "invalid-row",
        "Rows a second",
        "p50",
        "in.results.csv",
        "1101073",
    ] {
        assert!(page.contains(said), "{said}");
    }
    for loads in
        ["http-equiv=\"refresh\"", " src=\"", "@import", "url(", "<link", "<iframe", "javascript:"]
    {
        assert!(!page.contains(loads), "{loads}");
    }
    assert!(page.contains("default-src 'none'") && !page.contains("unsafe"));
    assert_eq!(page.matches("<script").count(), 1, "only ours");
    assert!(!page.contains("<img") && !page.contains('\u{202e}'));
    assert!(page.contains("&lt;/script&gt;") && page.contains("\\u{202e}drow"));
    let history = &work.json("in.results.csv.run.json")["history"];
    let rows = history["rows"].as_array().unwrap();
    assert_eq!(rows.iter().filter_map(serde_json::Value::as_u64).sum::<u64>(), 303);
    assert!(history["latency"]["p50_ms"].as_f64().unwrap() > 0.0);
    assert!(history["calls"]["create"].as_u64().unwrap() >= 300);
}

#[test]
fn what_a_server_says_stays_a_text() {
    let raw = Raw::serve(|asked, stream| {
        if !asked.is_create() {
            return stream.write_all(&asked.honest()).is_ok();
        }
        let said =
            serde_json::json!({"result": false, "code": 1_199_006, "message": EVIL, "data": null});
        stream.write_all(&http(200, "X-Request-Id: <b>\r\n", &said.to_string())).is_ok()
    });
    let work = Workdir::new();
    work.write("in.csv", links(3));
    let command = work.bkassoc("import in.csv").aim(Entrance::Esb, &raw.url());
    command.ends(3);
    work.bkassoc("report in.results.csv").ends(0).saying(&["in.results.html"]);
    let page = work.read("in.results.html");
    assert!(page.contains("document.title=&#39;evil&#39;"), "it is shown");
    assert!(!page.contains(EVIL) && page.matches("<script").count() == 1 && !page.contains("<img"));
}

/// The lines of the rows that a reader of the page sees.
fn rows_seen(browser: &mut Browser) -> usize {
    let seen =
        "[...document.querySelectorAll('#rows tbody tr')].filter(r => r.offsetHeight > 0).length";
    browser.evaluate(seen).as_u64().unwrap() as usize
}

/// Keeps what was seen where `REPORT_PICTURES` says, for who wants to look.
fn keep(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("REPORT_PICTURES") {
        fs::write(Path::new(&folder).join(name), bytes).unwrap();
    }
}

#[test]
fn a_reader_filters_rows_and_changes_the_language_by_mouse_and_keys() {
    let work = Workdir::new();
    let Some(mut browser) = Browser::start(&work) else { return };
    a_mixed_run(&work);
    browser.load(&work, "r.html", 1280);
    let title = browser.evaluate("document.title");
    assert!(title.as_str().unwrap().starts_with("in.results.csv"), "no text of a row is a script");
    let seen = "document.body.innerText";
    let read = |browser: &mut Browser| browser.evaluate(seen).as_str().unwrap().to_owned();
    assert!(read(&mut browser).contains("303 rows") && !read(&mut browser).contains("共 303 行"));
    browser.click("#language");
    assert!(read(&mut browser).contains("共 303 行") && !read(&mut browser).contains("303 rows"));
    assert_eq!(browser.evaluate("document.documentElement.lang"), "zh");
    browser.click("#language");
    assert_eq!(rows_seen(&mut browser), 3);
    browser.click("#filter");
    browser.write("MISSING source");
    assert_eq!(rows_seen(&mut browser), 1);
    assert_eq!(browser.evaluate("document.getElementById('shown').textContent"), "1");
    browser.write(" nowhere");
    assert_eq!(rows_seen(&mut browser), 0);
    browser.load(&work, "r.html#lang=zh&filter=missing", 1280);
    assert_eq!(
        (rows_seen(&mut browser), browser.evaluate("document.documentElement.lang")),
        (1, "zh".into())
    );
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_report_can_be_read_on_a_desk_on_a_phone_in_the_dark_and_on_paper() {
    let work = Workdir::new();
    let Some(mut browser) = Browser::start(&work) else { return };
    a_mixed_run(&work);
    for (width, scheme) in [(1280, "light"), (390, "light"), (1280, "dark")] {
        browser.show_as("screen", scheme);
        browser.load(&work, "r.html", width);
        let too_wide =
            "document.documentElement.scrollWidth > document.documentElement.clientWidth";
        assert_eq!(browser.evaluate(too_wide), false, "{width}: it scrolls sideways");
        let picture = browser.picture();
        // All of one colour it would be a few kilobytes.
        assert!(picture.starts_with(b"\x89PNG") && picture.len() > 20_000, "{}", picture.len());
        keep(&format!("{width}-{scheme}.png"), &picture);
    }
    // Paper is white, whatever the screen was.
    browser.show_as("print", "dark");
    let brightness =
        "getComputedStyle(document.body).color.match(/\\d+/g).reduce((a, b) => a + +b, 0)";
    assert!(browser.evaluate(brightness).as_u64().unwrap() < 200, "ink on paper is dark");
    let paper = browser.print();
    assert!(paper.starts_with(b"%PDF"));
    keep("paper.pdf", &paper);
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn results_that_were_changed_are_told_in_the_report() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(3));
    work.bkassoc("import in.csv").to(&server).ends(0);
    work.bkassoc("report in.results.csv").ends(0);
    let notice = "were changed since the run wrote them";
    assert!(!work.read("in.results.html").contains(notice));
    work.write("in.results.csv", work.read("in.results.csv").replace(",created,", ",existed,"));
    work.bkassoc("report in.results.csv").ends(0).saying(&["was changed since its run wrote it"]);
    assert!(work.read("in.results.html").contains(notice));
}

#[test]
fn a_report_never_waits_for_who_reads_it() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(2));
    let status = std::process::Command::new("mkfifo").arg(work.path("pipe.html")).status().unwrap();
    assert!(status.success());
    let import = work.bkassoc("import in.csv --report pipe.html").to(&server);
    import.ends(0).saying(&["no report in pipe.html"]);
    work.bkassoc("report in.results.csv -o pipe.html").ends(2).saying(&["is no report"]);
}

#[test]
fn a_report_takes_no_other_file_s_place_and_is_of_finished_runs() {
    let server = Server::esb();
    let work = Workdir::new();
    work.write("in.csv", links(2)).write("notes.html", "<p>mine</p>");
    work.bkassoc("report in.results.csv").ends(7).saying(&["there is no finished run"]);
    let import = "import in.csv --report notes.html";
    work.bkassoc(import).to(&server).ends(0).saying(&["no report in notes.html"]);
    assert_eq!(work.read("notes.html"), "<p>mine</p>");
    work.bkassoc("report in.results.csv -o notes.html").ends(2).saying(&["is no report"]);
    work.bkassoc("report in.results.csv -o a.html").ends(0);
    work.bkassoc("report in.results.csv -o a.html").ends(0);
    let printed = work.bkassoc("report in.results.csv -o -").ends(0);
    assert_eq!(printed.stdout, work.read("a.html"));
    let nowhere = "import in.csv -o other.csv --report b.html --connect-timeout 300ms";
    let down = work.bkassoc(nowhere).aim(Entrance::Esb, "http://127.0.0.1:9");
    down.ends(6).saying(&["no report in b.html", "not finished"]);
    assert!(!work.has("b.html"));
}
